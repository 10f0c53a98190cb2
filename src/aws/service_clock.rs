//! How far the service's clock is ahead of this host's, from the `Date` of its answers.
//!
//! Where reading at LATEST has to be taken up again, this host must name an instant to the service
//! (`retrieval.md` A.2 [T2]). By its own clock alone, a host that is ahead would name a later one, and
//! the records in between would be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use crate::ports::Clock;

/// Notes the difference from every answer of the clients it is given to.
#[derive(Clone)]
pub struct ServiceClock {
    clock: Arc<dyn Clock>,
    ahead: Arc<AtomicI64>,
}

impl ServiceClock {
    /// Nothing known yet: taken as the same.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ahead: Arc::default(),
        }
    }

    /// How far the service was ahead at its last answer, milliseconds. A `Date` counts whole seconds
    /// and its way takes time, so this is up to a little more than a second too small, never too large.
    #[must_use]
    pub fn ahead_millis(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    fn note(&self, date: &str) {
        if let Ok(date) = DateTime::from_str(date, Format::HttpDate)
            && let Ok(date) = date.to_millis()
        {
            let ahead = date.saturating_sub(self.clock.wall_millis());
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for ServiceClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceClock({} ms ahead)", self.ahead_millis())
    }
}

#[dyn_dispatch_hint]
impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.note(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Moment;
    use crate::ports::BoxFuture;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Moment {
            Moment::default()
        }

        fn wall_millis(&self) -> i64 {
            self.0
        }

        fn sleep_until(&self, _: Moment) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn the_difference_is_noted_and_what_is_no_date_is_not() {
        // Fri, 01 Jan 2021 00:00:00 GMT.
        const NEW_YEAR: i64 = 1_609_459_200_000;
        let cases = [
            (NEW_YEAR - 5_000, 5_000),
            (NEW_YEAR + 90_500, -90_500),
            (NEW_YEAR, 0),
        ];
        for (wall, expected) in cases {
            let clock = ServiceClock::new(Arc::new(At(wall)));
            assert_eq!(clock.ahead_millis(), 0);
            clock.note("Fri, 01 Jan 2021 00:00:00 GMT");
            assert_eq!(clock.ahead_millis(), expected);
            clock.note("yesterday");
            assert_eq!(clock.ahead_millis(), expected);
        }
    }
}

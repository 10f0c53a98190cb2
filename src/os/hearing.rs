//! For tests: what is logged on this thread.
//!
//! One subscriber serves the whole test binary and hands each event to the thread it came from.
//! With one subscriber a test (`tracing::subscriber::set_default`) an event can get lost: while
//! only one of them is alive, tracing asks the thread that meets a line of code first whether
//! anybody wants its events, and that may be a thread of another test, where nobody does.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// One event: level, target and all fields in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Logged {
    /// The value of a field, empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        let mut fields = self.fields.iter();
        fields
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// Level and fields as one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.level.to_string();
        for (key, value) in &self.fields {
            let _ = write!(line, " {key}={value}");
        }
        line
    }
}

thread_local! {
    static HEARD: RefCell<Option<Rc<RefCell<Vec<Logged>>>>> = const { RefCell::new(None) };
}

/// What this thread logged since [`Hearing::start`]; its end ends the hearing.
pub(crate) struct Hearing {
    heard: Rc<RefCell<Vec<Logged>>>,
    /// It belongs to its thread.
    _not_send: PhantomData<Rc<()>>,
}

impl Hearing {
    pub(crate) fn start() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::registry().with(Router);
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        let heard = Rc::<RefCell<Vec<Logged>>>::default();
        let before = HEARD.replace(Some(heard.clone()));
        assert!(before.is_none(), "one hearing a thread");
        Self {
            heard,
            _not_send: PhantomData,
        }
    }

    pub(crate) fn events(&self) -> Vec<Logged> {
        self.heard.borrow().clone()
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

struct Router;

impl<S: tracing::Subscriber> Layer<S> for Router {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        struct Fields(Vec<(String, String)>);
        impl Visit for Fields {
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.push((field.name().to_owned(), value.to_owned()));
            }
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0.push((field.name().to_owned(), format!("{value:?}")));
            }
        }
        // A thread that ends may still log: then nobody hears it.
        let heard = HEARD.try_with(|heard| heard.borrow().clone());
        if let Ok(Some(heard)) = heard {
            let mut fields = Fields(Vec::new());
            event.record(&mut fields);
            heard.borrow_mut().push(Logged {
                level: *event.metadata().level(),
                target: event.metadata().target().to_owned(),
                fields: fields.0,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "whose thread meets the line first is what this is about"
    )]
    fn another_thread_that_meets_the_line_first_does_not_silence_it() {
        fn tell() {
            tracing::info!(target: "hearing", shard = "s", "met");
        }
        let hearing = Hearing::start();
        std::thread::spawn(tell).join().unwrap();
        assert_eq!(hearing.events(), Vec::new());
        tell();
        let heard = hearing.events();
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].target, "hearing");
        assert_eq!(heard[0].field("shard"), "s");
        assert_eq!(heard[0].line(), "INFO message=met shard=s");
    }
}

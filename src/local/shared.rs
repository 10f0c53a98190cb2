//! The engine, shared by everybody in this process: its clock, and the waiting of subscriptions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::local::kinesis::{
    Kinesis, KinesisError, SubscriptionEvent, SubscriptionId, SubscriptionPoll,
};
use crate::ports::Clock;

/// A Kinesis and the clock it tells the time by.
pub struct SharedKinesis {
    engine: Mutex<Kinesis>,
    clock: Arc<dyn Clock>,
    /// Somebody wrote or changed something: subscriptions look again.
    changed: Notify,
}

impl SharedKinesis {
    /// Shares an engine.
    #[must_use]
    pub fn new(engine: Kinesis, clock: Arc<dyn Clock>) -> Self {
        Self {
            engine: Mutex::new(engine),
            clock,
            changed: Notify::new(),
        }
    }

    fn engine(&self) -> MutexGuard<'_, Kinesis> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that may change what readers see, at this moment (milliseconds since the epoch).
    pub fn change<T>(&self, act: impl FnOnce(&mut Kinesis, i64) -> T) -> T {
        let result = act(&mut self.engine(), self.clock.wall_millis());
        self.changed.notify_waiters();
        result
    }

    /// Does something that changes nothing for readers.
    pub fn look<T>(&self, act: impl FnOnce(&mut Kinesis, i64) -> T) -> T {
        act(&mut self.engine(), self.clock.wall_millis())
    }

    /// A subscription of the engine, to wait on.
    #[must_use]
    pub fn subscription(self: &Arc<Self>, id: SubscriptionId) -> SharedSubscription {
        SharedSubscription {
            kinesis: Arc::clone(self),
            id,
        }
    }
}

/// A subscription that waits for its events. Dropping it ends it.
pub struct SharedSubscription {
    kinesis: Arc<SharedKinesis>,
    id: SubscriptionId,
}

impl SharedSubscription {
    /// The next event; `None` at the end. May be dropped and called again without losing anything.
    ///
    /// # Errors
    /// What breaks the subscription; after that it is at its end.
    pub async fn next(&mut self) -> Result<Option<SubscriptionEvent>, KinesisError> {
        let Self { kinesis, id } = self;
        loop {
            // Before the look, so that no change falls between the two.
            let changed = kinesis.changed.notified();
            let now = kinesis.clock.now();
            let (poll, wall) =
                kinesis.look(|engine, wall| (engine.subscription_poll(*id, wall), wall));
            match poll {
                SubscriptionPoll::Event(event) => return Ok(Some(event)),
                SubscriptionPoll::Ended => return Ok(None),
                SubscriptionPoll::Failed(error) => return Err(error),
                SubscriptionPoll::Waiting { until_ms } => {
                    let wait = u64::try_from(until_ms.saturating_sub(wall)).unwrap_or(0);
                    let until = now + Duration::from_millis(wait.max(1));
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = kinesis.clock.sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

impl Drop for SharedSubscription {
    fn drop(&mut self) {
        self.kinesis.look(|engine, _| engine.unsubscribe(self.id));
    }
}

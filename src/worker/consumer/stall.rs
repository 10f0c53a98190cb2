//! A shard of which nothing is heard although its lease is held (`leases.md` J, #1430).
//!
//! Whatever a fetcher waits for has a limit of its own, and it tells what goes wrong. One that has not come
//! to the end of any wait for minutes hangs, for a reason that nobody thought of; it is started anew from
//! the checkpoint, with its child, as after a failure of the child.

use std::time::Duration;

use tracing::error;

use super::{ConsumerEvent, Done, ShardConsumer};
use crate::core::time::Moment;
use crate::ports::{ChildExit, Ending};

/// Longer than anything that a fetcher waits for by itself.
const STALLED: Duration = Duration::from_mins(5);

impl ShardConsumer {
    /// When the fetcher has stalled if nothing is heard of it until then. `wants`: the child waits for what it
    /// fetches, and nothing else keeps it.
    pub(super) fn stalls_at(&mut self, wants: bool) -> Option<Moment> {
        let sign = self.fetcher.as_ref().filter(|_| wants && self.is_fresh());
        let Some(sign) = sign.map(|fetcher| fetcher.last_sign()) else {
            self.wanting_since = None;
            return None;
        };
        let now = self.ports.fetcher.clock.now();
        let since = *self.wanting_since.get_or_insert(now);
        Some(sign.max(since) + STALLED)
    }

    /// Looks once more, as the fetcher may have given a sign meanwhile, and starts it anew.
    pub(super) fn on_stalled(&mut self) -> Vec<ConsumerEvent> {
        let now = self.ports.fetcher.clock.now();
        if self.stalls_at(true).is_none_or(|at| now < at) {
            return vec![];
        }
        error!(shard = %self.shard,
            "nothing was heard of the shard for {} s although its lease is held: it is read anew, and its child started \
             again, from checkpoint {}", STALLED.as_secs(), self.machine.checkpoint());
        self.stop_fetching();
        self.asked = None;
        let processor = self.processor.take();
        self.beside.spawn(async move {
            if let Some(mut processor) = processor {
                processor.end(Ending::AtOnce).await;
            }
            Done::ChildEnded(ChildExit::Ended)
        });
        vec![]
    }
}

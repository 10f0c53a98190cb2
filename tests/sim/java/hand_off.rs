//! Giving a lease away for the leader (C.7): `LeaseGracefulShutdownHandler`.

use std::sync::Arc;

use kcl_daemon::core::ids::LeaseKey;

use super::worker::State;
use super::{Bug, JavaWorker};
use crate::trace::{Answer, Op};
use crate::world::{S, Time};

/// Notes that a lease is to be handed off, as each renewal of one in hand-off does
/// (`LeaseGracefulShutdownHandler.enqueueShutdown`): only if a consumer is there that has not come to its
/// end. Without one the lease is renewed on, and nobody gives it away.
pub(super) fn enqueue(state: &mut State, key: &LeaseKey, now: Time) {
    let Some(held) = state.held.get_mut(key) else {
        return;
    };
    let has_consumer = state.consumers.contains(&(key.clone(), held.token));
    if held.lease.in_hand_off() && has_consumer && !state.finished.contains(key) {
        held.handing_since.get_or_insert(now);
    }
}

impl JavaWorker {
    /// Gives away, every two seconds, what its consumers did not in time
    /// (`LeaseGracefulShutdownHandler.monitorGracefulShutdownLeases`). The lease stays held until its next
    /// renewal fails. Where the worker stops, the monitor rests.
    pub(super) async fn watch_hand_offs(self: Arc<Self>) {
        loop {
            self.sleep(2 * S).await;
            if self.state().stopping {
                return;
            }
            let now = self.now();
            let over = |since: Time| now >= since + self.settings.hand_off_timeout;
            let due: Vec<(LeaseKey, u64)> = {
                let state = self.state();
                let due = state.held.iter().filter(|(_, held)| {
                    let late = !held.transferred && held.handing_since.is_some_and(over);
                    let stuck = !held.begun && self.has(Bug::HeartbeatAfterHandOff);
                    late && !stuck && now <= held.renewed + self.settings.failover
                });
                due.map(|(key, held)| (key.clone(), held.token)).collect()
            };
            for (key, token) in due {
                // Whether the condition held or not, it was tried; only a call that failed is repeated.
                if let Some(Answer::Applied(_) | Answer::Lost(_)) = self.transfer(&key, token).await
                    && let Some(held) = self.state().held.get_mut(&key)
                {
                    held.transferred = true;
                }
            }
        }
    }

    /// Makes the next owner the only one (`LeaseGracefulShutdownHandler.attemptLeaseTransfer`); `None` if
    /// the lease is not held or in no hand-off.
    async fn transfer(&self, key: &LeaseKey, token: u64) -> Option<Answer> {
        let update = self.held(key, token)?.hand_off_finished_by(&self.me)?;
        Some(self.store.request(Op::Update(update)).await)
    }

    /// The same by a consumer that has come to its end, and drops the lease whatever came of it
    /// (`ShutdownNotificationTask`, `ShutdownTask`).
    pub(super) async fn transfer_and_drop(&self, key: &LeaseKey, token: u64) {
        self.transfer(key, token).await;
        self.drop_held(key, token);
    }

    /// Holds a lease no longer (`DynamoDBLeaseRenewer.dropLease`): its row keeps this worker's name.
    pub(super) fn drop_held(&self, key: &LeaseKey, token: u64) {
        let mut state = self.state();
        if state.held.get(key).is_some_and(|held| held.token == token) {
            state.held.remove(key);
        }
    }
}

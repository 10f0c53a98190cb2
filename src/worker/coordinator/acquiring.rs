//! Getting hold of a lease by a conditional write, starting its consumer, letting go of it.

use std::sync::Arc;

use tracing::{debug, info, warn};

use super::{Coordinator, Done, Held, StopRequest};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::sequence::Position;
use crate::core::time::Moment;
use crate::os::time::within;
use crate::ports::{Clock, LeaseStore, StoreError, Written};
use crate::worker::consumer::ShardConsumer;
use crate::worker::keeper::{KeeperSettings, LeaseHandle, News};

/// How a lease came to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Nobody held it.
    Taken,
    /// From a worker that has more.
    Stolen,
    /// It carried this worker's id from before a restart.
    Resumed,
    /// The leader, or the worker that had it, gave it to this one.
    Assigned,
}

impl How {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Taken => "took the lease",
            Self::Stolen => "took the lease from a worker that has more",
            Self::Resumed => "took the lease back",
            Self::Assigned => "adopted the lease",
        }
    }
}

/// What came of a write that acquires a lease, for this worker or another one.
pub(super) enum Outcome {
    /// It happened: the row, and a moment before which it was not sent.
    Acquired(Lease, Moment),
    /// A read shows that it happened, or that the same had happened before.
    Seen(Lease),
    /// The answer says no; the row as it is, if that is known.
    Refused(Option<Lease>),
    /// Nothing is known.
    Unknown,
}

/// Why a lease was not acquired.
pub(super) enum NotAcquired {
    /// It was refused; the row as it is, if that is known.
    Refused(Option<Lease>),
    /// Nothing is known of the write, which was sent first at that moment.
    InDoubt(LeaseUpdate, Moment),
    /// Certainly nothing was written.
    NotWritten,
}

/// One write and, when its answer is lost, one look at what became of it. It is tried once, so an answer
/// that says no is the truth, unless the same write was `tried` before.
pub(super) async fn write_and_look(
    store: &dyn LeaseStore,
    clock: &dyn Clock,
    limit: std::time::Duration,
    lease: &Lease,
    update: &LeaseUpdate,
    tried: bool,
) -> Result<Outcome, StoreError> {
    let sent = clock.now();
    let written = match within(clock, limit, store.update(update)).await {
        Ok(written) => written?,
        Err(_elapsed) => Written::Unknown("no answer in time".to_owned()),
    };
    let row = match written {
        Written::Applied(row) => return Ok(Outcome::Acquired(row, sent)),
        // Perhaps because the same write arrived before.
        Written::Lost(Some(row)) if tried => Some(row),
        Written::Lost(row) => return Ok(Outcome::Refused(row)),
        Written::Unknown(why) => {
            debug!(lease = %lease.key, "looking whether the lease was written: {why}");
            match within(clock, limit, store.get(&lease.key)).await {
                Ok(Ok(row)) => row,
                _ => return Ok(Outcome::Unknown),
            }
        }
    };
    Ok(match row {
        Some(row) if update.is_proven_by(lease, &row) => Outcome::Seen(row),
        Some(row) if row.counter == lease.counter => Outcome::Unknown,
        row => Outcome::Refused(row),
    })
}

/// One renewal of what names this worker already: acquired, if the answer came and says that it happened.
async fn renew_as(
    me: &WorkerId,
    store: &dyn LeaseStore,
    clock: &dyn Clock,
    limit: std::time::Duration,
    update: &LeaseUpdate,
) -> Result<Outcome, StoreError> {
    let sent = clock.now();
    match within(clock, limit, store.update(update)).await {
        Ok(Ok(Written::Applied(row))) if row.actual_owner() == Some(me) => {
            Ok(Outcome::Acquired(row, sent))
        }
        // It was given to another worker by hand meanwhile, with its counter left as it was.
        Ok(Ok(Written::Applied(row))) => Ok(Outcome::Refused(Some(row))),
        Ok(Ok(Written::Lost(row))) => Ok(Outcome::Refused(row)),
        Ok(Err(error)) => Err(error),
        Ok(Ok(Written::Unknown(_))) | Err(_) => Ok(Outcome::Refused(None)),
    }
}

impl Coordinator {
    /// Takes a lease as the 2.x algorithm does.
    pub(super) fn take(&mut self, lease: Lease, how: How) {
        let update = lease.taken_by(&self.me);
        self.acquire(lease, update, how);
    }

    /// Writes to a lease to get hold of it.
    pub(super) fn acquire(&mut self, lease: Lease, update: LeaseUpdate, how: How) {
        if !self.taking.insert(lease.key.clone()) {
            return;
        }
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover / 3;
        let style = Arc::clone(&self.ports.keeper.style);
        let update = style.marked(update);
        let before = self.attempts.sent_first(&update);
        let me = self.me.clone();
        self.beside.spawn(async move {
            let sent = clock.now();
            let outcome = match how {
                // The row names this worker already, so that it would prove nothing (I.10).
                How::Assigned => renew_as(&me, &*store, &*clock, limit, &update).await,
                How::Taken | How::Stolen | How::Resumed => {
                    let tried = before.is_some();
                    write_and_look(&*store, &*clock, limit, &lease, &update, tried).await
                }
            };
            match outcome {
                Ok(Outcome::Acquired(lease, sent)) => Done::Acquired { lease, sent, how },
                Ok(Outcome::Seen(row)) => {
                    // Perhaps by the first one, or by a request of a former process of this id that arrived
                    // before: others count from then (I.2).
                    let update = style.marked(row.renewal_noticing_hand_off());
                    match renew_as(&me, &*store, &*clock, limit, &update).await {
                        Ok(Outcome::Acquired(lease, sent)) => Done::Acquired { lease, sent, how },
                        Ok(Outcome::Refused(Some(row))) => {
                            let why = NotAcquired::Refused(Some(row));
                            Done::NotAcquired(lease.key, why)
                        }
                        // That the lease carries this worker's id is known now.
                        _ => Done::NotAcquired(lease.key, NotAcquired::Refused(Some(row))),
                    }
                }
                Ok(Outcome::Refused(row)) => {
                    Done::NotAcquired(lease.key, NotAcquired::Refused(row))
                }
                Ok(Outcome::Unknown) => {
                    Done::NotAcquired(lease.key, NotAcquired::InDoubt(update, sent))
                }
                Err(error) => {
                    warn!(lease = %lease.key, "cannot take the lease: {error}");
                    Done::NotAcquired(lease.key, NotAcquired::NotWritten)
                }
            }
        });
    }

    /// Whoever was told no knows the row better now, and does not try the same again. With the 2.x algorithm
    /// another lease may be left over for it, which would else lie idle until the next look.
    pub(super) fn on_not_acquired(&mut self, key: &LeaseKey, why: NotAcquired) {
        self.taking.remove(key);
        match why {
            NotAcquired::Refused(Some(row)) => {
                let now = self.now();
                // One decision for each thing learnt: a row that reads as before would be tried again at once.
                let known = self.table.iter().find(|lease| lease.key == *key);
                let is_news = known.is_none_or(|known| known.counter != row.counter);
                self.learn(key, Some(row), now);
                if is_news && !self.is_assigned() {
                    self.decide(now);
                }
            }
            NotAcquired::InDoubt(update, sent) => self.attempts.unresolved(update, sent),
            NotAcquired::Refused(None) | NotAcquired::NotWritten => {}
        }
    }

    pub(super) fn on_acquired(&mut self, lease: Lease, sent: Moment, how: How) {
        self.taking.remove(&lease.key);
        self.attempts.settled(&lease.key);
        self.former.remove(&lease.key);
        if let Some(known) = self.table.iter_mut().find(|known| known.key == lease.key) {
            *known = lease.clone();
        }
        let now = self.now();
        self.own_writes
            .insert(lease.key.clone(), (lease.clone(), now));
        // The leader may have begun to move it before it was adopted.
        if self.stopping > StopRequest::Run || lease.in_hand_off() {
            self.give_back(lease, sent);
            return;
        }
        // Many believe that the configured position counts at each start.
        let note = match lease.checkpoint.position {
            Position::Number(_) => format!(
                "; position ignored: checkpoint exists (initial position {})",
                self.settings.initial_position.sentinel()
            ),
            _ => String::new(),
        };
        info!(shard = %lease.shard_id(), checkpoint = %lease.checkpoint, "{}{note}", how.sentence());
        let handle = self.keep(&lease, sent);
        self.watch(&handle, false);
        let consumer = (!lease.is_finished()).then(|| {
            let (consumer, life) = ShardConsumer::start(
                self.ports.consumer.clone(),
                self.consumer_settings,
                lease.clone(),
                handle.clone(),
            );
            let key = lease.key.clone();
            self.beside
                .spawn(async move { Done::Consumer(key, life.await) });
            consumer
        });
        self.held.insert(
            lease.key.clone(),
            Held {
                lease,
                handle,
                consumer,
            },
        );
    }

    pub(super) fn keep(&self, lease: &Lease, sent: Moment) -> LeaseHandle {
        LeaseHandle::keep(
            self.ports.keeper.clone(),
            self.me.clone(),
            lease.clone(),
            sent,
            KeeperSettings {
                failover: self.settings.failover,
                hand_off_timeout: self.settings.hand_off_timeout,
            },
        )
    }

    /// A lease that came when it could not be used any more.
    pub(super) fn give_back(&mut self, lease: Lease, sent: Moment) {
        let handle = self.keep(&lease, sent);
        self.release(handle);
    }

    pub(super) fn release(&mut self, handle: LeaseHandle) {
        self.releasing += 1;
        self.beside.spawn(async move {
            handle.release().await;
            Done::Released
        });
    }

    /// A write that nobody waits for: when it fails, a later look finds the reason for it again.
    pub(super) fn write_once(&mut self, update: LeaseUpdate) {
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover / 3;
        self.beside.spawn(async move {
            let written = within(&*clock, limit, store.update(&update)).await;
            debug!(lease = %update.key, ?written, "wrote {:?}", update.change);
            Done::Nothing
        });
    }

    /// Hears from the keeper that the lease is lost, or that the leader moves it.
    pub(super) fn watch(&mut self, handle: &LeaseHandle, hand_off_known: bool) {
        let (key, news) = (handle.key().clone(), handle.news(hand_off_known));
        self.beside.spawn(async move {
            match news.await {
                Some(News::Lost(loss)) => Done::Lost(key, loss),
                Some(News::HandingOff) => Done::HandingOff(key),
                // Released by its consumer, or dropped: whoever did it knows.
                None => Done::Nothing,
            }
        });
    }

    /// A lease that the leader moves is given up by its consumer; one without a consumer at once
    /// (I.34).
    pub(super) fn on_handing_off(&mut self, key: &LeaseKey) {
        let Some(held) = self.held.get(key) else {
            return;
        };
        let handle = held.handle.clone();
        if held.consumer.is_some() {
            self.watch(&handle, true);
        } else {
            self.held.remove(key);
            self.release(handle);
            self.forget_claim(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::os::clock::SystemClock;
    use crate::worker::testing::{Fault, MemoryStore, owned};

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_adopted_by_a_renewal_that_names_this_worker() {
        let me = WorkerId::new("me");
        // owner in the row as it was read, and when the renewal arrives; a fault; whether it is adopted
        let cases = [
            ("me", None, true),
            ("me", Some(Fault::AnswerLost), false),
            ("me", Some(Fault::RequestLost), false),
            // Somebody gave it away by hand, and left its counter alone.
            ("other", None, false),
        ];
        for (owner, fault, adopted) in cases {
            let read = owned("s", "me");
            let store = MemoryStore::with([owned("s", owner)]);
            if let Some(fault) = fault {
                store.fail_next(fault);
            }
            let (clock, limit) = (SystemClock::new(), Duration::from_secs(1));
            let update = read.renewal_noticing_hand_off();
            let outcome = renew_as(&me, &store, &clock, limit, &update).await;
            let is = matches!(outcome, Ok(Outcome::Acquired(..)));
            assert_eq!(is, adopted, "{owner} {fault:?}");
        }
    }
}

//! Deciding which leases to take, and taking them.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::{Coordinator, Done, Held, StopRequest};
use crate::core::assignment::taker::{self, Candidate};
use crate::core::assignment::view::{Holding, availability};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Counter, Lease};
use crate::core::sequence::Position;
use crate::core::time::Moment;
use crate::os::time::within;
use crate::ports::Written;
use crate::worker::consumer::ShardConsumer;
use crate::worker::keeper::{LeaseHandle, LeaseState};

pub(super) fn same_worker_id(key: &LeaseKey, me: &WorkerId) -> String {
    format!(
        "another process works under the worker id '{me}': it writes to lease {key}; \
         give each worker an id of its own (workerId), or leave workerId out"
    )
}

impl Coordinator {
    /// Leases that carry this worker's id although it does not hold them were its own before a
    /// restart, or belong to another process with the same id. A counter that moves tells which.
    pub(super) fn check_own_id(&mut self) {
        let now: HashMap<LeaseKey, Counter> = self
            .table
            .iter()
            .filter(|lease| self.is_own_unheld(lease))
            .map(|lease| (lease.key.clone(), lease.counter))
            .collect();
        let seen = std::mem::replace(&mut self.own_unheld, now);
        let moved = self
            .own_unheld
            .iter()
            .find(|(key, counter)| seen.get(*key).is_some_and(|before| before != *counter))
            .map(|(key, _)| key.clone());
        if let Some(key) = moved {
            self.fail(same_worker_id(&key, &self.me));
        }
    }

    /// Whether the row carries this worker's id although it does not hold the lease.
    pub(super) fn is_own_unheld(&self, lease: &Lease) -> bool {
        lease.owner.as_ref() == Some(&self.me)
            && !self.held.contains_key(&lease.key)
            && !self.taking.contains(&lease.key)
    }

    pub(super) fn holding(&self, lease: &Lease) -> Holding {
        if self.held.contains_key(&lease.key) || self.taking.contains(&lease.key) {
            Holding::Mine
        } else {
            Holding::NotMine
        }
    }

    pub(super) fn decide(&mut self, now: Moment) {
        if self.stopping > StopRequest::Run {
            return;
        }
        self.resume_own(now);
        let candidates: Vec<Candidate> = self
            .table
            .iter()
            .map(|lease| Candidate {
                availability: availability(
                    lease,
                    self.holding(lease),
                    &self.me,
                    &self.observations,
                    now,
                    self.settings.failover,
                ),
                lease: self.as_held(lease),
            })
            .collect();
        let entropy = Arc::clone(&self.ports.keeper.entropy);
        let plan = taker::plan(&candidates, &self.me, self.settings.limits, &mut |n| {
            entropy.below(n)
        });
        if !plan.take.is_empty() || !plan.steal.is_empty() {
            debug!(target = plan.target, take = ?taker::keys(&plan.take), steal = ?taker::keys(&plan.steal), "taking leases");
        }
        for lease in plan.take {
            self.take(lease, false);
        }
        for lease in plan.steal {
            self.take(lease, true);
        }
        self.schedule_look(now);
    }

    /// What is held, or being taken, counts as ours whatever a row says that was read before: else
    /// more than the share would be taken, or a lease that is held be taken once more. That a held
    /// lease is lost is for its keeper to say, and its consumer has to end first.
    fn as_held(&self, lease: &Lease) -> Lease {
        let mut lease = lease.clone();
        if self.holding(&lease) == Holding::Mine {
            lease.owner = Some(self.me.clone());
        }
        lease
    }

    /// Takes back what carries this worker's id: at once when the lock proves that the former process
    /// is dead, else when the counter stood still for half the failover time.
    pub(super) fn resume_own(&mut self, now: Moment) {
        let mine: Vec<Lease> = self
            .table
            .iter()
            .filter(|lease| self.is_own_unheld(lease))
            .filter(|lease| {
                self.resume_at_once
                    || self
                        .observations
                        .expires_at(lease, self.settings.failover / 2)
                        .is_some_and(|at| now >= at)
            })
            .cloned()
            .collect();
        for lease in mine {
            self.take(lease, false);
        }
    }

    pub(super) fn take(&mut self, lease: Lease, stolen: bool) {
        if !self.taking.insert(lease.key.clone()) {
            return;
        }
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let (me, limit) = (self.me.clone(), self.settings.failover / 3);
        self.beside.spawn(async move {
            let update = lease.taken_by(&me);
            let sent = clock.now();
            let written = match within(&*clock, limit, store.update(&update)).await {
                Ok(Ok(written)) => written,
                Ok(Err(error)) => {
                    warn!(lease = %lease.key, "cannot take the lease: {error}");
                    return Done::NotTaken(lease.key);
                }
                Err(_elapsed) => Written::Unknown("no answer in time".to_owned()),
            };
            let row = match written {
                Written::Applied(row) => Some(row),
                Written::Lost(row) => row.filter(|row| update.is_proven_by(&lease, row)),
                Written::Unknown(why) => {
                    debug!(lease = %lease.key, "looking whether the lease was taken: {why}");
                    match within(&*clock, limit, store.get(&lease.key)).await {
                        Ok(Ok(row)) => row.filter(|row| update.is_proven_by(&lease, row)),
                        _ => None,
                    }
                }
            };
            match row {
                Some(lease) => Done::Took {
                    lease,
                    sent,
                    stolen,
                },
                None => Done::NotTaken(lease.key),
            }
        });
    }

    pub(super) fn on_took(&mut self, lease: Lease, sent: Moment, stolen: bool) {
        self.taking.remove(&lease.key);
        if self.stopping > StopRequest::Run {
            self.give_back(lease, sent);
            return;
        }
        let how = if stolen {
            "took the lease from a worker that has more"
        } else {
            "took the lease"
        };
        // Many believe that the configured position counts at each start.
        let note = match lease.checkpoint.position {
            Position::Number(_) => format!(
                "; position ignored: checkpoint exists (initial position {})",
                self.settings.initial_position.sentinel()
            ),
            _ => String::new(),
        };
        info!(shard = %lease.shard_id(), checkpoint = %lease.checkpoint, "{how}{note}");
        let handle = self.keep(&lease, sent);
        self.watch_for_loss(&handle);
        if let Some(known) = self.table.iter_mut().find(|known| known.key == lease.key) {
            *known = lease.clone();
        }
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
            self.settings.failover,
        )
    }

    /// A lease that came after the stop began.
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

    pub(super) fn watch_for_loss(&mut self, handle: &LeaseHandle) {
        let (key, mut state) = (handle.key().clone(), handle.watch());
        self.beside.spawn(async move {
            let last = state
                .wait_for(|state| matches!(state, LeaseState::Lost(_) | LeaseState::Released))
                .await
                .map(|state| state.clone());
            match last {
                Ok(LeaseState::Lost(loss)) => Done::Lost(key, loss),
                // Released by its consumer, or dropped: whoever did it knows.
                _ => Done::Nothing,
            }
        });
    }
}

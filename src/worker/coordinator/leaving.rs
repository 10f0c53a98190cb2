//! Stopping: first the leadership and the metrics item go, so that nothing more is given to this
//! worker (I.36, I.38), then the children make their last checkpoints, then the leases are released.
//!
//! In the 3.x algorithm a lease is passed on to a worker that is there to notice; left without owner it
//! would wait for the leader (`leases.md` G.6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, warn};

use super::{Coordinator, Done, StopRequest, WorkerEnd};
use crate::core::assignment::heirs::heirs;
use crate::core::handoff::{Role, role};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Change, Condition, Lease, LeaseUpdate};
use crate::os::time::within;
use crate::ports::TableScan;
use crate::worker::consumer::Message;

/// The longest that finding out who is there may hold up a stop.
const LOOK_FOR_HEIRS: Duration = Duration::from_secs(1);

impl Coordinator {
    pub(super) fn fail(&mut self, message: String) {
        self.fail_with(message, WorkerEnd::Failed);
    }

    pub(super) fn fail_with(&mut self, message: String, end: impl FnOnce(String) -> WorkerEnd) {
        if self.end.is_none() {
            error!("{message}");
        }
        self.end.get_or_insert_with(|| end(message));
        self.request_stop(StopRequest::Graceful);
    }

    pub(super) fn request_stop(&mut self, request: StopRequest) {
        if request <= self.stopping {
            return;
        }
        let request = if self.grace.children.is_zero() {
            StopRequest::AtOnce
        } else {
            request
        };
        let first = self.stopping == StopRequest::Run;
        self.stopping = request;
        self.deadline = Some(match request {
            StopRequest::Run | StopRequest::Graceful => self.now() + self.grace.children,
            StopRequest::AtOnce => self.now() + self.grace.release,
        });
        if first {
            self.retire();
            if self.is_assigned() {
                self.look_for_heirs();
                return;
            }
        }
        self.stop_consumers();
    }

    /// Leaves the election and takes the metrics item away.
    pub(super) fn retire(&mut self) {
        if let Some(leadership) = self.leadership.take() {
            self.releasing += 1;
            self.beside.spawn(async move {
                leadership.retire().await;
                Done::Released
            });
        }
        // Under a shared id the item is the other process's too, which would be taken for dead without it.
        if let Some(reporter) = self.reporter.take()
            && !self.shares_its_id
        {
            self.releasing += 1;
            self.beside.spawn(async move {
                reporter.retire().await;
                Done::Released
            });
        }
    }

    /// What was known of the other workers may be old by now.
    fn look_for_heirs(&mut self) {
        self.looking_for_heirs = true;
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = LOOK_FOR_HEIRS.min(self.settings.failover / 3);
        self.beside.spawn(async move {
            let scan = within(&*clock, limit, store.scan()).await;
            Done::Heirs(scan.ok().and_then(Result::ok))
        });
    }

    pub(super) fn on_heirs(&mut self, scan: Option<TableScan>) {
        self.looking_for_heirs = false;
        let now = self.now();
        match scan {
            Some(scan) => {
                self.observations.record_scan(&scan.leases, now);
                self.take_in_metadata(&scan, now, now);
                self.table = scan.leases;
                self.name_heirs();
            }
            None => warn!("the other workers are not known: the leases are left to be assigned"),
        }
        self.stop_consumers();
    }

    fn name_heirs(&mut self) {
        let now = self.now();
        let mut peers = self.active_workers();
        peers.remove(&self.me);
        // A worker of which a lease has expired is dead, however fresh its metrics are.
        for lease in &self.table {
            if let Some(owner) = lease.actual_owner()
                && self
                    .observations
                    .is_expired(lease, now, self.settings.failover)
            {
                peers.remove(owner);
            }
        }
        // What carried our id already when we came may be another process's.
        let mine = |lease: &&Lease| {
            let unheld = !self.held.contains_key(&lease.key) && !self.taking.contains(&lease.key);
            let given = unheld && !self.former.contains(&lease.key) && !self.shares_its_id;
            given && role(lease, &self.me) != Role::Stranger
        };
        let unheld: Vec<Lease> = self.table.iter().filter(mine).cloned().collect();
        let leaving: BTreeSet<LeaseKey> = self
            .held
            .keys()
            .chain(unheld.iter().map(|lease| &lease.key))
            .cloned()
            .collect();
        let most = self.settings.limits.max_leases;
        let named: BTreeMap<LeaseKey, WorkerId> = heirs(&leaving, &self.table, &peers, most);
        for (key, heir) in &named {
            if let Some(held) = self.held.get(key) {
                held.handle.leave_to(heir.clone());
            }
        }
        for lease in unheld {
            let update = self.passed_on(&lease, named.get(&lease.key));
            if let Some(update) = update {
                self.pass_on(update);
            }
        }
    }

    /// What becomes of a lease that was given to this worker and not adopted yet.
    fn passed_on(&self, lease: &Lease, heir: Option<&WorkerId>) -> Option<LeaseUpdate> {
        match (role(lease, &self.me), heir) {
            (Role::Owner | Role::Knotted, Some(heir)) => Some(lease.assigned_if_silent_to(heir)),
            (Role::Owner | Role::Knotted, None) => Some(lease.released(&self.me)),
            (Role::GivingWay { .. }, _) => lease.hand_off_finished_by(&self.me),
            // The old owner still works on it: it shall hand it to somebody who is there.
            (Role::Next { from }, Some(heir)) if *heir != from => Some(LeaseUpdate {
                condition: Condition::Owners {
                    owner: lease.owner.clone(),
                    checkpoint_owner: lease.checkpoint_owner.clone(),
                    counter: None,
                },
                change: Change::BeginHandOff {
                    from,
                    to: heir.clone(),
                },
                ..lease.renewal()
            }),
            (Role::Next { .. } | Role::Stranger, _) => None,
        }
    }

    fn pass_on(&mut self, update: LeaseUpdate) {
        self.releasing += 1;
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover / 3;
        self.beside.spawn(async move {
            let written = within(&*clock, limit, store.update(&update)).await;
            debug!(lease = %update.key, ?written, "passed the lease on");
            Done::Released
        });
    }

    fn stop_consumers(&mut self) {
        let message = if self.stopping == StopRequest::Graceful {
            Message::Stop
        } else {
            Message::StopNow
        };
        let finished: Vec<LeaseKey> = self
            .held
            .iter()
            .filter(|(_, held)| held.consumer.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        for key in finished {
            if let Some(held) = self.held.remove(&key) {
                self.release(held.handle);
            }
        }
        for held in self.held.values() {
            if let Some(consumer) = &held.consumer {
                consumer.tell(message);
            }
        }
    }

    /// The present stage of stopping takes too long: go to the next; `true` when there is none.
    pub(super) fn on_deadline(&mut self) -> bool {
        self.cut = true;
        if self.stopping < StopRequest::AtOnce {
            warn!(
                "the grace for children is over ({:.1} s): they are killed now",
                self.grace.children.as_secs_f64()
            );
            self.request_stop(StopRequest::AtOnce);
            return false;
        }
        for key in self.held.keys() {
            error!(lease = %key, "the lease could not be released in time; others take it when it expires");
        }
        true
    }

    pub(super) fn is_over(&self) -> bool {
        self.stopping > StopRequest::Run
            && !self.looking_for_heirs
            && self.releasing == 0
            && self.taking.is_empty()
            && self.held.is_empty()
    }
}

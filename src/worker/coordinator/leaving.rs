//! Stopping: first the leadership and the metrics item go, so that nothing more is given to this
//! worker (I.36, I.38), then the children make their last checkpoints, then the leases are released.
//!
//! In the 3.x algorithm a lease is passed on to a worker that is there to notice; left without owner it
//! would wait for the leader (`leases.md` G.6).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::{Coordinator, Done, StopRequest, WorkerEnd};
use crate::core::assignment::heirs::heirs;
use crate::core::ids::{LeaseKey, WorkerId};
use crate::os::time::within;
use crate::ports::TableScan;
use crate::worker::consumer::Message;

/// The longest that finding out who is there may hold up a stop.
const LOOK_FOR_HEIRS: Duration = Duration::from_secs(1);

impl Coordinator {
    pub(super) fn fail(&mut self, message: String) {
        if self.end.is_none() {
            error!("{message}");
        }
        self.end.get_or_insert(WorkerEnd::Failed(message));
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
            if self.is_assigned() && !self.held.is_empty() {
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
        if let Some(reporter) = self.reporter.take() {
            self.releasing += 1;
            self.beside.spawn(async move {
                reporter.retire().await;
                Done::Released
            });
        }
    }

    /// What was known of the other workers may be old by now.
    fn look_for_heirs(&mut self) {
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = LOOK_FOR_HEIRS.min(self.settings.failover / 3);
        self.beside.spawn(async move {
            let scan = within(&*clock, limit, store.scan()).await;
            Done::Heirs(scan.ok().and_then(Result::ok))
        });
    }

    pub(super) fn on_heirs(&mut self, scan: Option<TableScan>) {
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
        let leaving: BTreeSet<LeaseKey> = self.held.keys().cloned().collect();
        let most = self.settings.limits.max_leases;
        let named: Vec<(LeaseKey, WorkerId)> = heirs(&leaving, &self.table, &peers, most)
            .into_iter()
            .collect();
        for (key, heir) in named {
            if let Some(held) = self.held.get(&key) {
                held.handle.leave_to(heir);
            }
        }
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
            && self.releasing == 0
            && self.taking.is_empty()
            && self.held.is_empty()
    }
}

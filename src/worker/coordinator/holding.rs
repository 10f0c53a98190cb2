//! What becomes of held leases: losses, ends of consumers; clean-up and audit.

use std::time::Duration;

use tracing::{error, info};

use super::taking::same_worker_id;
use super::{Coordinator, Done, StopRequest, WorkerEnd};
use crate::core::consumer::Outcome;
use crate::core::ids::LeaseKey;
use crate::core::leader::elect;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::time::Moment;
use crate::worker::clean_up::CleanUpRound;
use crate::worker::consumer::Message;
use crate::worker::keeper::{LeaseState, Loss};

/// Java's interval between questions about a finished shard (`leases.md` E.6).
const ASK_SERVICE_EVERY: Duration = Duration::from_secs(300);

impl Coordinator {
    pub(super) fn on_lost(&mut self, key: &LeaseKey, loss: &Loss) {
        if *loss == Loss::SameWorkerId {
            self.on_strange_loss(key);
        }
        // A leader may have taken this worker for dead.
        if let Some(reporter) = &self.reporter {
            reporter.report_soon();
        }
        // A consumer hears of it by itself, and its end removes the lease.
        if self
            .held
            .get(key)
            .is_some_and(|held| held.consumer.is_none())
        {
            self.held.remove(key);
        }
        self.scan_wanted = true;
    }

    /// Somebody wrote to a lease under our name. With the 2.x algorithm that is another process with our
    /// id; a leader may have given the lease away and back again, but not over and over.
    fn on_strange_loss(&mut self, key: &LeaseKey) {
        let now = self.now();
        let lately = self.settings.failover * 3;
        self.strange_losses.retain(|loss| now.since(*loss) < lately);
        self.strange_losses.push(now);
        if !self.is_assigned() || self.strange_losses.len() >= 3 {
            self.fail(same_worker_id(key, &self.me));
        }
    }

    pub(super) fn on_consumer_ended(&mut self, key: &LeaseKey, outcome: &Outcome) {
        match outcome {
            Outcome::ShardFinished => {
                info!(shard = %key.shard_id(), "the shard is finished");
                if let Some(held) = self.held.get_mut(key) {
                    held.consumer = None;
                    held.lease.checkpoint = ExtendedSequenceNumber::SHARD_END;
                    let moves = matches!(held.handle.state(), LeaseState::HandingOff { .. });
                    if (moves || self.stopping > StopRequest::Run)
                        && let Some(held) = self.held.remove(key)
                    {
                        self.release(held.handle);
                    }
                }
                for held in self.held.values() {
                    if let Some(consumer) = &held.consumer {
                        consumer.tell(Message::LookAtParents);
                    }
                }
                // Its children are waiting to be taken.
                self.scan_wanted = true;
            }
            Outcome::LeaseLost | Outcome::Released => {
                self.held.remove(key);
                if self.is_assigned() && !self.is_leader(self.now()) {
                    // The last look still says that it is this worker's; the next one tells whose it is.
                    self.table.retain(|lease| lease.key != *key);
                    self.own_writes.remove(key);
                }
            }
            Outcome::DaemonMustExit => {
                error!(shard = %key.shard_id(), "the child failed too often, or childFailurePolicy is 'exit': the daemon ends");
                if let Some(held) = self.held.remove(key) {
                    self.release(held.handle);
                }
                self.end
                    .get_or_insert(WorkerEnd::ChildFailed(key.shard_id()));
                self.request_stop(StopRequest::Graceful);
            }
        }
    }

    pub(super) fn start_clean_up(&mut self) {
        if !self.settings.clean_up || self.cleaning || self.stopping > StopRequest::Run {
            return;
        }
        let finished: Vec<LeaseKey> = self
            .held
            .iter()
            .filter(|(_, held)| held.consumer.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        let now = self.now();
        let round = CleanUpRound::plan(&finished, &self.table, now >= self.next_ask);
        if round.is_empty() {
            return;
        }
        if round.asks() {
            self.next_ask = now + ASK_SERVICE_EVERY;
        }
        self.cleaning = true;
        let ports = self.ports.clone();
        self.beside.spawn(async move {
            let (store, stream) = (&*ports.consumer.store, &*ports.consumer.fetcher.stream);
            let (clock, entropy) = (&*ports.keeper.clock, &*ports.keeper.entropy);
            Done::CleanedUp(round.run(store, stream, clock, entropy).await)
        });
    }

    pub(super) fn on_cleaned_up(&mut self, round: CleanUpRound) {
        self.cleaning = false;
        for key in round.deleted() {
            info!(shard = %key.shard_id(), "deleted the lease of a finished shard");
            self.held.remove(key);
            self.table.retain(|lease| lease.key != *key);
        }
    }

    pub(super) fn start_audit(&mut self, now: Moment, has_peers: bool) {
        if self.stopping > StopRequest::Run {
            return;
        }
        // In an empty table the sign of the 3.x mode comes before the first lease: whoever starts beside
        // this worker must not find leases alone and take them for those of an older fleet.
        let told = self
            .reporter
            .as_ref()
            .is_none_or(|reporter| reporter.last().is_some());
        if self.table.is_empty() && !told {
            return;
        }
        let leader = if self.is_assigned() {
            self.is_leader(now)
        } else {
            elect(&self.table).is_none_or(|leader| leader == self.me)
        };
        let Some(audit) = self.auditor.due(&self.table, leader, has_peers, now) else {
            return;
        };
        let ports = self.ports.clone();
        let (leases, settings) = (self.table.clone(), self.settings.clone());
        self.beside.spawn(async move {
            let (store, stream) = (&*ports.consumer.store, &*ports.consumer.fetcher.stream);
            Done::Audited(audit.run(stream, store, &leases, &settings).await)
        });
    }
}

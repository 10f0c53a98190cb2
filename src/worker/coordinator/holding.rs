//! What becomes of held leases: losses, ends of consumers; clean-up and audit.

use std::time::Duration;

use tracing::{error, info, warn};

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
/// And ours while the lease of a child is missing, so that nobody reads it.
const ASK_FOR_MISSING_EVERY: Duration = Duration::from_secs(30);

impl Coordinator {
    pub(super) fn on_lost(&mut self, key: &LeaseKey, loss: &Loss) {
        if *loss == Loss::SameWorkerId {
            self.on_strange_loss(key);
        }
        if *loss == Loss::RowGone {
            self.tell_row_is_gone(key);
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
            self.forget_claim(key);
        }
        self.scan_wanted = true;
    }

    /// What was known of a lease that is let go of says that it is ours. Where leases are assigned it
    /// would be adopted again and again, in vain, until the next look at the whole table, which may be
    /// long in coming in a large one. Whether something was known.
    pub(super) fn forget_claim(&mut self, key: &LeaseKey) -> bool {
        if !self.is_assigned() {
            return false;
        }
        let (me, known) = (&self.me, self.table.len());
        self.table
            .retain(|lease| lease.key != *key || lease.owner.as_ref() != Some(me));
        self.own_writes
            .retain(|written, (row, _)| written != key || row.owner.as_ref() != Some(me));
        self.table.len() < known
    }

    /// Somebody wrote to a lease under our name. With the 2.x algorithm that is another process with our
    /// id; a leader may have given the lease away and back again, but not over and over.
    fn on_strange_loss(&mut self, key: &LeaseKey) {
        let now = self.now();
        let lately = self.settings.failover * 3;
        self.strange_losses.retain(|loss| now.since(*loss) < lately);
        self.strange_losses.push(now);
        if !self.is_assigned() || self.strange_losses.len() >= 3 {
            self.fail_as_twin(key);
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
                    // Lost while the child had its last word: nobody else will say so again.
                    let lost = !held.handle.is_kept();
                    if (moves || lost || self.stopping > StopRequest::Run)
                        && let Some(held) = self.held.remove(key)
                    {
                        self.release(held.handle);
                        self.forget_claim(key);
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
            Outcome::LeaseLost => {
                self.held.remove(key);
                // The look after the loss may have shown that it is ours again, when it could not be used.
                self.scan_wanted |= self.forget_claim(key);
                let now = self.now();
                self.schedule_look(now);
            }
            Outcome::Released => {
                self.held.remove(key);
                self.forget_claim(key);
            }
            Outcome::DaemonMustExit => {
                error!(shard = %key.shard_id(), "the child failed too often, or childFailurePolicy is 'exit': the daemon ends");
                self.end
                    .get_or_insert(WorkerEnd::ChildFailed(key.shard_id()));
                if let Some(held) = self.held.get_mut(key) {
                    held.consumer = None;
                }
                // Stopping lets go of it, once it is known who is there.
                self.request_stop(StopRequest::Graceful);
                if !self.looking_for_heirs
                    && let Some(held) = self.held.remove(key)
                {
                    self.release(held.handle);
                }
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
            let is_missing = !round.missing().is_empty();
            self.next_ask = now
                + if is_missing {
                    ASK_FOR_MISSING_EVERY
                } else {
                    ASK_SERVICE_EVERY
                };
            // Each once.
            for child in round.missing().difference(&self.missing_children) {
                warn!("the lease of shard {child} is missing, whose parent is finished");
            }
            self.missing_children = round.missing().clone();
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

//! Deciding which leases to take, and taking them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{debug, warn};

use super::acquiring::How;
use super::{Coordinator, StopRequest, WorkerEnd};
use crate::core::assignment::taker::{self, Candidate};
use crate::core::assignment::view::{Holding, availability};
use crate::core::handoff::{Adoption, Role, adoption, is_of, role};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Counter, Lease, LeaseUpdate};
use crate::core::migration::pure_fleet::owners_are_ours;
use crate::core::time::Moment;

fn same_worker_id(key: &LeaseKey, me: &WorkerId) -> String {
    format!(
        "another process works under the worker id '{me}': it writes to lease {key}; \
         give each worker an id of its own (workerId), or leave workerId out"
    )
}

impl Coordinator {
    /// Leases that carry this worker's id although it does not hold them were its own before a
    /// restart, or belong to another process with the same id. A counter that moves tells which.
    ///
    /// With the 2.x algorithm a row that a kcl-daemon did not write last is a third matter: workers of Java
    /// renew by the counter alone, so that one goes on for ever with a lease whose owner somebody changed in
    /// the table. To end over that would help nobody, as each new start would. It is taken, as Java takes at
    /// its start what carries its id; when that comes again soon, there is another process after all.
    pub(super) fn check_own_id(&mut self) {
        // A leader may assign a lease to its owner once more; it does not do so at each of our looks.
        let enough = if self.is_assigned() { 3 } else { 1 };
        let mut now: BTreeMap<LeaseKey, (Counter, u32)> = BTreeMap::new();
        for lease in self.table.iter().filter(|lease| self.is_own_unheld(lease)) {
            let moves = match self.own_unheld.get(&lease.key) {
                Some((before, moves)) => moves + u32::from(*before != lease.counter),
                None => 0,
            };
            now.insert(lease.key.clone(), (lease.counter, moves));
        }
        let by_java = |lease: &Lease| !lease.marked && !self.is_assigned();
        let (given, moved): (Vec<&Lease>, Vec<&Lease>) = self
            .table
            .iter()
            .filter(|lease| matches!(now.get(&lease.key), Some((_, moves)) if *moves >= enough))
            .partition(|lease| by_java(lease));
        let again = self
            .given_by_hand
            .is_some_and(|last| self.scanned_at.since(last) < self.settings.failover * 30);
        let twin = if again {
            moved.first().or(given.first())
        } else {
            moved.first()
        };
        let twin = twin.map(|lease| lease.key.clone());
        let given: Vec<Lease> = given.into_iter().cloned().collect();
        self.own_unheld = now;
        if let Some(key) = twin {
            self.fail_as_twin(&key);
        } else if !given.is_empty() && self.stopping == StopRequest::Run {
            self.given_by_hand = Some(self.scanned_at);
            for lease in given {
                warn!(
                    lease = %lease.key,
                    "the lease carries the id of this worker, and a worker of KCL for Java goes on with it: it is taken over. \
                     Somebody has changed its owner in the table, or runs another worker under the id '{}'",
                    self.me
                );
                self.take(lease, How::Resumed);
            }
        }
    }

    /// Ends this worker because another process works under its id. What stands under that id in the table
    /// is the other one's from now on, metrics and leases.
    pub(super) fn fail_as_twin(&mut self, key: &LeaseKey) {
        self.shares_its_id = true;
        self.fail_with(same_worker_id(key, &self.me), WorkerEnd::SharesItsId);
    }

    /// Whether the row carries this worker's id although it does not hold the lease.
    pub(super) fn is_own_unheld(&self, lease: &Lease) -> bool {
        is_of(lease, &self.me, self.is_assigned()) && self.holding(lease) == Holding::NotMine
    }

    pub(super) fn holding(&self, lease: &Lease) -> Holding {
        if self.held.contains_key(&lease.key) || self.taking.contains(&lease.key) {
            Holding::Mine
        } else {
            Holding::NotMine
        }
    }

    /// Acts on what is known of the table.
    pub(super) fn decide(&mut self, now: Moment) {
        if self.stopping > StopRequest::Run {
            return;
        }
        self.resume_own(now);
        if self.is_assigned() {
            self.discover();
            self.lead(now);
        } else {
            self.take_what_is_due(now);
        }
        self.schedule_look(now);
    }

    fn take_what_is_due(&mut self, now: Moment) {
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
        let mut limits = self.settings.limits;
        limits.count_finished = !owners_are_ours(&self.table);
        // The limit of steals is one of each scan, as with Java; looks at single leases come between.
        if !std::mem::take(&mut self.may_steal) {
            limits.max_steals = 0;
        }
        let entropy = Arc::clone(&self.ports.keeper.entropy);
        let plan = taker::plan(&candidates, &self.me, limits, &mut |n| entropy.below(n));
        if !plan.take.is_empty() || !plan.steal.is_empty() {
            debug!(target = plan.target, take = ?taker::keys(&plan.take), steal = ?taker::keys(&plan.steal), "taking leases");
        }
        for lease in plan.take {
            self.take(lease, How::Taken);
        }
        for lease in plan.steal {
            self.take(lease, How::Stolen);
        }
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

    /// Whether whoever wrote this worker's id into the row is dead.
    fn is_left_behind(&self, lease: &Lease, now: Moment) -> bool {
        if let Role::Next { .. } = role(lease, &self.me) {
            // The 2.x algorithm, after a leader's time: the old owner may go on, and is nobody of our id.
            let failover = self.settings.failover;
            return self.observations.is_expired(lease, now, failover);
        }
        self.resume_at_once
            || self
                .observations
                .expires_at(lease, self.settings.failover / 2)
                .is_some_and(|at| now >= at)
    }

    /// Leases that this worker has to hand off and does not hold go at once (I.34): either the leader
    /// moved them on before they were adopted, or a former process of this worker had them, which is
    /// dead.
    fn end_own_hand_offs(&mut self, now: Moment) {
        let strays: Vec<LeaseUpdate> = self
            .table
            .iter()
            .filter(|lease| self.holding(lease) == Holding::NotMine)
            .filter(|lease| !self.former.contains(&lease.key) || self.is_left_behind(lease, now))
            .filter_map(|lease| match adoption(lease, &self.me) {
                Adoption::LetGo(update) => Some(update),
                Adoption::Adopt(_) | Adoption::Wait { .. } | Adoption::Ignore => None,
            })
            .collect();
        for update in strays {
            self.former.remove(&update.key);
            self.write_once(update);
        }
    }

    /// Takes back what carries this worker's id: at once when the lock proves that the former process
    /// is dead, else when the counter stood still for half the failover time.
    pub(super) fn resume_own(&mut self, now: Moment) {
        let mine: Vec<Lease> = self
            .table
            .iter()
            .filter(|lease| self.is_own_unheld(lease) && self.is_left_behind(lease, now))
            .cloned()
            .collect();
        for lease in mine {
            self.take(lease, How::Resumed);
        }
        self.end_own_hand_offs(now);
    }
}

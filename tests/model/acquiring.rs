//! How workers get hold of leases: by taking them, by taking back what was theirs, by adopting what was
//! assigned to them; and how a leader assigns.

use std::sync::Arc;

use kcl_daemon::core::assignment::taker::{self, Availability, Candidate, Limits};
use kcl_daemon::core::assignment::view::{Holding, availability};
use kcl_daemon::core::handoff::{Adoption, adoption};
use kcl_daemon::core::lease::{Lease, LeaseUpdate};
use kcl_daemon::core::tenure::Tenure;

use crate::steps::{Mode, Mutant, Way, World};
use crate::worker::{Answer, Sight, Slow, Taking};
use crate::world::{Aim, F, NAMES, Tick, Write, failover, key_number, moment, tick_of};

impl World {
    pub fn take_free(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
        let now = moment(self.state.now);
        let hasty = self.rules.is(Mutant::TakesAtFirstSight);
        let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
        let me = mind.me();
        let judge = |(shard, sight): (usize, &Option<Sight>)| {
            let sight = sight.as_ref()?;
            let mut lease = (*sight.row).clone();
            let holding = match mind.has(shard) {
                true => Holding::Mine,
                false => Holding::NotMine,
            };
            let seen = sight.observations();
            let mut free = availability(&lease, holding, me, &seen, now, failover());
            if holding == Holding::Mine {
                lease.owner = Some(me.clone());
            } else if hasty && lease.owner.as_ref() != Some(me) {
                free = free.max(Availability::Free);
            }
            let availability = free;
            Some(Candidate {
                lease,
                availability,
            })
        };
        let candidates: Vec<Candidate> = mind.seen.iter().enumerate().filter_map(judge).collect();
        let limits = Limits {
            max_leases: usize::MAX,
            max_steals: usize::from(mind.may_steal),
            very_old_first: false,
            count_finished: true,
        };
        let key = &NAMES.keys[shard];
        // Whatever the dice say.
        let named = |leases: &[Lease]| leases.iter().find(|lease| lease.key == *key).cloned();
        let plans = (0..candidates.len())
            .map(|dice| taker::plan(&candidates, me, limits, &mut |n| dice.min(n - 1)));
        let (lease, aim) = plans.into_iter().find_map(|plan| {
            let take = named(&plan.take).map(|lease| (lease, Aim::Take));
            take.or_else(|| named(&plan.steal).map(|lease| (lease, Aim::Steal)))
        })?;
        if aim == Aim::Steal {
            mind.may_steal = false;
        }
        let update = lease.taken_by(me);
        self.acquire(worker, Arc::new(lease), update, aim, way)
    }

    pub fn resume(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
        let now = self.state.now;
        let waits = self.rules.mode == Mode::Leader;
        let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
        let sight = mind.seen[shard].as_ref()?;
        let own = sight.row.owner.as_ref() == Some(mind.me()) && !mind.has(shard);
        let left_behind = (mind.life > 0 && mind.former[shard]) || now >= sight.since + F / 2;
        if !own || !left_behind || (waits && sight.row.in_hand_off()) {
            return None;
        }
        let row = Arc::clone(&sight.row);
        let update = row.taken_by(mind.me());
        self.acquire(worker, row, update, Aim::Adopt, way)
    }

    pub fn adopt(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
        let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
        if mind.has(shard) || mind.former[shard] {
            return None;
        }
        let row = Arc::clone(&mind.seen[shard].as_ref()?.row);
        let Adoption::Adopt(update) = adoption(&row, mind.me()) else {
            return None;
        };
        self.acquire(worker, row, update, Aim::Adopt, way)
    }

    pub fn assign(&mut self, worker: u8, shard: usize, to: u8, way: Way) -> Option<()> {
        let now = moment(self.state.now);
        let hasty = self.rules.is(Mutant::TakesAtFirstSight);
        let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
        let sight = mind.seen[shard].as_ref()?;
        let row = Arc::clone(&sight.row);
        let dead = hasty || sight.observations().is_expired(&row, now, failover());
        if row.owner.is_some() && !dead {
            return None;
        }
        let aim = match row.owner {
            Some(_) => Aim::AssignDead,
            None => Aim::Other,
        };
        let update = row.assigned_if_silent_to(&NAMES.workers[usize::from(to)]);
        self.send_blindly(worker, Write::Update(update), aim, way)
    }

    /// Writes to become the holder of a lease.
    fn acquire(
        &mut self,
        worker: u8,
        before: Arc<Lease>,
        update: LeaseUpdate,
        aim: Aim,
        way: Way,
    ) -> Option<()> {
        let (shard, sent) = (key_number(&before.key), self.state.now);
        let id = self.mind(worker)?.next_id();
        let answer = self.send(Write::Update(update.clone()), aim, id, way)?;
        let taking = Taking {
            id,
            before,
            assigned: matches!(update.change, kcl_daemon::core::lease::Change::Renew),
            slow: Slow {
                update,
                sent,
                answer: None,
            },
        };
        match answer {
            Some(answer) => self.take_is_answered(worker, &taking, answer),
            None => self.mind(worker)?.taking[shard] = Some(Arc::new(taking)),
        }
        Some(())
    }

    /// As `acquiring.rs` of the product: an answer that says no is the truth, unless the same write was
    /// sent before and may have arrived.
    pub fn take_is_answered(&mut self, worker: u8, taking: &Taking, answer: Answer) {
        match answer {
            Answer::Applied(row) => self.acquired(worker, taking, row, taking.slow.sent),
            Answer::Refused(row) => {
                let tried = self.tried_first(worker, taking).is_some();
                if tried && !taking.assigned {
                    self.not_acquired(worker, taking, Some(row));
                }
            }
        }
    }

    fn tried_first(&mut self, worker: u8, taking: &Taking) -> Option<Tick> {
        let mind = self.mind(worker)?;
        mind.attempts.sent_first(&taking.slow.update).map(tick_of)
    }

    /// The answer did not come, or tells nothing; the row as it was read, if it was.
    pub fn not_acquired(&mut self, worker: u8, taking: &Taking, read: Option<Option<Arc<Lease>>>) {
        if taking.assigned {
            return;
        }
        let tried = self.tried_first(worker, taking);
        let update = &taking.slow.update;
        let unresolved = match read {
            Some(Some(row)) if update.is_proven_by(&taking.before, &row) => {
                let sent = tried.unwrap_or(taking.slow.sent);
                self.acquired(worker, taking, row, sent);
                false
            }
            Some(Some(row)) => row.counter == taking.before.counter,
            Some(None) => false,
            None => true,
        };
        if unresolved && let Some(mind) = self.mind(worker) {
            let sent = moment(taking.slow.sent);
            mind.attempts.unresolved(update.clone(), sent);
        }
    }

    /// A lease is acquired: it is held from the moment at which the write was sent.
    fn acquired(&mut self, worker: u8, taking: &Taking, row: Arc<Lease>, sent: Tick) {
        let now = self.state.now;
        let shard = key_number(&row.key);
        let sent = match self.rules.is(Mutant::CountsFromTheAnswer) {
            true => now,
            false => sent,
        };
        let me = NAMES.workers[usize::from(worker)].clone();
        let tenure = Tenure::begin(me, (*row).clone(), moment(sent));
        let truth = &self.state.truth[shard];
        // Of several writes that say the same it does not matter which one it was.
        let id = truth.holder.filter(|holder| {
            let mind = self.state.minds[usize::from(worker)].as_ref();
            holder.worker == worker && mind.is_some_and(|mind| mind.life == holder.life)
        });
        let sent_ok = truth.acquired;
        if let Some(mind) = self.mind(worker) {
            mind.attempts.settled(&row.key);
        }
        self.begin_hold(worker, shard, id.unwrap_or(taking.id), tenure, sent_ok);
    }
}

//! Every step that is possible in a state.
//!
//! A write is one step, from its sending to its answer, unless something goes wrong with it, which
//! costs one of the budget's faults: then it is on its way for as long as the model likes, arrives
//! once, twice or never, and its sender waits for the answer or gives up and reads. What was decided
//! from an old look at the table is still decided with a stale view: looks are steps of their own.

use std::sync::Arc;

use kcl_daemon::core::assignment::taker::{self, Availability, Candidate, Limits};
use kcl_daemon::core::assignment::view::{Holding, availability};
use kcl_daemon::core::handoff::{Adoption, adoption};
use kcl_daemon::core::lease::{Condition, Lease, LeaseDeletion, LeaseUpdate};
use kcl_daemon::core::shard_sync::{CleanUp, child_leases, clean_up};
use kcl_daemon::core::tenure::Tenure;

use crate::laws::{self, Broken};
use crate::owner;
use crate::worker::{Answer, Mind, Sight, Slow, Taking};
use crate::world::{
    Aim, F, Flight, Holder, NAMES, RECORDS, SHARDS, State, Tick, Write, failover, key_number,
    moment, tick_of,
};

/// How a fleet shares its leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each worker takes for itself.
    TwoX,
    /// A leader assigns; here any worker may believe to be it, also both.
    Leader,
}

/// What is wrong with the product, to see that the model finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    UnconditionalRenewal,
    UnconditionalCheckpoint,
    EndBeforeChildren,
    DeliversWhenStale,
    CountsFromTheAnswer,
    TakesAtFirstSight,
    RenewsAfterRelease,
    AssumesThatItHappened,
    IgnoresParents,
    DeletesAtOnce,
    SkipsARecord,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub mode: Mode,
    pub mutant: Option<Mutant>,
}

impl Rules {
    pub fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The write as the product makes it, or as the mutant does.
    pub fn mutate(self, mut update: LeaseUpdate) -> LeaseUpdate {
        use kcl_daemon::core::lease::Change;
        let free = match update.change {
            Change::Renew => self.is(Mutant::UnconditionalRenewal),
            Change::Checkpoint(_) => self.is(Mutant::UnconditionalCheckpoint),
            _ => false,
        };
        if free {
            update.condition = Condition::Exists;
        }
        update
    }
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is carried out and answered at once.
    Swift,
    /// As that, and it arrives once more later.
    Twice,
    /// It arrives some time, or never.
    Slow,
}

/// A step; workers and shards by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Tick,
    /// A write arrives.
    Arrives(usize),
    Crash(u8),
    Start(u8),
    Stop(u8),
    /// Scans the table.
    Look(u8),
    Take(u8, usize, Way),
    /// Takes its own back after a restart.
    Resume(u8, usize, Way),
    Adopt(u8, usize, Way),
    /// Ends a hand-off of a lease it does not hold.
    LetGo(u8, usize, Way),
    /// As leader, gives a free or dead lease to a worker.
    Assign(u8, usize, u8, Way),
    /// As leader, begins a hand-off to a worker.
    Move(u8, usize, u8, Way),
    HearOfTake(u8, usize),
    /// Waits no more for the answer; reads, or cannot even read.
    LookAfterTake(u8, usize, bool),
    Owner(u8, usize, owner::Act),
}

/// All steps that may be possible.
fn all_steps(state: &State, rules: Rules) -> Vec<Step> {
    let mut steps = vec![Step::Tick];
    for index in 0..state.flights.len() {
        steps.push(Step::Arrives(index));
    }
    let ways: &[Way] = match state.budget.faults {
        0 => &[Way::Swift],
        _ => &[Way::Swift, Way::Twice, Way::Slow],
    };
    for worker in 0..2u8 {
        let Some(mind) = &state.minds[usize::from(worker)] else {
            steps.push(Step::Start(worker));
            continue;
        };
        steps.push(Step::Crash(worker));
        steps.push(Step::Stop(worker));
        steps.push(Step::Look(worker));
        for shard in 0..SHARDS {
            if mind.seen[shard].is_some() && !mind.has(shard) {
                for way in ways {
                    steps.push(Step::Resume(worker, shard, *way));
                    if rules.mode == Mode::TwoX {
                        steps.push(Step::Take(worker, shard, *way));
                        continue;
                    }
                    steps.push(Step::Adopt(worker, shard, *way));
                    steps.push(Step::LetGo(worker, shard, *way));
                    for to in 0..2 {
                        steps.push(Step::Assign(worker, shard, to, *way));
                    }
                }
            }
            if rules.mode == Mode::Leader && mind.seen[shard].is_some() && state.budget.moves > 0 {
                let moves = ways
                    .iter()
                    .map(|way| Step::Move(worker, shard, 1 - worker, *way));
                steps.extend(moves);
            }
            if mind.taking[shard].is_some() {
                steps.push(Step::HearOfTake(worker, shard));
                steps.push(Step::LookAfterTake(worker, shard, true));
                steps.push(Step::LookAfterTake(worker, shard, false));
            }
            if let Some(hold) = &mind.held[shard] {
                let acts = owner::acts(hold, ways);
                steps.extend(acts.into_iter().map(|act| Step::Owner(worker, shard, act)));
            }
        }
    }
    steps
}

/// Every step that is possible, with the state after it, or the law that it breaks.
pub fn successors(state: &State, rules: Rules) -> Vec<(Step, Result<State, Broken>)> {
    let mut found = Vec::new();
    for step in all_steps(state, rules) {
        let mut next = World {
            state: state.clone(),
            rules,
            broken: None,
        };
        if next.take(step).is_none() {
            continue;
        }
        next.settle();
        let broken = next.broken.take().or_else(|| laws::of_state(&next.state));
        found.push((step, broken.map_or(Ok(next.state), Err)));
    }
    found
}

/// A state while a step is taken.
pub struct World {
    pub state: State,
    pub rules: Rules,
    pub broken: Option<Broken>,
}

impl World {
    pub fn judge(&mut self, verdict: Option<Broken>) {
        if self.broken.is_none() {
            self.broken = verdict;
        }
    }

    pub fn mind(&mut self, worker: u8) -> Option<&mut Mind> {
        self.state.minds[usize::from(worker)]
            .as_mut()
            .map(Arc::make_mut)
    }

    /// One thing less may go wrong; `None` when nothing may any more.
    pub fn fault(&mut self) -> Option<()> {
        let faults = &mut self.state.budget.faults;
        *faults = faults.checked_sub(1)?;
        Some(())
    }

    /// Takes a step; `None` when it is not possible.
    fn take(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Tick => self.state.now += 1,
            Step::Arrives(index) => self.arrives(index),
            Step::Crash(worker) => {
                let crashes = &mut self.state.budget.crashes;
                *crashes = crashes.checked_sub(1)?;
                self.state.minds[usize::from(worker)] = None;
            }
            Step::Start(worker) => {
                let life = &mut self.state.lives[usize::from(worker)];
                *life += 1;
                let mind = Mind::new(worker, *life);
                self.state.minds[usize::from(worker)] = Some(Arc::new(mind));
            }
            Step::Stop(worker) => {
                let stops = &mut self.state.budget.stops;
                *stops = stops.checked_sub(1)?;
                self.stop(worker)?;
            }
            Step::Look(worker) => self.look(worker)?,
            Step::Take(worker, shard, way) => self.take_free(worker, shard, way)?,
            Step::Resume(worker, shard, way) => self.resume(worker, shard, way)?,
            Step::Adopt(worker, shard, way) => self.adopt(worker, shard, way)?,
            Step::LetGo(worker, shard, way) => {
                let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
                let me = mind.me();
                let Adoption::LetGo(update) = adoption(&mind.seen[shard].as_ref()?.row, me) else {
                    return None;
                };
                self.send_blindly(worker, Write::Update(update), Aim::Other, way)?;
            }
            Step::Assign(worker, shard, to, way) => self.assign(worker, shard, to, way)?,
            Step::Move(worker, shard, to, way) => {
                let moves = &mut self.state.budget.moves;
                *moves = moves.checked_sub(1)?;
                let mind = self.mind(worker)?;
                let row = &mind.seen[shard].as_ref()?.row;
                let update = row.handed_off_to(&NAMES.workers[usize::from(to)])?;
                self.send_blindly(worker, Write::Update(update), Aim::Other, way)?;
            }
            Step::HearOfTake(worker, shard) => {
                let mind = self.mind(worker)?;
                let answer = mind.taking[shard].as_ref()?.slow.answer.clone()?;
                let taking = mind.taking[shard].take()?;
                self.take_is_answered(worker, &taking, answer);
            }
            Step::LookAfterTake(worker, shard, reads) => {
                let taking = self.mind(worker)?.taking[shard].take()?;
                let row = self.state.rows[shard].clone();
                if !reads {
                    self.fault()?;
                    self.not_acquired(worker, &taking, None);
                } else {
                    self.not_acquired(worker, &taking, Some(row));
                }
            }
            Step::Owner(worker, shard, act) => self.owner_acts(worker, shard, act)?,
        }
        Some(())
    }

    /// A worker that stops and holds nothing any more is gone. A write that never arrives is one that
    /// stays under way for ever.
    fn settle(&mut self) {
        self.state.forget_dead_writes();
        for mind in &mut self.state.minds {
            if mind
                .as_ref()
                .is_some_and(|mind| mind.stopping && mind.is_idle())
            {
                *mind = None;
            }
        }
    }

    fn look(&mut self, worker: u8) -> Option<()> {
        let (now, rows) = (self.state.now, self.state.rows.clone());
        let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
        for (shard, row) in rows.into_iter().enumerate() {
            let known = mind.seen[shard].take();
            mind.seen[shard] = row.map(|row| {
                let same = known.filter(|known| known.row.counter == row.counter);
                let since = same.map_or(now, |known| known.since);
                let last = now;
                Sight { row, since, last }
            });
            let me = mind.me();
            let mine = mind.seen[shard].as_ref().is_some_and(|sight| {
                sight.row.owner.as_ref() == Some(me)
                    || sight.row.checkpoint_owner.as_ref() == Some(me)
            });
            mind.former[shard] = mine && (mind.former[shard] || !mind.looked);
        }
        (mind.looked, mind.may_steal) = (true, true);
        Some(())
    }

    fn take_free(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
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

    fn resume(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
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

    fn adopt(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
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

    fn assign(&mut self, worker: u8, shard: usize, to: u8, way: Way) -> Option<()> {
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

    /// A write of which the writer learns nothing.
    pub fn send_blindly(&mut self, worker: u8, write: Write, aim: Aim, way: Way) -> Option<()> {
        let mind = self.mind(worker)?;
        let by = Holder {
            worker,
            life: mind.life,
            serial: 0,
        };
        self.send(write, aim, by, way).map(|_| ())
    }

    /// Sends a write; gives its answer unless it is slow.
    pub fn send(&mut self, write: Write, aim: Aim, by: Holder, way: Way) -> Option<Option<Answer>> {
        let flight = Flight {
            write,
            aim,
            by,
            sent: self.state.now,
        };
        let answer = match way {
            Way::Slow => None,
            Way::Swift | Way::Twice => Some(self.carry_out(&flight)),
        };
        if way != Way::Swift {
            self.fault()?;
            self.state.flights.push(flight);
        }
        Some(answer)
    }

    fn arrives(&mut self, index: usize) {
        let flight = self.state.flights[index].clone();
        self.state.flights.remove(index);
        let answer = self.carry_out(&flight);
        let Write::Update(update) = &flight.write else {
            return;
        };
        let shard = key_number(&update.key);
        let Some(mind) = self.mind(flight.by.worker) else {
            return;
        };
        // Whoever still waits for it is answered.
        let waits = |slow: &Slow| slow.update == *update && slow.sent == flight.sent;
        if let Some(taking) = mind.taking[shard].as_mut().map(Arc::make_mut)
            && taking.id == flight.by
            && waits(&taking.slow)
        {
            taking.slow.answer.get_or_insert(answer);
        } else if let Some(hold) = mind.held[shard].as_mut().map(Arc::make_mut)
            && hold.id == flight.by
            && let Some(slow) = hold.slow.as_mut().filter(|slow| waits(slow))
        {
            slow.answer.get_or_insert(answer);
        }
    }

    /// The table carries a write out, or refuses it.
    fn carry_out(&mut self, flight: &Flight) -> Answer {
        match &flight.write {
            Write::Update(update) => self.carry_out_update(flight, update),
            Write::Create(shard) => {
                let truth = &mut self.state.truth[*shard];
                let row = &mut self.state.rows[*shard];
                if row.is_some() {
                    return Answer::Refused(None);
                }
                truth.existed = true;
                (truth.moved, truth.changed_hands) = (self.state.now, self.state.now);
                let child = crate::world::CHILDREN
                    .iter()
                    .position(|child| child == shard);
                let leases = child_leases(&NAMES.children);
                let made = Arc::new(leases[child.unwrap_or(0)].clone());
                *row = Some(Arc::clone(&made));
                Answer::Applied(made)
            }
            Write::Delete(deletion) => {
                let shard = key_number(&deletion.key);
                let row = self.state.rows[shard].clone();
                match row.filter(|row| deletion.is_permitted_on(Some(row))) {
                    None => Answer::Refused(None),
                    Some(row) => {
                        self.judge(laws::of_delete(&self.state, &row));
                        self.state.rows[shard] = None;
                        Answer::Applied(row)
                    }
                }
            }
        }
    }

    fn carry_out_update(&mut self, flight: &Flight, update: &LeaseUpdate) -> Answer {
        let shard = key_number(&update.key);
        let before = self.state.rows[shard].clone();
        let Some(row) = before
            .clone()
            .filter(|row| update.is_permitted_on(Some(row)))
        else {
            return Answer::Refused(before);
        };
        self.judge(laws::of_update(&self.state, flight, update, &row));
        let after = Arc::new(update.applied_to(&row));
        let truth = &mut self.state.truth[shard];
        if after.counter != row.counter {
            truth.moved = self.state.now;
        }
        if after.actual_owner() != row.actual_owner() {
            truth.changed_hands = self.state.now;
        }
        use kcl_daemon::core::lease::Change;
        match (flight.aim, &update.change) {
            (Aim::Take | Aim::Steal | Aim::Adopt, _) => {
                (truth.holder, truth.acquired) = (Some(flight.by), flight.sent);
            }
            (_, Change::Release | Change::Assign { .. }) => truth.holder = None,
            _ => {}
        }
        self.state.rows[shard] = Some(Arc::clone(&after));
        if let Some(mind) = self.mind(flight.by.worker)
            && let Some(hold) = mind.held[shard].as_mut().map(Arc::make_mut)
            && hold.id == flight.by
        {
            hold.sent_ok = hold.sent_ok.max(flight.sent);
        }
        Answer::Applied(after)
    }

    /// Looks whether a finished lease may be deleted.
    pub fn clean_up(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
        let early = self.rules.is(Mutant::DeletesAtOnce);
        let mind = self.mind(worker)?;
        let rows: Vec<Arc<Lease>> = mind
            .seen
            .iter()
            .flatten()
            .map(|sight| Arc::clone(&sight.row))
            .collect();
        let leases = rows.iter().map(|row| (row.shard_id(), &**row)).collect();
        let lease = &mind.seen[shard].as_ref()?.row;
        let deletion = match clean_up(lease, &leases) {
            CleanUp::Delete(deletion) => deletion,
            _ if early && lease.is_finished() => LeaseDeletion::of(lease),
            _ => return None,
        };
        let life = mind.life;
        let by = Holder {
            worker,
            life,
            serial: 0,
        };
        let answer = self.send(Write::Delete(deletion), Aim::Other, by, way)?;
        if matches!(answer, Some(Answer::Applied(_))) {
            self.mind(worker)?.held[shard] = None;
        }
        Some(())
    }

    /// As `acquiring.rs` of the product: an answer that says no is the truth, unless the same write was
    /// sent before and may have arrived.
    fn take_is_answered(&mut self, worker: u8, taking: &Taking, answer: Answer) {
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
    fn not_acquired(&mut self, worker: u8, taking: &Taking, read: Option<Option<Arc<Lease>>>) {
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

    /// The last record was read.
    pub const fn is_at_end(reading: Option<u8>) -> bool {
        matches!(reading, Some(next) if next >= RECORDS)
    }
}

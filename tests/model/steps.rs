//! Every step that is possible in a state.
//!
//! A write is one step, from its sending to its answer, unless something goes wrong with it, which
//! costs one of the budget's faults: then it is on its way for as long as the model likes, arrives
//! once, twice or never, and its sender waits for the answer or gives up and reads. What was decided
//! from an old look at the table is still decided with a stale view: looks are steps of their own.

use std::sync::Arc;

use kcl_daemon::core::handoff::{Adoption, adoption};
use kcl_daemon::core::lease::{Condition, Lease, LeaseDeletion, LeaseUpdate};
use kcl_daemon::core::shard_sync::{CleanUp, clean_up};

use crate::laws::{self, Broken};
use crate::owner;
use crate::worker::{Answer, Mind, Sight};
use crate::world::{Aim, Holder, NAMES, RECORDS, SHARDS, State, Write};

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

    /// The last record was read.
    pub const fn is_at_end(reading: Option<u8>) -> bool {
        matches!(reading, Some(next) if next >= RECORDS)
    }
}

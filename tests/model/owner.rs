//! What the holder of a lease does: its keeper, its consumer, its child.

use std::collections::VecDeque;
use std::sync::Arc;

use kcl_daemon::core::checkpoint::{CheckpointError, CheckpointErrorName};
use kcl_daemon::core::consumer::{Action, Asked, Event, Outcome};
use kcl_daemon::core::lease::{Lease, LeaseUpdate};
use kcl_daemon::core::tenure::{Lesson, Tenure};
use multilang_protocol::{ActionKind, Dialect, checkpoint_allowed};

use crate::laws;
use crate::steps::{Mutant, Way, World};
use crate::worker::{Answer, Hold, Shell, Slow, first_behind};
use crate::world::{
    Aim, CHILDREN, Holder, NAMES, PARENT, RECORDS, Tick, Write, failover, moment, place_number,
};

/// What a holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Renew(Way),
    Checkpoint(Way),
    /// The checkpoint is given up, and the child told.
    DropCheckpoint,
    GiveUp(Way),
    /// Giving up failed too often; the lease is left to expire.
    DropRelease,
    /// The child takes too long over a hand-off.
    ForceHandOff(Way),
    /// The answer of a slow write comes.
    Hear,
    /// It comes too late; the row is read, or cannot even be read.
    StopWaiting(bool),
    /// The parents have ended.
    ParentsEnded,
    Deliver,
    ReadEnd,
    /// One more lease of a child shard is made, or the children noted.
    MakeChild(Way),
    /// The child asks for a checkpoint.
    Ask,
    Answer,
    ChildDies,
    Wake,
    CleanUp(Way),
}

/// What a holder may want to do.
pub fn acts(hold: &Hold, ways: &[Way]) -> Vec<Act> {
    let mut acts = Vec::new();
    if hold.slow.is_some() {
        acts.extend([Act::Hear, Act::StopWaiting(true), Act::StopWaiting(false)]);
    } else if !hold.tenure.is_over() {
        acts.extend(ways.iter().map(|way| Act::Renew(*way)));
        acts.extend(ways.iter().map(|way| Act::ForceHandOff(*way)));
        if hold.releasing {
            acts.extend(ways.iter().map(|way| Act::GiveUp(*way)));
            acts.push(Act::DropRelease);
        }
    }
    let Some(shell) = &hold.consumer else {
        acts.extend(ways.iter().map(|way| Act::CleanUp(*way)));
        return acts;
    };
    if shell.writing.is_some() && hold.slow.is_none() && !hold.tenure.is_over() {
        acts.extend(ways.iter().map(|way| Act::Checkpoint(*way)));
        acts.push(Act::DropCheckpoint);
    }
    if shell.waits_for_parents {
        acts.push(Act::ParentsEnded);
    }
    if shell.reading.is_some() {
        acts.push(Act::Deliver);
        acts.push(Act::ReadEnd);
    }
    if shell.family.is_some() {
        acts.extend(ways.iter().map(|way| Act::MakeChild(*way)));
    }
    if shell.asked.is_some() {
        acts.extend([Act::Ask, Act::Answer]);
    }
    if shell.has_child {
        acts.push(Act::ChildDies);
    }
    if shell.pauses {
        acts.push(Act::Wake);
    }
    acts
}

type Happening = Event<u8, (), ()>;

fn not_held() -> CheckpointError {
    CheckpointError::new(CheckpointErrorName::Shutdown, "not held")
}

impl World {
    pub fn hold(&mut self, worker: u8, shard: usize) -> Option<&mut Hold> {
        self.mind(worker)?.held[shard].as_mut().map(Arc::make_mut)
    }

    fn shell(&mut self, worker: u8, shard: usize) -> Option<&mut Shell> {
        self.hold(worker, shard)?.consumer.as_mut()
    }

    pub fn begin_hold(
        &mut self,
        worker: u8,
        shard: usize,
        id: Holder,
        tenure: Tenure,
        sent_ok: Tick,
    ) {
        let lease = tenure.lease().clone();
        let Some(mind) = self.mind(worker) else {
            return;
        };
        // It came when it could not be used any more, or is finished.
        let useless = mind.stopping || lease.in_hand_off();
        let consumer = (!useless && !lease.is_finished()).then(|| Shell::new(lease.checkpoint));
        mind.held[shard] = Some(Arc::new(Hold {
            id,
            tenure,
            slow: None,
            consumer,
            releasing: useless,
            sent_ok,
        }));
    }

    pub fn stop(&mut self, worker: u8) -> Option<()> {
        let mind = self.mind(worker).filter(|mind| !mind.stopping)?;
        mind.stopping = true;
        for shard in 0..crate::world::SHARDS {
            self.leave(worker, shard);
        }
        Some(())
    }

    /// The lease is to be given up, in order.
    fn leave(&mut self, worker: u8, shard: usize) {
        let Some(hold) = self.hold(worker, shard) else {
            return;
        };
        if hold.consumer.is_some() {
            self.feed(worker, shard, Event::StopRequested);
        } else {
            hold.releasing = true;
        }
    }

    pub fn owner_acts(&mut self, worker: u8, shard: usize, act: Act) -> Option<()> {
        let now = self.state.now;
        match act {
            Act::Renew(way) => {
                let hold = self.hold(worker, shard)?;
                // Sooner than that nobody renews.
                if hold.tenure.last_sent() >= moment(now) && hold.tenure.in_doubt().is_empty() {
                    return None;
                }
                let update = hold.tenure.lease().renewal();
                self.write(worker, shard, update, way)
            }
            Act::Checkpoint(way) => {
                let hold = self.hold(worker, shard)?;
                let to = hold.consumer.as_ref()?.writing.clone()?;
                match hold.tenure.checkpoint(&to) {
                    Some(update) => self.write(worker, shard, update, way),
                    None => {
                        self.checkpoint_is_written(worker, shard, Ok(()));
                        Some(())
                    }
                }
            }
            Act::DropCheckpoint => {
                self.fault()?;
                let error = CheckpointError::new(CheckpointErrorName::Dependency, "no answer");
                self.checkpoint_is_written(worker, shard, Err(error));
                Some(())
            }
            Act::GiveUp(way) => match self.hold(worker, shard)?.tenure.giving_up(None) {
                Some(update) => self.write(worker, shard, update, way),
                None => {
                    self.released(worker, shard);
                    Some(())
                }
            },
            Act::DropRelease => {
                self.fault()?;
                self.released(worker, shard);
                Some(())
            }
            Act::ForceHandOff(way) => {
                let hold = self.hold(worker, shard)?;
                let update = hold.tenure.lease().hand_off_finished_by(hold.tenure.me())?;
                self.write(worker, shard, update, way)
            }
            Act::Hear => {
                let hold = self.hold(worker, shard)?;
                let answer = hold.slow.as_ref()?.answer.clone()?;
                let slow = hold.slow.take()?;
                self.heard(worker, shard, &slow, answer);
                Some(())
            }
            Act::StopWaiting(reads) => self.stop_waiting(worker, shard, reads),
            Act::ParentsEnded => {
                let ignores = self.rules.is(Mutant::IgnoresParents);
                let parent = self.state.rows[PARENT].as_ref();
                let ended = parent.is_none_or(|row| row.is_finished());
                if CHILDREN.contains(&shard) && !ended && !ignores {
                    return None;
                }
                self.shell(worker, shard)?.waits_for_parents = false;
                self.feed(worker, shard, Event::ParentsFinished);
                Some(())
            }
            Act::Deliver => {
                let record = self
                    .next_record(worker, shard)
                    .filter(|next| *next < RECORDS)?;
                self.shell(worker, shard)?.reading = Some(record + 1);
                let up_to = NAMES.places[usize::from(record) + 1].clone();
                let event = Event::Fetched {
                    batch: record,
                    up_to: Some(up_to),
                };
                self.feed(worker, shard, event);
                Some(())
            }
            Act::ReadEnd => {
                let next = self.next_record(worker, shard);
                (shard == PARENT && Self::is_at_end(next)).then_some(())?;
                self.feed(worker, shard, Event::ShardEnd(NAMES.children.clone()));
                Some(())
            }
            Act::MakeChild(way) => self.make_child(worker, shard, way),
            Act::Ask => {
                let shell = self.shell(worker, shard)?;
                if shell.writing.is_some() {
                    return None;
                }
                let asked = Asked {
                    ticket: (),
                    sequence_number: None,
                    sub_sequence_number: None,
                    permission: checkpoint_allowed(Dialect::P2, shell.asked?),
                };
                self.feed(worker, shard, Event::Asked(asked));
                Some(())
            }
            Act::Answer => {
                let shell = self.shell(worker, shard)?;
                // A child waits for the reply to what it asked for.
                if shell.writing.is_some() {
                    return None;
                }
                let kind = shell.asked.take()?;
                self.feed(worker, shard, Event::Answered(kind));
                Some(())
            }
            Act::ChildDies => {
                self.fault()?;
                let shell = self.shell(worker, shard)?;
                (shell.asked, shell.has_child) = (None, false);
                let event = Event::ChildEnded {
                    exit: (),
                    forgiven: false,
                };
                self.feed(worker, shard, event);
                Some(())
            }
            Act::Wake => {
                self.shell(worker, shard)?.pauses = false;
                self.feed(worker, shard, Event::Woken);
                Some(())
            }
            Act::CleanUp(way) => self.clean_up(worker, shard, way),
        }
    }

    /// The record that may be given to the child now.
    fn next_record(&mut self, worker: u8, shard: usize) -> Option<u8> {
        let now = moment(self.state.now);
        let careless = self.rules.is(Mutant::DeliversWhenStale);
        let hold = self.hold(worker, shard)?;
        let fresh = !hold.tenure.is_over() && now < hold.tenure.stale_at(failover());
        let shell = hold.consumer.as_ref()?;
        let wanted = shell.machine.wants_batch() && (fresh || careless);
        shell.reading.filter(|_| wanted)
    }

    fn make_child(&mut self, worker: u8, shard: usize, way: Way) -> Option<()> {
        let hold = self.hold(worker, shard)?;
        let (id, row) = (hold.id, hold.tenure.lease().clone());
        let step = hold.consumer.as_ref()?.family?;
        let child = CHILDREN.get(usize::from(step));
        let write = match child {
            Some(child) => Write::Create(*child),
            None => {
                let ids = NAMES.children.iter().map(|child| child.id.clone());
                Write::Update(row.with_children(ids.collect()))
            }
        };
        let answered = self.send(write, Aim::Other, id, way)?.is_some();
        let shell = self.shell(worker, shard)?;
        match (answered, child) {
            // It is begun anew.
            (false, _) => shell.family = Some(0),
            (true, Some(_)) => shell.family = Some(step + 1),
            (true, None) => {
                shell.family = None;
                self.feed(worker, shard, Event::ChildLeasesCreated);
            }
        }
        Some(())
    }

    // ------------------------------------------------------------------------------------- the keeper

    fn write(&mut self, worker: u8, shard: usize, update: LeaseUpdate, way: Way) -> Option<()> {
        let update = self.rules.mutate(update);
        let (sent, id) = (self.state.now, self.hold(worker, shard)?.id);
        let answer = self.send(Write::Update(update.clone()), Aim::Own, id, way)?;
        let slow = Slow {
            update,
            sent,
            answer: None,
        };
        match answer {
            Some(answer) => self.heard(worker, shard, &slow, answer),
            None => self.hold(worker, shard)?.slow = Some(slow),
        }
        Some(())
    }

    fn heard(&mut self, worker: u8, shard: usize, slow: &Slow, answer: Answer) {
        let now = self.state.now;
        let late = self.rules.is(Mutant::CountsFromTheAnswer);
        let Some(hold) = self.hold(worker, shard) else {
            return;
        };
        let lesson = match answer {
            Answer::Applied(row) => {
                let sent = if late { now } else { slow.sent };
                hold.tenure.applied((*row).clone(), moment(sent));
                Lesson::Applied
            }
            Answer::Refused(row) => hold.tenure.refused(row.as_deref().cloned()),
        };
        self.learnt(worker, shard, &slow.update, lesson);
    }

    fn stop_waiting(&mut self, worker: u8, shard: usize, reads: bool) -> Option<()> {
        let row = self.state.rows[shard].as_deref().cloned();
        let assumes = self.rules.is(Mutant::AssumesThatItHappened);
        let hold = self.hold(worker, shard)?;
        let slow = hold.slow.take()?;
        let (update, sent) = (slow.update.clone(), moment(slow.sent));
        if assumes {
            let row = update.applied_to(hold.tenure.lease());
            hold.tenure.applied(row, sent);
            self.learnt(worker, shard, &slow.update, Lesson::Applied);
        } else if reads {
            let lesson = hold.tenure.unanswered(update, sent, row);
            self.learnt(worker, shard, &slow.update, lesson);
        } else {
            hold.tenure.doubt(update, sent);
            self.fault()?;
        }
        Some(())
    }

    /// What follows from the end of a write.
    fn learnt(&mut self, worker: u8, shard: usize, update: &LeaseUpdate, lesson: Lesson) {
        use kcl_daemon::core::lease::Change;
        match lesson {
            Lesson::Lost(_) => self.lose(worker, shard),
            Lesson::EarlierOneArrived | Lesson::HandOffBegan | Lesson::InDoubt => {}
            Lesson::Applied => match &update.change {
                Change::Release | Change::Assign { .. } => {
                    let forced = self.hold(worker, shard).is_some_and(|hold| !hold.releasing);
                    if forced {
                        self.lose(worker, shard);
                    } else {
                        self.let_go(worker, shard);
                    }
                }
                change => {
                    if let Change::Checkpoint(_) = change {
                        self.checkpoint_is_written(worker, shard, Ok(()));
                    }
                    let Some(hold) = self.hold(worker, shard) else {
                        return;
                    };
                    if hold.tenure.is_over() {
                        self.lose(worker, shard);
                    } else if hold.tenure.handing_off_to().is_some() {
                        self.leave(worker, shard);
                    }
                }
            },
        }
    }

    fn let_go(&mut self, worker: u8, shard: usize) {
        if self.rules.is(Mutant::RenewsAfterRelease)
            && let Some(hold) = self.hold(worker, shard)
        {
            let row: Lease = hold.tenure.lease().clone();
            let (me, sent) = (hold.tenure.me().clone(), hold.tenure.last_sent());
            hold.tenure = Tenure::begin(me, row, sent);
            (hold.releasing, hold.consumer) = (false, None);
            return;
        }
        self.released(worker, shard);
    }

    fn checkpoint_is_written(
        &mut self,
        worker: u8,
        shard: usize,
        result: Result<(), CheckpointError>,
    ) {
        let Some(shell) = self.shell(worker, shard) else {
            return;
        };
        if shell.writing.take().is_some() {
            self.feed(worker, shard, Event::CheckpointWritten(result));
        }
    }

    /// The lease is given up, or was left to expire: its keeper is gone.
    fn released(&mut self, worker: u8, shard: usize) {
        let Some(hold) = self.hold(worker, shard) else {
            return;
        };
        hold.releasing = false;
        if hold.consumer.is_some() {
            self.checkpoint_is_written(worker, shard, Err(not_held()));
            self.feed(worker, shard, Event::Released);
            // Nobody writes to it any more, also when it could not be given up.
            if let Some(hold) = self.hold(worker, shard) {
                let gone = hold.tenure.refused(None);
                debug_assert!(matches!(gone, Lesson::Lost(_)));
            }
        } else if let Some(mind) = self.mind(worker) {
            mind.held[shard] = None;
        }
    }

    fn lose(&mut self, worker: u8, shard: usize) {
        let Some(hold) = self.hold(worker, shard) else {
            return;
        };
        if hold.consumer.is_none() {
            if let Some(mind) = self.mind(worker) {
                mind.held[shard] = None;
            }
            return;
        }
        // Who waits for the keeper learns that it is gone.
        let releasing = std::mem::take(&mut hold.releasing);
        self.checkpoint_is_written(worker, shard, Err(not_held()));
        self.feed(worker, shard, Event::LeaseLost);
        if releasing {
            self.feed(worker, shard, Event::Released);
        }
    }

    // ----------------------------------------------------------------------------------- the consumer

    /// Tells the consumer what happened and carries out what it wants.
    fn feed(&mut self, worker: u8, shard: usize, event: Happening) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(shell) = self.shell(worker, shard) else {
                return;
            };
            let actions = shell.machine.on(event);
            for action in actions {
                self.carry_out_action(worker, shard, action, &mut events);
            }
        }
    }

    fn carry_out_action(
        &mut self,
        worker: u8,
        shard: usize,
        action: Action<u8, ()>,
        events: &mut VecDeque<Happening>,
    ) {
        let rules = self.rules;
        let row = self.state.rows[shard].clone();
        let holder = self.state.truth[shard].holder;
        let Some(hold) = self.hold(worker, shard) else {
            return;
        };
        let over = hold.tenure.is_over();
        let (id, sent_ok) = (hold.id, hold.sent_ok);
        let settled = hold.slow.is_none() && hold.tenure.in_doubt().is_empty();
        let Some(shell) = hold.consumer.as_mut() else {
            return;
        };
        match action {
            Action::StartChild(from) => {
                shell.has_child = true;
                shell.asked = Some(ActionKind::Initialize);
                let is_holder = holder == Some(id);
                let row = row.as_deref().filter(|_| is_holder);
                self.judge(laws::of_start(row, settled, place_number(&from)));
            }
            Action::StartFetching(from) => {
                let skipped = u8::from(rules.is(Mutant::SkipsARecord));
                shell.reading = Some(first_behind(&from) + skipped);
            }
            Action::StopFetching => shell.reading = None,
            Action::Process(record) => {
                shell.asked = Some(ActionKind::ProcessRecords);
                let law = laws::of_delivery(&self.state, worker, shard, record, sent_ok);
                self.judge(law);
                let delivered = &mut self.state.truth[shard].delivered;
                *delivered = (*delivered).max(record + 1);
            }
            Action::RequestShutdown => shell.asked = Some(ActionKind::ShutdownRequested),
            Action::TellLeaseLost => shell.asked = Some(ActionKind::LeaseLost),
            Action::TellShardEnded => shell.asked = Some(ActionKind::ShardEnded),
            Action::WriteCheckpoint(_) if over => {
                events.push_back(Event::CheckpointWritten(Err(not_held())));
            }
            Action::WriteCheckpoint(to) => shell.writing = Some(to),
            Action::CreateChildLeases(_) if rules.is(Mutant::EndBeforeChildren) => {
                events.push_back(Event::ChildLeasesCreated);
            }
            Action::CreateChildLeases(_) => shell.family = Some(0),
            Action::ReleaseLease if over => events.push_back(Event::Released),
            Action::ReleaseLease => hold.releasing = true,
            Action::EndChild => {
                (shell.asked, shell.has_child) = (None, false);
                events.push_back(Event::ChildEnded {
                    exit: (),
                    forgiven: true,
                });
            }
            Action::Wake(_) => shell.pauses = true,
            Action::Reply(..) | Action::Warn(_) => {}
            Action::Finish(outcome) => self.finished(worker, shard, &outcome),
        }
    }

    fn finished(&mut self, worker: u8, shard: usize, outcome: &Outcome) {
        let Some(mind) = self.mind(worker) else {
            return;
        };
        let stopping = mind.stopping;
        let Some(hold) = mind.held[shard].as_mut().map(Arc::make_mut) else {
            return;
        };
        let moves = hold.tenure.handing_off_to().is_some();
        let keeps = *outcome == Outcome::ShardFinished && !hold.tenure.is_over();
        if keeps {
            hold.consumer = None;
            hold.releasing |= moves || stopping;
        } else {
            mind.held[shard] = None;
        }
    }
}

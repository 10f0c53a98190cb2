//! Histories of random events, in which the order of the protocol and the invariants hold.

use proptest::prelude::*;

use super::*;
use crate::core::sequence::{Position, SequenceNumber};

/// What a world around the machine does: it answers actions, in any order the random numbers choose.
#[derive(Default)]
struct World {
    child: bool,
    outstanding: Option<ActionKind>,
    owed: Option<u32>,
    writing: Option<ExtendedSequenceNumber>,
    waking: bool,
    creating: bool,
    releasing: bool,
    fetching: Option<u64>,
    ended: bool,
    delivered: u64,
    checkpoint: u64,
    shard_end_told: bool,
    shard_end_written: bool,
    leaving: bool,
    lost: bool,
    finished: Option<Outcome>,
    released: bool,
}

impl World {
    fn carry_out(&mut self, actions: Vec<Action<u64, u32>>) {
        for action in actions {
            assert!(self.finished.is_none(), "an action after the end");
            match action {
                Action::StartChild(from) => {
                    assert!(!self.child, "two children of one shard");
                    assert!(!self.lost);
                    assert_eq!(
                        number(&from),
                        self.checkpoint,
                        "starts at the last checkpoint"
                    );
                    self.child = true;
                    self.outstanding = Some(ActionKind::Initialize);
                    self.delivered = self.checkpoint;
                    self.shard_end_told = false;
                }
                Action::StartFetching(from) => self.fetching = Some(number(&from)),
                Action::StopFetching => self.fetching = None,
                Action::Process(to) => {
                    assert!(self.child && self.outstanding.is_none());
                    assert!(!self.leaving, "a batch for a consumer that is leaving");
                    self.outstanding = Some(ActionKind::ProcessRecords);
                    self.delivered = self.delivered.max(to);
                }
                Action::RequestShutdown => self.say(ActionKind::ShutdownRequested),
                Action::TellLeaseLost => self.say(ActionKind::LeaseLost),
                Action::TellShardEnded => {
                    self.shard_end_told = true;
                    self.say(ActionKind::ShardEnded);
                }
                Action::WriteCheckpoint(to) => {
                    assert!(self.writing.is_none());
                    assert!(!self.released, "a checkpoint after the release (I.14)");
                    if to.is_shard_end() {
                        assert!(self.shard_end_told, "SHARD_END before shardEnded (I.19)");
                    } else {
                        assert!(number(&to) > self.checkpoint && number(&to) <= self.delivered);
                    }
                    self.writing = Some(to);
                }
                Action::Reply(ticket, _) => {
                    if let Some(owed) = self.owed.take() {
                        assert_eq!(owed, ticket);
                    }
                }
                Action::CreateChildLeases(_) => self.creating = true,
                Action::ReleaseLease => {
                    assert!(!self.releasing && !self.released, "released twice");
                    self.releasing = true;
                }
                Action::EndChild => {
                    assert!(self.child);
                    self.outstanding = None;
                }
                Action::Wake(_) => self.waking = true,
                Action::Warn(_) => {}
                Action::Finish(outcome) => {
                    assert!(
                        !self.child || outcome == Outcome::DaemonMustExit,
                        "the child outlives its consumer"
                    );
                    assert_eq!(
                        outcome == Outcome::ShardFinished,
                        self.shard_end_written && outcome == Outcome::ShardFinished
                    );
                    self.finished = Some(outcome);
                }
            }
        }
    }

    fn say(&mut self, kind: ActionKind) {
        assert!(
            self.child && self.outstanding.is_none() && self.owed.is_none(),
            "{kind:?}"
        );
        self.outstanding = Some(kind);
    }
}

fn number(position: &ExtendedSequenceNumber) -> u64 {
    match &position.position {
        Position::Number(number) => number.as_str().parse().unwrap(),
        Position::ShardEnd => u64::MAX,
        _ => 0,
    }
}

fn record(value: u64) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber::record(SequenceNumber::parse(&value.to_string()).unwrap(), 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in whatever order, the protocol's order and the invariants hold, and a
    /// consumer that was told to leave ends once everything it waits for is answered.
    #[test]
    fn any_history_keeps_the_invariants(choices in prop::collection::vec((0u8..16, any::<u8>()), 0..200)) {
        let mut machine: Consumer<u64, u32> = Consumer::new(at("TRIM_HORIZON"), FailurePolicy::RESTART, BACKOFF);
        let mut world = World::default();
        let mut parents = false;
        let mut ticket = 0u32;
        let mut ended_child = false;
        let calm = (0..4000u32).map(|i| ((i % 12 + 1) as u8, 200u8));
        let stop_at = choices.len();
        for (step, (choice, chance)) in choices.into_iter().chain(calm).enumerate() {
            if world.finished.is_some() { break; }
            let calm = step >= stop_at;
            if step == stop_at && !world.leaving {
                world.leaving = true;
                let actions = machine.on::<()>(Event::StopRequested);
                world.carry_out(actions);
                continue;
            }
            let actions = match choice {
                0 if !calm => { if chance < 25 { world.leaving = true; machine.on::<()>(Event::StopRequested) } else { vec![] } }
                1 if !parents => { parents = true; machine.on::<()>(Event::ParentsFinished) }
                2 if world.waking => { world.waking = false; machine.on::<()>(Event::Woken) }
                3 | 4 if world.child && world.owed.is_none() && world.outstanding.is_some() => {
                    let kind = world.outstanding.take().unwrap();
                    machine.on::<()>(Event::Answered(kind))
                }
                5 if world.child && world.owed.is_none() && world.outstanding.is_some() && !calm => {
                    ticket += 1;
                    world.owed = Some(ticket);
                    let kind = world.outstanding.unwrap();
                    let permission = match kind {
                        ActionKind::Initialize | ActionKind::LeaseLost => CheckpointPermission::InvalidState,
                        _ => CheckpointPermission::Yes,
                    };
                    let sequence_number = match chance { 0..=100 => None, 101..=150 => Some("SHARD_END".to_owned()), n => Some((u64::from(n) - 150).to_string()) };
                    machine.on::<()>(Event::Asked(Asked { ticket, sequence_number, sub_sequence_number: None, permission }))
                }
                6 if world.writing.is_some() => {
                    let to = world.writing.take().unwrap();
                    if world.lost || (chance < 60 && !calm) {
                        machine.on::<()>(Event::CheckpointWritten(Err(CheckpointError::new(CheckpointErrorName::Throttling, ""))))
                    } else {
                        if to.is_shard_end() { world.shard_end_written = true; } else { world.checkpoint = number(&to); }
                        machine.on::<()>(Event::CheckpointWritten(Ok(())))
                    }
                }
                7 if world.child && (chance < 60 && !calm) => {
                    world.child = false; world.outstanding = None; world.owed = None; ended_child = true;
                    machine.on(Event::ChildEnded { exit: (), forgiven: chance % 7 == 0 })
                }
                8 if world.child && machine.describe() == "ending the child" => {
                    world.child = false; world.owed = None;
                    machine.on(Event::ChildEnded { exit: (), forgiven: false })
                }
                9 if machine.wants_batch() && world.fetching.is_some() && !world.ended => {
                    let from = world.fetching.unwrap();
                    let to = from + 1 + u64::from(chance % 5);
                    world.fetching = Some(to);
                    machine.on::<()>(Event::Fetched { batch: to, up_to: Some(record(to)) })
                }
                10 if machine.wants_batch() && world.fetching.is_some() && chance < 80 => machine.on::<()>(Event::ShardEnd(vec![])),
                11 if world.creating => { world.creating = false; machine.on::<()>(Event::ChildLeasesCreated) }
                12 if world.releasing => { world.releasing = false; world.released = true; machine.on::<()>(Event::Released) }
                13 if chance < 10 && !calm && !world.released => { world.lost = true; world.leaving = true; machine.on::<()>(Event::LeaseLost) }
                _ => vec![],
            };
            world.carry_out(actions);
        }
        let _ = ended_child;
        prop_assert!(world.finished.is_some(), "stuck: {} ({:?})", machine.describe(), machine);
        if world.finished == Some(Outcome::Released) && !world.lost {
            prop_assert!(world.released);
        }
    }
}

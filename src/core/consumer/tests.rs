use super::*;
use crate::core::sequence::{Position, SequenceNumber};
use proptest::prelude::*;

const BACKOFF: Duration = Duration::from_millis(500);

type TestConsumer = Consumer<&'static str, u32>;
type TestEvent = Event<&'static str, u32, ()>;

fn at(text: &str) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber {
        position: text.parse().unwrap(),
        sub_sequence: 0,
    }
}

fn consumer(policy: FailurePolicy) -> TestConsumer {
    Consumer::new(at("TRIM_HORIZON"), policy, BACKOFF)
}

fn died() -> TestEvent {
    Event::ChildEnded {
        exit: (),
        forgiven: false,
    }
}

fn asks(ticket: u32, number: Option<&str>) -> TestEvent {
    Event::Asked(Asked {
        ticket,
        sequence_number: number.map(str::to_owned),
        sub_sequence_number: None,
        permission: CheckpointPermission::Yes,
    })
}

fn batch(name: &'static str, up_to: &str) -> TestEvent {
    Event::Fetched {
        batch: name,
        up_to: Some(at(up_to)),
    }
}

fn short(action: &Action<&'static str, u32>) -> String {
    match action {
        Action::StartChild(from) => format!("start {from}"),
        Action::StartFetching(from) => format!("fetch {from}"),
        Action::StopFetching => "stop-fetch".into(),
        Action::Process(batch) => format!("process {batch}"),
        Action::RequestShutdown => "shutdownRequested".into(),
        Action::TellLeaseLost => "leaseLost".into(),
        Action::TellShardEnded => "shardEnded".into(),
        Action::WriteCheckpoint(to) => format!("write {to}"),
        Action::Reply(ticket, None) => format!("ok {ticket}"),
        Action::Reply(ticket, Some(error)) => format!("{} {ticket}", error.name.as_str()),
        Action::CreateChildLeases(_) => "children".into(),
        Action::ReleaseLease => "release".into(),
        Action::EndChild => "end-child".into(),
        Action::Wake(pause) => format!("wake {}", pause.as_millis()),
        Action::Warn(_) => "warn".into(),
        Action::Finish(outcome) => format!("finish {outcome:?}"),
    }
}

/// Feeds events and compares what comes out, step by step.
fn run(policy: FailurePolicy, steps: Vec<(TestEvent, &str)>) -> TestConsumer {
    let mut consumer = consumer(policy);
    for (number, (event, expected)) in steps.into_iter().enumerate() {
        let shown = format!("{event:?}");
        let actions: Vec<String> = consumer.on(event).iter().map(short).collect();
        assert_eq!(
            actions.join(", "),
            expected,
            "step {number}: {shown} (now {})",
            consumer.describe()
        );
    }
    consumer
}

fn started() -> Vec<(TestEvent, &'static str)> {
    vec![
        (
            Event::ParentsFinished,
            "start TRIM_HORIZON, fetch TRIM_HORIZON",
        ),
        (Event::Answered(ActionKind::Initialize), ""),
    ]
}

fn after_start(rest: Vec<(TestEvent, &'static str)>) -> Vec<(TestEvent, &'static str)> {
    let mut steps = started();
    steps.extend(rest);
    steps
}

#[test]
fn records_and_checkpoints() {
    let consumer = run(
        FailurePolicy::RESTART,
        after_start(vec![
            (batch("one", "10"), "process one"),
            (asks(1, Some("11")), "IllegalArgumentException 1"),
            (asks(2, None), "write 10"),
            (Event::CheckpointWritten(Ok(())), "ok 2"),
            (asks(3, Some("10")), "ok 3"),
            (Event::Answered(ActionKind::ProcessRecords), ""),
            (batch("two", "20"), "process two"),
            (asks(4, Some("20")), "write 20"),
            (
                Event::CheckpointWritten(Err(CheckpointError::new(
                    CheckpointErrorName::Throttling,
                    "slow",
                ))),
                "ThrottlingException 4",
            ),
            (asks(5, Some("20")), "write 20"),
            (Event::CheckpointWritten(Ok(())), "ok 5"),
            (Event::Answered(ActionKind::ProcessRecords), ""),
        ]),
    );
    assert!(consumer.wants_batch());
    assert_eq!(*consumer.checkpoint(), at("20"));
}

#[test]
fn graceful_stop_while_busy_lets_the_batch_finish_and_releases_before_lease_lost() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (batch("one", "10"), "process one"),
            (Event::StopRequested, "stop-fetch"),
            (
                Event::Answered(ActionKind::ProcessRecords),
                "stop-fetch, shutdownRequested",
            ),
            (asks(1, None), "write 10"),
            (Event::CheckpointWritten(Ok(())), "ok 1"),
            (
                Event::Answered(ActionKind::ShutdownRequested),
                "stop-fetch, release, leaseLost",
            ),
            (Event::Released, ""),
            (Event::Answered(ActionKind::LeaseLost), "end-child"),
            (died(), "stop-fetch, finish Released"),
        ]),
    );
}

#[test]
fn graceful_stop_waits_for_the_release_however_late() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::StopRequested, "stop-fetch, shutdownRequested"),
            (
                Event::Answered(ActionKind::ShutdownRequested),
                "stop-fetch, release, leaseLost",
            ),
            (Event::Answered(ActionKind::LeaseLost), "end-child"),
            (died(), ""),
            (Event::Released, "stop-fetch, finish Released"),
        ]),
    );
}

#[test]
fn a_stop_before_the_child_exists_needs_no_child() {
    run(
        FailurePolicy::RESTART,
        vec![
            (Event::StopRequested, "stop-fetch, release"),
            (Event::Released, "stop-fetch, finish Released"),
        ],
    );
}

#[test]
fn a_stop_during_initialize_still_asks_the_child() {
    run(
        FailurePolicy::RESTART,
        vec![
            (
                Event::ParentsFinished,
                "start TRIM_HORIZON, fetch TRIM_HORIZON",
            ),
            (Event::StopRequested, "stop-fetch"),
            (
                Event::Answered(ActionKind::Initialize),
                "stop-fetch, shutdownRequested",
            ),
        ],
    );
}

#[test]
fn a_lost_lease_refuses_checkpoints_and_says_so_after_the_batch() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (batch("one", "10"), "process one"),
            (Event::LeaseLost, "stop-fetch"),
            (asks(1, None), "ShutdownException 1"),
            (
                Event::Answered(ActionKind::ProcessRecords),
                "stop-fetch, leaseLost",
            ),
            (
                Event::Asked(Asked {
                    ticket: 2,
                    sequence_number: None,
                    sub_sequence_number: None,
                    permission: CheckpointPermission::InvalidState,
                }),
                "InvalidStateException 2",
            ),
            (Event::Answered(ActionKind::LeaseLost), "end-child"),
            (died(), "stop-fetch, finish LeaseLost"),
        ]),
    );
}

#[test]
fn a_lease_lost_without_a_child_sends_nothing() {
    run(
        FailurePolicy::RESTART,
        vec![(Event::LeaseLost, "stop-fetch, finish LeaseLost")],
    );
}

#[test]
fn a_lease_lost_during_a_stop_outranks_it() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::StopRequested, "stop-fetch, shutdownRequested"),
            (Event::LeaseLost, ""),
            (
                Event::Answered(ActionKind::ShutdownRequested),
                "stop-fetch, leaseLost",
            ),
            (Event::Answered(ActionKind::LeaseLost), "end-child"),
            (died(), "stop-fetch, finish LeaseLost"),
        ]),
    );
}

#[test]
fn the_end_of_a_shard() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (batch("one", "10"), "process one"),
            (Event::Answered(ActionKind::ProcessRecords), ""),
            (Event::ShardEnd(vec![]), "children"),
            (Event::ChildLeasesCreated, "shardEnded"),
            (asks(1, None), "write SHARD_END"),
            (Event::CheckpointWritten(Ok(())), "ok 1"),
            (
                Event::Answered(ActionKind::ShardEnded),
                "stop-fetch, end-child",
            ),
            (died(), "stop-fetch, finish ShardFinished"),
        ]),
    );
}

#[test]
fn a_shard_end_without_checkpoint_is_asked_again_then_with_a_new_child() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::ShardEnd(vec![]), "children"),
            (Event::ChildLeasesCreated, "shardEnded"),
            (Event::Answered(ActionKind::ShardEnded), "warn, wake 500"),
            (Event::Woken, "shardEnded"),
            (Event::Answered(ActionKind::ShardEnded), "warn, wake 1000"),
            (Event::Woken, "shardEnded"),
            (
                Event::Answered(ActionKind::ShardEnded),
                "warn, stop-fetch, end-child",
            ),
            (died(), "wake 2000"),
            (Event::Woken, "start TRIM_HORIZON, fetch TRIM_HORIZON"),
        ]),
    );
}

#[test]
fn a_stop_at_the_end_of_a_shard_sends_no_shutdown_requested() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::ShardEnd(vec![]), "children"),
            (Event::StopRequested, ""),
            (Event::ChildLeasesCreated, "shardEnded"),
            (asks(1, None), "write SHARD_END"),
            (Event::CheckpointWritten(Ok(())), "ok 1"),
            (
                Event::Answered(ActionKind::ShardEnded),
                "stop-fetch, end-child",
            ),
            (died(), "stop-fetch, finish ShardFinished"),
        ]),
    );
}

#[test]
fn a_failed_child_starts_again_from_the_last_checkpoint() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (batch("one", "10"), "process one"),
            (asks(1, Some("5")), "write 5"),
            (Event::CheckpointWritten(Ok(())), "ok 1"),
            (died(), "stop-fetch, warn, wake 1000"),
            (Event::Woken, "start 5, fetch 5"),
            (died(), "stop-fetch, warn, wake 2000"),
            (Event::Woken, "start 5, fetch 5"),
            (died(), "stop-fetch, warn, wake 4000"),
            (Event::Woken, "start 5, fetch 5"),
            (Event::Answered(ActionKind::Initialize), ""),
            (batch("one", "10"), "process one"),
            (asks(2, None), "write 10"),
            (Event::CheckpointWritten(Ok(())), "ok 2"),
            // The count starts again.
            (died(), "stop-fetch, warn, wake 1000"),
        ]),
    );
}

#[test]
fn a_child_that_dies_over_its_checkpoint_is_replaced_when_the_write_is_answered() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (batch("one", "10"), "process one"),
            (asks(1, None), "write 10"),
            (died(), "stop-fetch, warn, wake 1000"),
            (Event::Woken, "wake 100"),
            (Event::CheckpointWritten(Ok(())), "ok 1"),
            (Event::Woken, "start 10, fetch 10"),
        ]),
    );
}

#[test]
fn ten_failures_without_a_checkpoint_end_the_daemon() {
    let mut consumer = consumer(FailurePolicy::RESTART);
    consumer.on::<()>(Event::ParentsFinished);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        for action in consumer.on(died()) {
            if let Action::Wake(pause) = action {
                pauses.push(pause.as_secs());
            }
        }
        consumer.on::<()>(Event::Woken);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    let last: Vec<String> = consumer.on(died()).iter().map(short).collect();
    assert_eq!(last, ["stop-fetch", "finish DaemonMustExit"]);
}

#[test]
fn with_javas_policy_any_failure_ends_the_daemon() {
    run(
        FailurePolicy::Exit,
        after_start(vec![(died(), "stop-fetch, finish DaemonMustExit")]),
    );
    run(
        FailurePolicy::Exit,
        after_start(vec![
            (Event::StopRequested, "stop-fetch, shutdownRequested"),
            (died(), "stop-fetch, finish DaemonMustExit"),
        ]),
    );
}

#[test]
fn an_older_dialect_is_no_failure() {
    let forgiven = || Event::ChildEnded {
        exit: (),
        forgiven: true,
    };
    run(
        FailurePolicy::Exit,
        after_start(vec![
            (Event::ShardEnd(vec![]), "children"),
            (Event::ChildLeasesCreated, "shardEnded"),
            (forgiven(), "stop-fetch, wake 0"),
            (Event::Woken, "start TRIM_HORIZON, fetch TRIM_HORIZON"),
        ]),
    );
    run(
        FailurePolicy::Exit,
        after_start(vec![
            (Event::StopRequested, "stop-fetch, shutdownRequested"),
            (forgiven(), "warn, stop-fetch, release"),
            (Event::Released, "stop-fetch, finish Released"),
        ]),
    );
}

#[test]
fn a_child_that_dies_on_the_way_out_costs_nothing_with_restart() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::StopRequested, "stop-fetch, shutdownRequested"),
            (died(), "warn, stop-fetch, release"),
            (Event::Released, "stop-fetch, finish Released"),
        ]),
    );
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::LeaseLost, "stop-fetch, leaseLost"),
            (died(), "warn, stop-fetch, finish LeaseLost"),
        ]),
    );
}

#[test]
fn a_child_that_dies_after_checkpointing_the_end_has_finished_the_shard() {
    run(
        FailurePolicy::RESTART,
        after_start(vec![
            (Event::ShardEnd(vec![]), "children"),
            (Event::ChildLeasesCreated, "shardEnded"),
            (asks(1, None), "write SHARD_END"),
            (Event::CheckpointWritten(Ok(())), "ok 1"),
            (died(), "stop-fetch, finish ShardFinished"),
        ]),
    );
}

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

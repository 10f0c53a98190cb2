mod history;

use super::*;

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

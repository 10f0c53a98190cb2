//! `timeoutInSeconds`, on a clock that is set by hand (`protocol.md` §10).

use multilang_protocol::CheckpointReply;

use super::super::*;
use crate::child::testing::*;

/// Nothing is heard, and nothing was done about that.
async fn is_pending(child: &mut ChildProcess) -> bool {
    super::dialogue::is_pending(child).await && child.life == Life::Running
}

fn hung(action: &'static str) -> Heard {
    Heard::Ended(ChildExit::Hung {
        action,
        seconds: 10,
    })
}

#[tokio::test]
async fn a_child_that_does_not_answer_in_time_is_killed() {
    let clock = ManualClock::new();
    let fixture = Fixture::python_by(&clock, 10, "begin(); hear(); time.sleep(1000)");
    let mut child = fixture.initialized().await;
    // Nothing is asked, nothing is due.
    clock.advance(100);
    assert!(is_pending(&mut child).await);
    child.send(Task::ProcessRecords(batch(1)));
    clock.advance(9);
    assert!(is_pending(&mut child).await);
    clock.advance(1);
    assert_eq!(child.next().await, hung("processRecords"));
    assert!(
        !fixture.launcher.owns(child.pid().unwrap()),
        "dead and reaped"
    );
}

#[tokio::test]
async fn its_start_counts_and_so_does_a_batch_that_it_does_not_read() {
    let clock = ManualClock::new();
    let fixture = Fixture::python_by(&clock, 10, "time.sleep(1000)");
    let mut child = fixture.start().await;
    child.send(initialize());
    clock.advance(10);
    assert_eq!(child.next().await, hung("initialize"));

    let fixture = Fixture::python_by(&clock, 10, "begin(); time.sleep(1000)");
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(5_000_000)));
    clock.advance(10);
    assert_eq!(child.next().await, hung("processRecords"));
}

#[tokio::test]
async fn noise_does_not_restart_the_time() {
    let clock = ManualClock::new();
    let body = "begin(); hear(); line('busy'); time.sleep(1000)";
    let fixture = Fixture::python_by(&clock, 10, body);
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    clock.advance(9);
    while log.output().is_empty() {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    clock.advance(1);
    assert_eq!(child.next().await, hung("processRecords"));
}

#[tokio::test]
async fn a_checkpoint_stops_the_time_and_its_reply_restarts_it() {
    let clock = ManualClock::new();
    let body = "begin(); hear(); checkpoint('1'); hear(); time.sleep(1000)";
    let fixture = Fixture::python_by(&clock, 10, body);
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    clock.advance(9);
    let asked = request(&mut child).await;
    // Now it is the daemon that takes its time.
    clock.advance(1000);
    assert!(is_pending(&mut child).await);
    child.reply(CheckpointReply::stored(asked));
    clock.advance(9);
    assert!(is_pending(&mut child).await);
    clock.advance(1);
    assert_eq!(child.next().await, hung("processRecords"));
}

#[tokio::test]
async fn an_answer_that_is_there_wins_over_the_time() {
    let clock = ManualClock::new();
    let body = "begin(); hear(); answer('processRecords'); line('said'); hear()";
    let fixture = Fixture::python_by(&clock, 10, body);
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    // The consumer is busy elsewhere; the answer has been read meanwhile.
    while log.output().is_empty() {
        tokio::task::yield_now().await;
    }
    clock.advance(1000);
    let answered = Heard::Answered(ActionKind::ProcessRecords);
    assert_eq!(child.next().await, answered);
}

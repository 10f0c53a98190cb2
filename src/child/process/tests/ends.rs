//! Every way in which a child can end.

use std::time::Duration;

use super::super::*;
use super::dialogue::is_pending;
use crate::child::testing::*;

use ActionKind::{LeaseLost, ProcessRecords, ShutdownRequested};

#[tokio::test]
async fn an_exit_is_noticed_while_idle_and_while_busy() {
    let idle = Fixture::shell("begin; exit 3");
    let mut child = idle.initialized().await;
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(3)));
    // What comes too late has no effect.
    child.send(Task::ProcessRecords(batch(1)));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(3)));

    let busy = Fixture::shell("begin; read -r line; exit 0");
    let mut child = busy.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(0)));

    let early = Fixture::shell("exit 1");
    let mut child = early.start().await;
    child.send(initialize());
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(1)));
}

#[tokio::test]
async fn a_signal_is_told_from_an_exit() {
    for (signal, number) in [("KILL", 9), ("SEGV", 11)] {
        let fixture = Fixture::shell(&format!("begin; read -r line; kill -{signal} $$"));
        let mut child = fixture.initialized().await;
        child.send(Task::ProcessRecords(batch(1)));
        assert_eq!(
            child.next().await,
            Heard::Ended(ChildExit::Signalled(number))
        );
    }
}

#[tokio::test]
async fn a_child_that_exits_right_after_its_answer_is_heard_first() {
    let fixture = Fixture::shell(
        r#"begin; read -r line; echo '{"action":"status","responseFor":"processRecords"}'; exit 2"#,
    );
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(2)));
}

#[tokio::test]
async fn closing_stdout_while_running_is_a_failure_after_a_second() {
    let clock = ManualClock::new();
    let fixture = Fixture::python_by(
        &clock,
        1000,
        "begin(); os.close(1); open(sys.argv[1] + '/closed', 'w').write('x'); time.sleep(1000)",
    );
    let mut child = fixture.initialized().await;
    while fixture.file("closed").is_empty() || child.life == Life::Running {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        child.life,
        Life::Leaving {
            closed: "STDOUT",
            ..
        }
    ));
    clock.advance(1);
    assert_eq!(
        child.next().await,
        Heard::Ended(ChildExit::ClosedOutput("STDOUT"))
    );
    assert!(!fixture.launcher.owns(child.pid().unwrap()));
}

#[tokio::test]
async fn closing_stdin_while_running_is_a_failure_after_a_second() {
    let clock = ManualClock::new();
    let fixture = Fixture::python_by(
        &clock,
        1000,
        "hear(); os.close(0); answer('initialize'); time.sleep(1000)",
    );
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    while child.life == Life::Running {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    clock.advance(1);
    assert_eq!(
        child.next().await,
        Heard::Ended(ChildExit::ClosedOutput("STDIN"))
    );
}

#[tokio::test]
async fn a_child_that_closes_its_pipes_and_then_exits_has_exited() {
    let clock = ManualClock::new();
    let fixture = Fixture::python_by(
        &clock,
        1000,
        "begin(); os.close(1); os.close(0); os.close(2)\nwhile not os.path.exists(sys.argv[1] + '/go'): time.sleep(0.01)\nos._exit(9)",
    );
    let mut child = fixture.initialized().await;
    while child.life == Life::Running {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    std::fs::write(fixture.directory.path().join("go"), "").unwrap();
    // The clock stands still, so the second is never over.
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(9)));
}

#[tokio::test]
async fn closing_stdout_after_the_last_answer_is_in_order() {
    let clock = ManualClock::new();
    let fixture = Fixture::python_by(
        &clock,
        1000,
        "begin(); hear(); answer('leaseLost'); os.close(1); sys.stdin.read(); open(sys.argv[1] + '/last', 'w').write('done'); os._exit(0)",
    );
    let mut child = fixture.initialized().await;
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Answered(LeaseLost));
    while !child.conversation.stdout_is_closed() {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    clock.advance(5);
    assert!(is_pending(&mut child).await);
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert_eq!(fixture.file("last"), "done");
}

#[tokio::test]
async fn leaving_after_shutdown_requested_is_in_order() {
    // The last words come too late, at the same time, or in time.
    let leaves = "begin; read -r line; echo '{\"action\":\"status\",\"responseFor\":\"shutdownRequested\"}'; exit 1";
    let fixture = Fixture::shell(leaves);
    let mut child = fixture.initialized().await;
    child.send(Task::ShutdownRequested);
    assert_eq!(child.next().await, Heard::Answered(ShutdownRequested));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Ended));
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Answered(LeaseLost));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Ended));

    for _ in 0..20 {
        let mut child = fixture.initialized().await;
        child.send(Task::ShutdownRequested);
        assert_eq!(child.next().await, Heard::Answered(ShutdownRequested));
        child.send(Task::LeaseLost);
        assert_eq!(child.next().await, Heard::Answered(LeaseLost));
        assert_eq!(child.next().await, Heard::Ended(ChildExit::Ended));
    }
}

// ------------------------------------------------------------------------------- being told to end

#[tokio::test]
async fn a_child_that_ignores_everything_is_killed_in_bounded_time() {
    let fixture = Fixture::shell_with(
        "trap '' TERM INT HUP; begin; while :; do sleep 0.05; done",
        |settings| {
            settings.close_grace = Duration::from_millis(50);
            settings.terminate_grace = Duration::from_millis(50);
        },
    );
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert!(!fixture.launcher.owns(child.pid().unwrap()));
    let said: Vec<_> = log
        .lines()
        .iter()
        .map(|line| line.field("message").to_owned())
        .collect();
    assert!(
        said.iter().any(|text| text.contains("it gets SIGTERM")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|text| text.contains("it gets SIGKILL")),
        "{said:?}"
    );
}

#[tokio::test]
async fn sigterm_comes_before_sigkill() {
    let fixture = Fixture::python_with(
        "signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1] + '/term', 'w').write('asked'), os._exit(0)))\nbegin()\nwhile True: time.sleep(1)",
        |settings| {
            settings.close_grace = Duration::from_millis(50);
            settings.terminate_grace = Duration::from_secs(60);
        },
    );
    let mut child = fixture.initialized().await;
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert_eq!(fixture.file("term"), "asked");
}

#[tokio::test]
async fn at_once_is_at_once() {
    let fixture = Fixture::python(
        "signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1] + '/term', 'w').write('asked'))\nbegin()\nwhile True: time.sleep(1)",
    );
    let mut child = fixture.initialized().await;
    assert_eq!(child.end(Ending::AtOnce).await, ChildExit::Ended);
    assert_eq!(fixture.file("term"), "");
    assert!(!fixture.launcher.owns(child.pid().unwrap()));
}

#[tokio::test]
async fn what_was_queued_is_written_before_stdin_is_closed() {
    let fixture = Fixture::python(
        "begin(); text = sys.stdin.read(); open(sys.argv[1] + '/read', 'w').write(str(len(text)))",
    );
    let mut child = fixture.initialized().await;
    let batch = batch(3_000_000);
    let expected = batch.bytes().len().to_string();
    child.send(Task::ProcessRecords(batch));
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert_eq!(fixture.file("read"), expected);
}

#[tokio::test]
async fn ending_may_be_dropped_and_asked_again() {
    let fixture = Fixture::shell("begin; while :; do sleep 0.05; done");
    let mut child = fixture.initialized().await;
    tokio::select! {
        biased;
        exit = child.end(Ending::Gently) => panic!("it ended: {exit}"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(child.end(Ending::AtOnce).await, ChildExit::Ended);
}

// ------------------------------------------------------------------------------------------ the group

/// A grandchild that holds all pipes and ignores SIGTERM; its process id is the checkpoint.
const GRANDCHILD: &str = r#"
import subprocess
begin(); hear()
other = subprocess.Popen(["sh", "-c", "trap '' TERM; echo up; sleep 1000; true"], stdin=0)
checkpoint(str(other.pid)); hear()
"#;

async fn with_a_grandchild(fixture: &Fixture) -> (ChildProcess, u32) {
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    let grandchild = store(&mut child).await.unwrap().parse().unwrap();
    assert!(is_running(grandchild));
    (child, grandchild)
}

#[tokio::test]
async fn a_grandchild_with_the_pipes_neither_delays_an_exit_nor_outlives_it() {
    let fixture = Fixture::python(&format!("{GRANDCHILD}sys.exit(8)"));
    let (mut child, grandchild) = with_a_grandchild(&fixture).await;
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(8)));
    until_dead(grandchild).await;
}

#[tokio::test]
async fn a_grandchild_that_left_the_group_does_not_delay_an_exit() {
    // Its own session: out of reach, and it goes on printing into our pipes.
    let fixture = Fixture::python(
        r#"
import subprocess
begin(); hear()
other = subprocess.Popen(["sh", "-c", "while echo noise; do sleep 0.001; done"], start_new_session=True)
checkpoint(str(other.pid)); hear(); answer("processRecords"); sys.exit(8)
"#,
    );
    let (mut child, grandchild) = with_a_grandchild(&fixture).await;
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(8)));
    // Nobody reads its output any more: it dies of SIGPIPE.
    drop(child);
    until_dead(grandchild).await;
}

#[tokio::test]
async fn however_it_ends_the_whole_group_is_gone() {
    let fixture = Fixture::python(&format!("{GRANDCHILD}answer('processRecords'); hear()"));
    let (mut child, grandchild) = with_a_grandchild(&fixture).await;
    assert_eq!(child.end(Ending::AtOnce).await, ChildExit::Ended);
    until_dead(grandchild).await;

    let (mut child, grandchild) = with_a_grandchild(&fixture).await;
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    until_dead(grandchild).await;

    let (child, grandchild) = with_a_grandchild(&fixture).await;
    let pid = child.pid().unwrap();
    drop(child);
    until_dead(grandchild).await;
    fixture.until_reaped(pid).await;
}

//! Actions, answers and checkpoints.

use multilang_protocol::{CheckpointReply, error_name};

use super::super::*;
use crate::child::testing::*;
use crate::core::ids::ShardId;
use crate::ports::ProcessorFactory;

use ActionKind::{Initialize, LeaseLost, ProcessRecords, ShardEnded, ShutdownRequested};

#[tokio::test]
async fn a_life_from_initialize_to_the_end() {
    let fixture = Fixture::python(
        r#"
first = hear()
assert first == {"action": "initialize", "shardId": "shardId-000000000003",
                 "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0}, first
answer("initialize")
records = hear()["records"]
assert [r["data"] for r in records] == ["eHh4"], records
checkpoint("101"); reply = hear()
assert reply["error"] == "ThrottlingException" and reply["sequenceNumber"] == "101", reply
checkpoint("101"); assert hear()["error"] is None
answer("processRecords")
assert hear()["action"] == "shutdownRequested"; answer("shutdownRequested")
assert hear()["action"] == "leaseLost"; answer("leaseLost")
assert hear() is None
open(sys.argv[1] + "/after", "w").write("worked on after the end of STDIN")
sys.exit(5)
"#,
    );
    let mut child = fixture.initialized().await;
    assert_eq!(child.dialect(), Dialect::P2);
    let pid = child.pid().unwrap();
    child.send(Task::ProcessRecords(batch(3)));
    let refused = request(&mut child).await;
    let reply = CheckpointReply::refused(refused, error_name::THROTTLING, "too many writes");
    child.reply(reply);
    assert_eq!(store(&mut child).await.as_deref(), Some("101"));
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
    child.send(Task::ShutdownRequested);
    assert_eq!(child.next().await, Heard::Answered(ShutdownRequested));
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Answered(LeaseLost));
    // The code after the last status is only logged (protocol.md §11).
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert_eq!(fixture.file("after"), "worked on after the end of STDIN");
    assert_eq!(
        child.next().await,
        Heard::Ended(ChildExit::Ended),
        "and again"
    );
    assert_eq!(child.end(Ending::AtOnce).await, ChildExit::Ended);
    assert!(!fixture.launcher.owns(pid), "it is reaped");
}

#[tokio::test]
async fn the_environment_tells_whom_it_works_for() {
    let fixture = Fixture::shell(
        r#"begin; echo "$KCL_SHARD_ID|$KCL_STREAM_NAME|$KCL_APPLICATION_NAME|$KCL_WORKER_ID|$(pwd)" > "$1/told""#,
    );
    let mut child = fixture.initialized().await;
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(0)));
    let cwd = crate::os::environment::working_directory().unwrap();
    let expected = format!("{SHARD}|orders|billing|host-billing-2|{}\n", cwd.display());
    assert_eq!(fixture.file("told"), expected);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_said_so() {
    let fixture = Fixture::python_with("", |settings| {
        settings.command = "./missing x".to_owned();
    });
    let shard = ShardId::new(SHARD);
    let Err(ChildExit::NotStarted(text)) = fixture.factory.start(&shard).await else {
        panic!("it started");
    };
    assert!(
        text.contains("'./missing' of executableName does not exist"),
        "{text}"
    );

    let interpreter = Fixture::python("");
    let script = interpreter.directory.path().join("processor");
    std::fs::write(&script, "#!/nonexistent/interpreter\n").unwrap();
    let Err(ChildExit::NotStarted(text)) = interpreter.factory.start(&shard).await else {
        panic!("it started");
    };
    assert!(text.contains("processor': "), "{text}");
}

#[tokio::test]
async fn noise_and_odd_lines_do_not_disturb() {
    let fixture = Fixture::python(
        r#"
line("hello"); line(""); line("null"); line("[]"); line('{"action":"dance"}')
line('{"action":"initialize"}'); line('{"Action":"status"}'); line('\x00\x1b[2J')
sys.stdout.buffer.write(b"\xff\xfe\r\r\n"); sys.stdout.flush()
hear()
sys.stdout.write('{"responseFor":"initialize","took":5,"action":"status"} and more\rnoise without end')
sys.stdout.flush()
assert hear()["action"] == "shardEnded"
sys.stdout.write('\n{"action":"status","responseFor":"shardEnded"}'); sys.stdout.flush()
"#,
    );
    let mut child = fixture.initialized().await;
    child.send(Task::ShardEnded);
    // Its last line is not ended; the end of the output ends it.
    assert_eq!(child.next().await, Heard::Answered(ShardEnded));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(0)));
}

#[tokio::test]
async fn a_status_that_answers_nothing_is_bad_output() {
    for (body, expected) in [
        (
            "hear(); answer('processRecords'); hear()",
            "for `processRecords`",
        ),
        (
            "hear(); say(action='status'); hear()",
            "without `responseFor`",
        ),
        (
            "answer('initialize'); time.sleep(1000)",
            "before `initialize`",
        ),
        (
            "hear(); line('{\"action\":\"status\",\"responseFor\":\"initialize\"}\\n' * 2); hear()",
            "after `initialize` was answered",
        ),
    ] {
        let fixture = Fixture::python(body);
        let mut child = fixture.start().await;
        if !body.starts_with("answer") {
            child.send(initialize());
        }
        let mut heard = child.next().await;
        if heard == Heard::Answered(Initialize) {
            heard = child.next().await;
        }
        let Heard::Ended(ChildExit::BadOutput(text)) = heard else {
            panic!("{body}: {heard:?}");
        };
        assert!(text.contains(expected), "{body}: {text}");
        assert!(!fixture.launcher.owns(child.pid().unwrap()), "it is dead");
        assert_eq!(child.end(Ending::Gently).await, ChildExit::BadOutput(text));
    }
}

#[tokio::test]
async fn a_wrong_status_for_shutdown_requested_counts_as_an_answer() {
    let fixture =
        Fixture::python("begin(); hear(); answer('wrong'); hear(); answer('leaseLost'); hear()");
    let mut child = fixture.initialized().await;
    child.send(Task::ShutdownRequested);
    assert_eq!(child.next().await, Heard::Answered(ShutdownRequested));
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Answered(LeaseLost));
}

#[tokio::test]
async fn what_is_said_ahead_waits_for_the_reply() {
    let fixture = Fixture::python(
        "begin(); hear(); checkpoint('1'); checkpoint('2'); answer('processRecords'); line('printed')
assert [hear()['sequenceNumber'] for _ in range(2)] == ['1', '2']; hear()",
    );
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    let first = request(&mut child).await;
    // All of it was read, and yet nothing more is handed on.
    while log.output().is_empty() {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    child.reply(CheckpointReply::stored(first));
    assert_eq!(store(&mut child).await.as_deref(), Some("2"));
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
}

#[tokio::test]
async fn what_a_dead_child_said_ahead_still_counts() {
    let fixture = Fixture::python("begin(); hear(); checkpoint(); answer('shardEnded')");
    let mut child = fixture.initialized().await;
    child.send(Task::ShardEnded);
    let asked = request(&mut child).await;
    // It is dead by now, or soon; its status is only heard after the reply.
    while fixture.launcher.owns(child.pid().unwrap()) {
        assert!(is_pending(&mut child).await);
        tokio::task::yield_now().await;
    }
    assert!(is_pending(&mut child).await);
    child.reply(CheckpointReply::stored(asked));
    assert_eq!(child.next().await, Heard::Answered(ShardEnded));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(0)));
}

#[tokio::test]
async fn a_child_that_dies_waiting_for_a_reply_is_reported_at_once() {
    let fixture = Fixture::python("begin(); hear(); checkpoint(); sys.exit(4)");
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    let asked = request(&mut child).await;
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(4)));
    child.reply(CheckpointReply::stored(asked));
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(4)));
}

#[tokio::test]
async fn a_checkpoint_between_two_actions_is_answered_before_the_next_one() {
    let fixture = Fixture::python(
        "begin(); checkpoint('7'); assert hear()['action'] == 'checkpoint'
assert hear()['action'] == 'processRecords'; answer('processRecords'); hear()",
    );
    let mut child = fixture.initialized().await;
    let asked = request(&mut child).await;
    // The consumer does not know yet that it should wait.
    child.send(Task::ProcessRecords(batch(1)));
    assert!(is_pending(&mut child).await);
    child.reply(CheckpointReply::stored(asked));
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
}

#[tokio::test]
async fn a_flood_of_requests_has_a_limit() {
    let fixture = Fixture::python(
        "begin(); hear()\nwhile True: sys.stdout.write('{\"action\":\"checkpoint\"}\\n' * 1000)",
    );
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    request(&mut child).await;
    let Heard::Ended(ChildExit::BadOutput(text)) = child.next().await else {
        panic!("a limit was expected");
    };
    assert!(text.contains("wait for the reply"), "{text}");
}

#[tokio::test]
async fn next_may_be_dropped_at_any_time() {
    let fixture = Fixture::python(
        "begin()\nfor i in range(50): hear(); checkpoint(str(i)); hear(); answer('processRecords')\nsys.exit(6)",
    );
    let mut child = fixture.initialized().await;
    for i in 0..50 {
        child.send(Task::ProcessRecords(batch(10)));
        let Heard::Checkpoint(asked) = impatient_next(&mut child).await else {
            panic!("{i}");
        };
        assert_eq!(asked.sequence_number, Some(i.to_string()));
        child.reply(CheckpointReply::stored(asked));
        assert_eq!(
            impatient_next(&mut child).await,
            Heard::Answered(ProcessRecords)
        );
    }
    assert_eq!(
        impatient_next(&mut child).await,
        Heard::Ended(ChildExit::Exited(6))
    );
}

/// As `next`, but dropped and called again as often as possible.
async fn impatient_next(child: &mut ChildProcess) -> Heard {
    loop {
        tokio::select! {
            biased;
            heard = child.next() => return heard,
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Whether there is nothing to be heard right now.
pub(super) async fn is_pending(child: &mut ChildProcess) -> bool {
    tokio::select! {
        biased;
        _ = child.next() => false,
        () = std::future::ready(()) => true,
    }
}

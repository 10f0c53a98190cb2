//! Children of older dialects (`protocol.md` §14.1).

use multilang_protocol::{DialectSetting, Knowledge};

use super::super::*;
use crate::child::testing::*;

use ActionKind::{LeaseLost, ShardEnded, ShutdownRequested};

/// A P1 client: it knows `shutdown` and dies of the newer words.
const P1: &str = r#"
begin()
while True:
    message = hear()
    if message is None: sys.exit(0)
    word = message["action"]
    if word not in ("processRecords", "shutdown", "shutdownRequested"): sys.exit(1)
    if word == "shutdown": open(sys.argv[1] + "/reason", "w").write(message["reason"])
    answer(word)
"#;

#[tokio::test]
async fn a_child_that_leaves_at_lease_lost_is_remembered_as_p1() {
    let fixture = Fixture::python(P1);
    let mut child = fixture.initialized().await;
    child.send(Task::LeaseLost);
    assert_eq!(
        child.next().await,
        Heard::Answered(LeaseLost),
        "nothing was lost"
    );
    let older = ChildExit::SpeaksOlderProtocol(Dialect::P1);
    assert_eq!(child.next().await, Heard::Ended(older));

    let mut child = fixture.initialized().await;
    assert_eq!(child.dialect(), Dialect::P1);
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Answered(LeaseLost));
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert_eq!(fixture.file("reason"), "ZOMBIE");
    assert_eq!(fixture.factory.known(), Knowledge::Proof(Dialect::P1));
}

#[tokio::test]
async fn a_child_that_leaves_at_shard_ended_is_to_be_started_again() {
    let fixture = Fixture::python(P1);
    let mut child = fixture.initialized().await;
    child.send(Task::ShardEnded);
    let older = ChildExit::SpeaksOlderProtocol(Dialect::P1);
    assert_eq!(child.next().await, Heard::Ended(older));

    let mut child = fixture.initialized().await;
    child.send(Task::ShardEnded);
    assert_eq!(child.next().await, Heard::Answered(ShardEnded));
    assert_eq!(fixture.file("reason"), "TERMINATE");
}

#[tokio::test]
async fn a_fixed_dialect_learns_nothing() {
    let fixture = Fixture::python_with(P1, |settings| {
        settings.dialect = DialectSetting::Fixed(Dialect::P2);
    });
    let mut child = fixture.initialized().await;
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(1)));
    assert_eq!(fixture.factory.known(), Knowledge::Nothing);
}

#[tokio::test]
async fn a_killed_child_teaches_nothing() {
    let fixture = Fixture::shell("begin; read -r line; kill -9 $$");
    let mut child = fixture.initialized().await;
    child.send(Task::ShardEnded);
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Signalled(9)));
    assert_eq!(fixture.factory.known(), Knowledge::Nothing);
}

#[tokio::test]
async fn an_exit_before_the_words_for_the_end_teaches_nothing() {
    let fixture = Fixture::shell("begin; exit 1");
    let mut child = fixture.initialized().await;
    // It is dead before it could have heard anything.
    until_dead(child.pid().unwrap()).await;
    child.send(Task::ShardEnded);
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(1)));
    assert_eq!(fixture.factory.known(), Knowledge::Nothing);
}

#[tokio::test]
async fn the_key_checkpoint_proves_p0_which_gets_no_shutdown_requested() {
    let fixture = Fixture::python(
        r#"
begin(); assert hear()["action"] == "processRecords"
say(action="checkpoint", checkpoint="7"); reply = hear()
assert reply["checkpoint"] == "7" and reply["sequenceNumber"] == "7", reply
answer("processRecords")
message = hear()
assert message == {"action": "shutdown", "reason": "ZOMBIE"}, message
answer("shutdown"); hear()
"#,
    );
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(1)));
    assert_eq!(store(&mut child).await.as_deref(), Some("7"));
    assert_eq!(child.dialect(), Dialect::P0);
    let known = Knowledge::Proof(Dialect::P0);
    assert_eq!(
        fixture.factory.known(),
        known,
        "at once, for children started meanwhile"
    );
    assert_eq!(
        child.next().await,
        Heard::Answered(ActionKind::ProcessRecords)
    );
    child.send(Task::ShutdownRequested);
    assert_eq!(child.next().await, Heard::Answered(ShutdownRequested));
    child.send(Task::LeaseLost);
    assert_eq!(child.next().await, Heard::Answered(LeaseLost));
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    assert_eq!(fixture.start().await.dialect(), Dialect::P0);
}

#[tokio::test]
async fn leaving_at_shutdown_requested_means_p0() {
    let fixture = Fixture::shell("begin; read -r line; exit 1");
    let mut child = fixture.initialized().await;
    child.send(Task::ShutdownRequested);
    let older = ChildExit::SpeaksOlderProtocol(Dialect::P0);
    assert_eq!(child.next().await, Heard::Ended(older));
    assert_eq!(fixture.factory.known(), Knowledge::Guess(Dialect::P0));
}

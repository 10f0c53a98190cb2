//! Large and many lines, both ways.

use super::super::*;
use crate::child::testing::*;

use ActionKind::{Initialize, ProcessRecords};

/// Bytes of data that become a line of 14 MB in base64.
const LARGE: usize = 10_500_000;

#[tokio::test]
async fn a_line_of_14_mb_arrives_whole() {
    let fixture = Fixture::python(
        "begin(); text = sys.stdin.readline(); checkpoint(str(len(text))); hear(); answer('processRecords'); hear()",
    );
    let mut child = fixture.initialized().await;
    let batch = batch(LARGE);
    let expected = batch.bytes().len();
    assert!(expected > 14_000_000);
    child.send(Task::ProcessRecords(batch));
    assert_eq!(store(&mut child).await, Some(expected.to_string()));
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
}

#[tokio::test]
async fn lines_of_14_mb_from_the_child_are_noise_or_messages_like_others() {
    let fixture = Fixture::python(
        r#"
hear(); line("x" * 14_000_000)
say(action="status", padding="y" * 14_000_000, responseFor="initialize"); hear()
"#,
    );
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
    let output = log.output();
    let [(_, stream, text)] = &output[..] else {
        panic!("{} lines", output.len());
    };
    assert_eq!(stream, "stdout");
    assert!(text.len() < 10_000 && text.ends_with("(the first 8192 of 14000000 bytes)"));
}

#[tokio::test]
async fn a_child_that_prints_100_mb_while_it_is_written_14_mb_does_not_lock_up() {
    // It reads nothing before it has printed everything, on both streams.
    let fixture = Fixture::python(
        r#"
begin()
noise = ("z" * 99 + "\n") * 10_000
for _ in range(50):
    sys.stdout.write(noise); sys.stderr.write(noise)
sys.stdout.flush()
hear(); answer("processRecords"); hear()
"#,
    );
    let mut child = fixture.initialized().await;
    child.send(Task::ProcessRecords(batch(LARGE)));
    assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
}

#[tokio::test]
async fn a_line_beyond_the_cap_is_bad_output_before_it_ends() {
    let body = "hear()\nwhile True: sys.stdout.write('w' * 65536)";
    let fixture = Fixture::python_with(body, |settings| settings.line_cap = 1_000_000);
    let mut child = fixture.start().await;
    child.send(initialize());
    let Heard::Ended(ChildExit::BadOutput(text)) = child.next().await else {
        panic!("bad output was expected");
    };
    assert!(text.contains("only 1000000 were kept"), "{text}");
}

#[tokio::test]
async fn a_line_of_just_the_cap_is_fine() {
    let body = "hear(); line('w' * 1000); answer('initialize'); hear()";
    let fixture = Fixture::python_with(body, |settings| settings.line_cap = 1000);
    fixture.initialized().await;

    let body = "hear(); line('w' * 1001); answer('initialize'); hear()";
    let fixture = Fixture::python_with(body, |settings| settings.line_cap = 1000);
    let mut child = fixture.start().await;
    child.send(initialize());
    let heard = child.next().await;
    assert!(
        matches!(heard, Heard::Ended(ChildExit::BadOutput(_))),
        "{heard:?}"
    );
    assert_ne!(heard, Heard::Answered(Initialize));
}

#[tokio::test]
async fn many_small_exchanges() {
    let fixture = Fixture::python(
        "begin()\nfor _ in range(2000): hear(); answer('processRecords')\nsys.stdin.read()",
    );
    let mut child = fixture.initialized().await;
    let batch = batch(100);
    for _ in 0..2000 {
        child.send(Task::ProcessRecords(batch.clone()));
        assert_eq!(child.next().await, Heard::Answered(ProcessRecords));
    }
    assert_eq!(child.end(Ending::Gently).await, ChildExit::Ended);
}

//! What a child prints, as log lines.

use tracing::Level;

use super::super::*;
use crate::child::testing::*;

#[tokio::test]
async fn each_line_is_one_event_with_shard_process_and_stream() {
    let fixture = Fixture::python(
        r#"
line("to stdout")
sys.stderr.write("to stderr\n\x1b[31mred\n"); sys.stderr.flush()
line('{"action": "Status", "responseFor": "initialize"}')
sys.stderr.write("e" * 20_000 + "\nlast words")
"#,
    );
    let log = Log::capture();
    let mut child = fixture.start().await;
    let pid = child.pid().unwrap();
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(0)));

    let output = log.output();
    let of = |name: &str| -> Vec<(Level, &str)> {
        let lines = output.iter().filter(|(_, stream, _)| stream == name);
        lines
            .map(|(level, _, text)| (*level, text.as_str()))
            .collect()
    };
    let stderr = of("stderr");
    assert_eq!(
        stderr[..2],
        [(Level::INFO, "to stderr"), (Level::INFO, "\\u{1b}[31mred")]
    );
    assert!(
        stderr[2].1.ends_with("(the first 8192 of 20000 bytes)"),
        "{stderr:?}"
    );
    assert_eq!(stderr[3..], [(Level::INFO, "last words")]);
    let stdout = of("stdout");
    assert_eq!(stdout[0], (Level::INFO, "to stdout"));
    let (level, text) = stdout[1];
    assert_eq!(level, Level::WARN);
    assert!(
        text.contains("looks like a protocol message") && text.contains("Status"),
        "{text}"
    );
    assert_eq!(stdout.len(), 2);

    let line = &log.lines()[1];
    assert_eq!(
        (line.field("shard"), line.field("pid")),
        (SHARD, pid.to_string().as_str())
    );
}

#[tokio::test]
async fn messages_are_debug_and_never_output() {
    let fixture = Fixture::shell("begin; exit 0");
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    assert_eq!(child.next().await, Heard::Ended(ChildExit::Exited(0)));
    assert_eq!(log.output(), []);
    let debug = log
        .lines()
        .into_iter()
        .filter(|line| line.level == Level::DEBUG);
    let texts: Vec<_> = debug.map(|line| line.field("message").to_owned()).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("is sent 'initialize'")),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|text| text.contains("responseFor")),
        "{texts:?}"
    );
}

#[tokio::test]
async fn too_many_lines_are_counted_instead() {
    let fixture = Fixture::python_with(
        "begin(); sys.stderr.write('x\\n' * 5000); sys.stderr.flush(); hear()",
        |settings| settings.lines_per_second = 10,
    );
    let log = Log::capture();
    let mut child = fixture.initialized().await;
    let suppressed = |log: &Log| -> usize {
        let lines = log.lines();
        let counts = lines.iter().filter_map(|line| {
            line.field("message")
                .strip_suffix(" lines of this child's output were suppressed")
        });
        counts.map(|count| count.parse::<usize>().unwrap()).sum()
    };
    // It is told while the child lives and says nothing more.
    while suppressed(&log) + log.output().len() < 5000 {
        tokio::select! {
            biased;
            heard = child.next() => panic!("{heard:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(
        suppressed(&log) + log.output().len(),
        5000,
        "none is lost without a word"
    );
    // As many seconds as this may have taken, and a generous rest.
    assert!(log.output().len() < 1000, "{}", log.output().len());
}

//! What the tests of this directory share: real processes, a clock that is set by hand, and a log
//! that can be read.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use multilang_protocol::{
    BatchEncoder, CheckpointReply, CheckpointRequest, Data, EncodedBatch, RecordRef,
};
use tokio::sync::watch;

use super::factory::{ChildFactory, ChildSettings, Identity};
use super::process::ChildProcess;
use crate::core::ids::{ShardId, WorkerId};
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use crate::core::time::Moment;
use crate::os::clock::SystemClock;
use crate::os::environment::Environment;
use crate::os::hearing::{Hearing, Logged};
use crate::os::process::{Launcher, LauncherSettings};
use crate::os::rerun::Watchdog;
use crate::ports::{BoxFuture, Clock, Heard, Processor, Task};

pub(super) const SHARD: &str = "shardId-000000000003";

/// Words for a child in Python. `say` and `answer` write messages, `hear` reads one line.
const PYTHON: &str = r#"
import json, os, signal, sys, time
def line(text):
    sys.stdout.write(text + "\n"); sys.stdout.flush()
def say(**message):
    line("\n" + json.dumps(message))
def answer(name):
    say(action="status", responseFor=name)
def checkpoint(value=None):
    say(action="checkpoint", sequenceNumber=value, subSequenceNumber=0)
def hear():
    text = sys.stdin.readline()
    return json.loads(text) if text else None
def begin():
    assert hear()["action"] == "initialize"
    answer("initialize")
"#;

/// A directory with one executable in it, and children that run it.
pub(super) struct Fixture {
    pub(super) directory: tempfile::TempDir,
    pub(super) factory: ChildFactory,
    pub(super) launcher: Launcher,
    _watchdog: Watchdog,
}

impl Fixture {
    /// A processor in Python, with the words above.
    pub(super) fn python(body: &str) -> Self {
        Self::python_with(body, |_| {})
    }

    pub(super) fn python_with(body: &str, change: impl FnOnce(&mut ChildSettings)) -> Self {
        let text = format!("#!/usr/bin/env python3\n{PYTHON}\n{body}\n");
        Self::new(&text, Arc::new(SystemClock::new()), change)
    }

    /// A processor in Python whose daemon looks at this clock.
    pub(super) fn python_by(clock: &ManualClock, timeout: u64, body: &str) -> Self {
        let text = format!("#!/usr/bin/env python3\n{PYTHON}\n{body}\n");
        Self::new(&text, Arc::new(clock.clone()), |settings| {
            settings.timeout = Some(Duration::from_secs(timeout));
        })
    }

    /// A shell script without `#!`.
    pub(super) fn shell(body: &str) -> Self {
        Self::shell_with(body, |_| {})
    }

    pub(super) fn shell_with(body: &str, change: impl FnOnce(&mut ChildSettings)) -> Self {
        // Words for the two messages that every child sends.
        let words = "begin() { read -r line; echo '{\"action\":\"status\",\"responseFor\":\"initialize\"}'; }\n";
        Self::new(
            &format!("{words}{body}\n"),
            Arc::new(SystemClock::new()),
            change,
        )
    }

    fn new(text: &str, clock: Arc<dyn Clock>, change: impl FnOnce(&mut ChildSettings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("processor");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = Launcher::start(LauncherSettings::default()).unwrap();
        let identity = Identity {
            stream: "orders".to_owned(),
            application: "billing".to_owned(),
            worker: WorkerId::new("host-billing-2"),
        };
        let command = format!("./processor {}", directory.path().display());
        let mut settings = ChildSettings::new(command, directory.path(), identity);
        settings.path = Environment::capture().get_os("PATH").map(Into::into);
        change(&mut settings);
        Self {
            factory: ChildFactory::new(settings, launcher.clone(), clock),
            directory,
            launcher,
            _watchdog: Watchdog::start(),
        }
    }

    pub(super) async fn start(&self) -> ChildProcess {
        self.factory
            .start_child(&ShardId::new(SHARD))
            .await
            .unwrap()
    }

    /// A child that has answered `initialize`.
    pub(super) async fn initialized(&self) -> ChildProcess {
        let mut child = self.start().await;
        child.send(initialize());
        let answered = Heard::Answered(multilang_protocol::ActionKind::Initialize);
        assert_eq!(child.next().await, answered);
        child
    }

    /// What the child wrote into a file of its directory, which is its first argument.
    pub(super) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Waits until the launcher has reaped everything it started.
    pub(super) async fn until_reaped(&self, pid: u32) {
        while self.launcher.owns(pid) {
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn initialize() -> Task {
    Task::Initialize {
        shard: ShardId::new(SHARD),
        checkpoint: ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
    }
}

/// One record with so many bytes of data.
pub(super) fn batch(bytes: usize) -> EncodedBatch {
    let mut encoder = BatchEncoder::new();
    encoder.push(&RecordRef {
        data: Data::Raw(&vec![b'x'; bytes]),
        partition_key: "key",
        sequence_number: "101",
        arrival_millis: 1_735_689_600_000,
        sub_sequence_number: 0,
    });
    encoder.finish(Some(0))
}

/// The request that the child must be making now.
pub(super) async fn request(child: &mut ChildProcess) -> CheckpointRequest {
    match child.next().await {
        Heard::Checkpoint(request) => request,
        other => panic!("a checkpoint request was expected: {other:?}"),
    }
}

/// Stores the checkpoint that the child must be asking for now; returns its sequence number.
pub(super) async fn store(child: &mut ChildProcess) -> Option<String> {
    let request = request(child).await;
    let value = request.sequence_number.clone();
    child.reply(CheckpointReply::stored(request));
    value
}

/// Whether a process runs; a dead one that its parent did not reap does not.
pub(super) fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(')').map(|(_, fields)| fields.trim_start());
        !state.is_some_and(|fields| fields.starts_with(['Z', 'X']))
    })
}

pub(super) async fn until_dead(pid: u32) {
    while is_running(pid) {
        tokio::task::yield_now().await;
    }
}

/// A clock that only moves when it is told to.
#[derive(Clone)]
pub(super) struct ManualClock(watch::Sender<Moment>);

impl ManualClock {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Moment::default()))
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.0
            .send_modify(|now| *now = *now + Duration::from_secs(seconds));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.0.borrow()
    }

    fn wall_millis(&self) -> i64 {
        0
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            let _ = now.wait_for(|now| *now >= moment).await;
        })
    }
}

/// Everything that is logged with target `child` on this thread.
pub(super) struct Log(Hearing);

impl Log {
    pub(super) fn capture() -> Self {
        Self(Hearing::start())
    }

    pub(super) fn lines(&self) -> Vec<Logged> {
        let mut lines = self.0.events();
        lines.retain(|line| line.target == "child");
        lines
    }

    /// Level, stream and message of all lines above DEBUG that came from the child itself.
    pub(super) fn output(&self) -> Vec<(tracing::Level, String, String)> {
        let lines = self
            .lines()
            .into_iter()
            .filter(|line| !line.field("stream").is_empty());
        lines
            .map(|line| {
                let (stream, text) = (line.field("stream"), line.field("message"));
                (line.level, stream.to_owned(), text.to_owned())
            })
            .collect()
    }
}

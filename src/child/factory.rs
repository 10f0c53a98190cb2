//! Starts children and keeps what is learned about the dialect of their executable.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use multilang_protocol::{DEFAULT_LINE_CAP, DialectSetting, Knowledge, Session};

use super::command::{resolve, tokenise};
use super::process::{ChildProcess, Circumstances};
use crate::core::ids::{ShardId, WorkerId};
use crate::os::process::{Launcher, Program};
use crate::ports::{ChildExit, Clock, Processor, ProcessorFactory};

/// Whom a child works for. It finds these in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `KCL_STREAM_NAME`.
    pub stream: String,
    /// `KCL_APPLICATION_NAME`.
    pub application: String,
    /// `KCL_WORKER_ID`.
    pub worker: WorkerId,
}

/// How children are started, spoken to and ended.
#[derive(Debug, Clone)]
pub struct ChildSettings {
    /// `executableName`: the command line.
    pub command: String,
    /// The variable `PATH`, in which the program is looked up.
    pub path: Option<OsString>,
    /// The working directory of the daemon, which is that of the children.
    pub cwd: PathBuf,
    /// What the children are told about us.
    pub identity: Identity,
    /// `multilangProtocol`.
    pub dialect: DialectSetting,
    /// What is known of the executable's dialect at the start.
    pub known: Knowledge,
    /// `timeoutInSeconds`: how long a child may take for its next message. `None`: as long as it
    /// likes.
    pub timeout: Option<Duration>,
    /// How long a child may work on after its STDIN was closed, before it gets SIGTERM.
    pub close_grace: Duration,
    /// How long it may work on after SIGTERM, before it gets SIGKILL.
    pub terminate_grace: Duration,
    /// The longest line on STDOUT, bytes.
    pub line_cap: usize,
    /// So many lines of a child's output are logged per second; the rest is counted.
    pub lines_per_second: u32,
}

impl ChildSettings {
    /// The defaults for a command line: no time-out; 5 s to end after its STDIN was closed, 2 s
    /// after SIGTERM; lines up to 16 MiB; 1000 log lines a second.
    #[must_use]
    pub fn new(command: impl Into<String>, cwd: impl Into<PathBuf>, identity: Identity) -> Self {
        Self {
            command: command.into(),
            path: None,
            cwd: cwd.into(),
            identity,
            dialect: DialectSetting::Auto,
            known: Knowledge::Nothing,
            timeout: None,
            close_grace: Duration::from_secs(5),
            terminate_grace: Duration::from_secs(2),
            line_cap: DEFAULT_LINE_CAP,
            lines_per_second: 1000,
        }
    }
}

/// Starts one child per call; all of them run the same command.
pub struct ChildFactory {
    settings: Arc<ChildSettings>,
    launcher: Launcher,
    clock: Arc<dyn Clock>,
    known: Arc<SharedKnowledge>,
}

/// What the children have taught, for all of them.
#[derive(Debug)]
pub(super) struct SharedKnowledge(Mutex<Knowledge>);

impl SharedKnowledge {
    pub(super) fn get(&self) -> Knowledge {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn absorb(&self, lesson: Option<Knowledge>) {
        if let Some(lesson) = lesson {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.absorb(lesson);
        }
    }
}

impl ChildFactory {
    /// Starts nothing yet. Whether the command can be run at all: [`resolve`].
    #[must_use]
    pub fn new(settings: ChildSettings, launcher: Launcher, clock: Arc<dyn Clock>) -> Self {
        Self {
            known: Arc::new(SharedKnowledge(Mutex::new(settings.known))),
            settings: Arc::new(settings),
            launcher,
            clock,
        }
    }

    /// What is known of the executable's dialect by now.
    #[must_use]
    pub fn known(&self) -> Knowledge {
        self.known.get()
    }

    fn program(&self, shard: &ShardId) -> Result<Program, ChildExit> {
        let settings = &self.settings;
        // Looked up each time, so that a deployment that replaces the program is noticed.
        let path = resolve(&settings.command, settings.path.as_deref(), &settings.cwd)
            .map_err(|error| ChildExit::NotStarted(error.to_string()))?;
        let mut words = tokenise(&settings.command).into_iter().map(OsString::from);
        let variables = [
            ("KCL_SHARD_ID", shard.as_str()),
            ("KCL_STREAM_NAME", &settings.identity.stream),
            ("KCL_APPLICATION_NAME", &settings.identity.application),
            ("KCL_WORKER_ID", settings.identity.worker.as_str()),
        ];
        Ok(Program {
            path,
            name: words.next().unwrap_or_default(),
            arguments: words.collect(),
            environment: variables
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec(),
        })
    }

    /// As [`ProcessorFactory::start`], with the type of what was started.
    ///
    /// # Errors
    /// [`ChildExit::NotStarted`].
    pub async fn start_child(&self, shard: &ShardId) -> Result<ChildProcess, ChildExit> {
        let program = self.program(shard)?;
        let path = program.path.clone();
        let launched = self
            .launcher
            .launch(program)
            .await
            .map_err(|error| ChildExit::NotStarted(format!("'{}': {error}", path.display())))?;
        let session = Session::new(self.settings.dialect, self.known.get());
        Ok(ChildProcess::new(
            launched,
            session,
            Circumstances {
                shard: shard.clone(),
                settings: Arc::clone(&self.settings),
                clock: Arc::clone(&self.clock),
                known: Arc::clone(&self.known),
            },
        ))
    }
}

#[async_trait]
impl ProcessorFactory for ChildFactory {
    async fn start(&self, shard: &ShardId) -> Result<Box<dyn Processor>, ChildExit> {
        Ok(Box::new(self.start_child(shard).await?))
    }
}

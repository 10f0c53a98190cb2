//! One daemon under test.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::processes::{self, Process};
use super::properties::Properties;
use super::sandbox::{Host, MARK};
use super::waiting::eventually;

/// Tells the log files of one sandbox's daemons apart.
static NUMBER: AtomicU32 = AtomicU32::new(1);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Exit code 0.
    pub const OK: Self = Self::code(0);

    /// It exited by itself with this code.
    pub const fn code(code: i32) -> Self {
        Self {
            code: Some(code),
            signal: None,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self {
            code: status.code(),
            signal: status.signal(),
        }
    }
}

/// A running `kcl-daemon`; SIGKILL when it goes out of scope.
pub struct Daemon {
    process: Child,
    log: PathBuf,
    started: Instant,
    exit: Option<Exit>,
}

impl Daemon {
    /// Starts `kcl-daemon --properties FILE` with more arguments behind.
    pub fn start<'a>(
        host: impl Into<Host<'a>>,
        properties: &Properties,
        arguments: &[&str],
    ) -> Self {
        let host = host.into();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = properties.write(host.sandbox(), &format!("daemon-{number}.properties"));
        let mut all = vec!["--properties", file.to_str().expect("UTF-8")];
        all.extend(arguments);
        Self::run(host, properties, &all, Stdio::null())
    }

    /// Starts `kcl-daemon` with just these arguments; of the properties only the environment counts.
    pub fn run<'a>(
        host: impl Into<Host<'a>>,
        properties: &Properties,
        arguments: &[&str],
        stdin: Stdio,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kcl-daemon"));
        command.args(arguments).stdin(stdin);
        Self::launch(host, properties, command)
    }

    /// Starts a command that starts `kcl-daemon`, or is it under another name.
    pub fn launch<'a>(
        host: impl Into<Host<'a>>,
        properties: &Properties,
        mut command: Command,
    ) -> Self {
        let host = host.into();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = host.sandbox().path().join(format!("daemon-{number}.log"));
        let file = File::create(&log).expect("a log file");
        for (name, _) in std::env::vars_os() {
            // What this machine has set up must not reach into the tests.
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("AWS_") || name.starts_with("KCL_"))
            {
                command.env_remove(name);
            }
        }
        let process = command
            .envs(properties.variables())
            .env(MARK, host.sandbox().path())
            .env("XDG_RUNTIME_DIR", host.locks())
            .env("TMPDIR", host.locks())
            .stdout(file.try_clone().expect("the log file"))
            .stderr(file)
            .spawn()
            .expect("kcl-daemon can be started");
        Self {
            process,
            log,
            started: Instant::now(),
            exit: None,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Time since it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Its children, zombies included, without the guardian.
    pub fn children(&self) -> Vec<Process> {
        let mut children = processes::children(self.pid());
        children.retain(|child| !child.command.contains("guardian"));
        children
    }

    /// Memory it has in RAM, without its children, in KiB.
    pub fn resident_kib(&self) -> u64 {
        processes::resident_kib(self.pid()).expect("the daemon runs")
    }

    /// The most memory it ever had in RAM, without its children, in KiB.
    pub fn peak_kib(&self) -> u64 {
        processes::peak_kib(self.pid()).expect("the daemon runs")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL, and waits for its end; its children are another matter.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit(Duration::from_secs(10));
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = self
                .process
                .try_wait()
                .expect("the daemon can be waited for")
                .map(Exit::from);
        }
        self.exit
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After `timeout`, with the end of its log.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> Exit {
        let start = Instant::now();
        loop {
            if let Some(exit) = self.exited() {
                return exit;
            }
            assert!(
                start.elapsed() < timeout,
                "the daemon does not end within {timeout:?}; its log:\n{}",
                self.log_end()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM and wait; gives how long it took.
    ///
    /// # Panics
    /// When it does not end with 0 within 10 s.
    #[track_caller]
    pub fn stop_gracefully(&mut self) -> Duration {
        let start = Instant::now();
        self.terminate();
        let exit = self.wait_exit(Duration::from_secs(10));
        assert_eq!(exit, Exit::OK, "{}", self.log_end());
        start.elapsed()
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        File::open(&self.log)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .expect("the log can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where it logs.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The last 60 lines of the log.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Waits until the log contains a text; gives the line.
    ///
    /// # Panics
    /// After `timeout`, with the end of the log.
    #[track_caller]
    pub fn wait_log(&self, text: &str, timeout: Duration) -> String {
        let start = Instant::now();
        let late = || (start.elapsed() >= timeout).then(|| self.log_end());
        eventually("never reached", timeout * 2, || {
            if let Some(line) = self.log().lines().find(|line| line.contains(text)) {
                return Some(line.to_owned());
            }
            match late() {
                Some(log) => panic!("not in the log within {timeout:?}: {text:?}\n{log}"),
                None => None,
            }
        })
    }

    /// Sees that nothing panicked.
    #[track_caller]
    pub fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of daemon {}:\n{}\n---", self.pid(), self.log_end());
        } else {
            self.assert_no_panic();
        }
    }
}

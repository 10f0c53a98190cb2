//! A small process that ends what the daemon started, should the daemon die without doing so itself.
//!
//! It is this very executable, run again with [`GUARDIAN_ARGUMENT`]. Through its STDIN the daemon
//! tells it which process groups there are (`+123`) and which are gone (`-123`). At the end of its
//! STDIN the daemon is dead, however it died: what is still registered gets SIGTERM, and SIGKILL
//! 300 ms later. It has a session of its own and blocks all signals, so that what ends the daemon
//! from a terminal or by process group does not end the guardian first.
//!
//! A number never names a stranger's group: the daemon takes a group back before it reaps the
//! leader, that is, while the number is still taken; and messages arrive before the end of the pipe.
#![expect(
    clippy::disallowed_methods,
    reason = "src/os is where processes are started and time is read"
)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::{environment, process};

/// The hidden first argument that makes this executable a guardian.
pub const GUARDIAN_ARGUMENT: &str = "--kcl-daemon-guardian";

/// How the guardian calls itself in a list of processes.
const NAME: &str = "kcl-daemon-guardian";

/// Time between SIGTERM and SIGKILL once the daemon is dead. Short: another worker may take the
/// leases soon.
const GRACE: Duration = Duration::from_millis(300);

/// How often the guardian looks whether the groups are gone.
const INTERVAL: Duration = Duration::from_millis(20);

/// Pause before a guardian that ended is replaced.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A guardian that ends so often right after its start is given up.
const MOST_FAILURES: u32 = 5;

// ------------------------------------------------------------------------------ the guardian itself

/// If these are a guardian's arguments (the program's name first): does its work, and returns when
/// it is done. To be called first thing in `main`, before threads and runtimes: the guardian stays
/// small by it.
pub fn run_if_asked(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let first = arguments.nth(1)?;
    if first != OsStr::new(GUARDIAN_ARGUMENT) {
        return None;
    }
    run();
    Some(ExitCode::SUCCESS)
}

/// Listens at STDIN until it ends, then ends the groups.
pub fn run() {
    // They are blocked already by the daemon that started it.
    let _ = SigSet::all().thread_block();
    // So as not to keep a file system busy.
    let _ = std::env::set_current_dir("/");
    end(&listen(io::stdin().lock()));
}

/// Reads messages to the end; says which groups are left.
fn listen(mut messages: impl BufRead) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    let mut line = String::new();
    loop {
        line.clear();
        match messages.read_line(&mut line) {
            Ok(0) => return groups,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return groups,
        }
        // A line without its end was cut off by the death of the daemon, maybe within the number.
        let Some(message) = line.strip_suffix('\n') else {
            continue;
        };
        // Never 0 (the own group), 1 (init) or a negative number.
        let number = |digits: &str| digits.parse().ok().filter(|group| *group > 1);
        if let Some(group) = message.strip_prefix('+').and_then(number) {
            groups.insert(group);
        } else if let Some(group) = message.strip_prefix('-').and_then(number) {
            groups.remove(&group);
        }
    }
}

/// SIGTERM, a while, SIGKILL.
fn end(groups: &BTreeSet<i32>) {
    let mut left: Vec<Pid> = groups
        .iter()
        .filter_map(|group| Pid::from_raw(*group))
        .collect();
    for group in &left {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    loop {
        left.retain(|group| test_kill_process_group(*group) != Err(rustix::io::Errno::SRCH));
        if left.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    for group in &left {
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

// --------------------------------------------------------------------------------- the daemon's side

/// How to run a guardian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardianProgram {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl GuardianProgram {
    /// This executable; its `main` has to call [`run_if_asked`].
    ///
    /// # Errors
    /// The system does not tell which file it is.
    pub fn this_executable() -> io::Result<Self> {
        Ok(Self {
            path: environment::own_executable()?,
            arguments: vec![GUARDIAN_ARGUMENT.into()],
        })
    }
}

/// Keeps a guardian alive and informed.
#[derive(Debug)]
pub(in crate::os) struct Guardian {
    program: Option<GuardianProgram>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<u32>,
    link: Option<Link>,
    /// Guardians that ended soon after their start, one after the other.
    failures: u32,
    last_start: Option<Instant>,
}

#[derive(Debug)]
struct Link {
    process: Child,
    messages: ChildStdin,
}

impl Guardian {
    /// Nothing is started yet.
    pub(in crate::os) fn new(program: Option<GuardianProgram>) -> Self {
        Self {
            program,
            state: Mutex::default(),
        }
    }

    /// Starts the guardian if none runs and there is to be one.
    pub(in crate::os) fn start(&self) {
        let mut state = self.state();
        if state.link.is_none() {
            self.start_anew(&mut state);
        }
    }

    /// Adds a group.
    pub(in crate::os) fn register(&self, group: u32) {
        let mut state = self.state();
        state.groups.insert(group);
        state.tell('+', group);
    }

    /// Takes a group back. To be called before its leader is reaped.
    pub(in crate::os) fn forget(&self, group: u32) {
        let mut state = self.state();
        state.groups.remove(&group);
        state.tell('-', group);
    }

    /// Replaces a guardian that has ended. To be called now and then.
    pub(in crate::os) fn look_after(&self) {
        let mut state = self.state();
        if let Some(link) = &mut state.link
            && !matches!(link.process.try_wait(), Ok(None))
        {
            state.link = None;
            tracing::warn!(
                "the guardian process ended; it is started again. Without it child processes may \
                 outlive a daemon that is killed"
            );
        }
        if state.link.is_none() && state.last_start.is_some() {
            self.start_anew(&mut state);
        }
    }

    /// The guardian's process id.
    pub(in crate::os) fn pid(&self) -> Option<u32> {
        self.state().link.as_ref().map(|link| link.process.id())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_anew(&self, state: &mut State) {
        let Some(program) = &self.program else { return };
        let now = Instant::now();
        match state.last_start {
            Some(last) if now.duration_since(last) < RESTART_PAUSE => return,
            // It lasted: what ended it is no habit.
            Some(last) if now.duration_since(last) > RESTART_PAUSE * 60 => state.failures = 0,
            _ => {}
        }
        if state.failures >= MOST_FAILURES {
            return;
        }
        state.failures += 1;
        if state.failures == MOST_FAILURES {
            tracing::warn!("the guardian process keeps ending: this is the last one");
        }
        state.last_start = Some(now);
        match Link::start(program) {
            Ok(link) => {
                state.link = Some(link);
                for group in state.groups.clone() {
                    state.tell('+', group);
                }
            }
            Err(error) => tracing::warn!(
                "the guardian process {} cannot be started: {error}. Without it child processes \
                 may outlive a daemon that is killed",
                program.path.display()
            ),
        }
    }
}

impl State {
    fn tell(&mut self, sign: char, group: u32) {
        let Some(link) = &mut self.link else { return };
        // One write of a few bytes is all or nothing.
        let message = format!("{sign}{group}\n");
        if link.messages.write_all(message.as_bytes()).is_err() {
            // Dead, or stopped with a full pipe: no guardian either way. A new one will follow.
            self.link = None;
        }
    }
}

impl Link {
    fn start(program: &GuardianProgram) -> io::Result<Self> {
        let mut process =
            process::spawn_guardian(&program.path, OsStr::new(NAME), &program.arguments)?;
        let Some(messages) = process.stdin.take() else {
            return Err(io::Error::other("it has no STDIN"));
        };
        // Whatever the guardian does, the daemon never waits for it.
        let flags = rustix::fs::fcntl_getfl(&messages)?;
        rustix::fs::fcntl_setfl(&messages, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { process, messages })
    }
}

impl Drop for Link {
    /// The daemon is there and does the work itself: this guardian must not do it.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
pub(in crate::os) mod tests;

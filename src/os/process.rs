//! Child processes: each in a process group of its own, watched, killed as a group, and reaped.
//!
//! All children are started by one thread, because Linux sends the parent-death signal when the
//! *thread* that started a child ends. It lives as long as a [`Launcher`] or a [`Group`] does, so as
//! long as the daemon. It also buries the groups that were dropped before they were reaped.
//!
//! What happens to the group of a child:
//! - its leader ends: [`Group::reap`] kills what is left of the group, then takes the exit status;
//! - the [`Group`] is dropped: SIGKILL to all of it, and the leader is reaped by the thread;
//! - the daemon dies, be it by SIGKILL: the leader gets SIGKILL from the kernel (Linux), and the
//!   [`guardian`](super::guardian) ends the rest.
//!
//! A descendant that leaves the group (`setsid`, a daemon of its own) is beyond reach.
#![expect(
    clippy::disallowed_methods,
    reason = "src/os is where processes and threads are started"
)]

mod exec;
mod group;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::SigSet;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::guardian::{Guardian, GuardianProgram};
pub(in crate::os) use exec::spawn_guardian;
use group::Unreaped;
pub use group::{Exit, Group, GroupSignal, group_is_alive};

/// How often the thread looks after groups that were killed and are not dead yet.
const BURIAL_INTERVAL: Duration = Duration::from_millis(10);

/// How often the thread looks whether the guardian is alive.
const GUARDIAN_INTERVAL: Duration = Duration::from_secs(2);

/// What a pipe to a child's STDIN should hold, bytes. The default of 64 KiB costs a large batch
/// hundreds of changes between daemon and child.
const PIPE_SIZE: usize = 1024 * 1024;

/// So many children get a large pipe. Linux allows a user 64 MiB of pipes in all and then shrinks
/// new ones, those of other programs too.
const MOST_LARGE_PIPES: usize = 16;

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// What it gets as its own name (`argv[0]`).
    pub name: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables in addition to those of the daemon.
    pub environment: Vec<(OsString, OsString)>,
}

/// What holds for all children.
#[derive(Debug, Clone, Default)]
pub struct LauncherSettings {
    /// How to run the guardian. `None`: no guardian.
    pub guardian: Option<GuardianProgram>,
    /// The soft limit of open files that children get: the one before the daemon raised its own
    /// ([`super::limits`]), as some programs close every number up to it. `None` leaves it.
    pub open_files: Option<u64>,
}

/// A child that was just started.
#[derive(Debug)]
pub struct Launched {
    /// The process and its group.
    pub group: Group,
    /// Its input.
    pub stdin: pipe::Sender,
    /// Its output.
    pub stdout: pipe::Receiver,
    /// Its error output.
    pub stderr: pipe::Receiver,
}

/// Starts children. Clones share the thread and the guardian.
#[derive(Debug, Clone)]
pub struct Launcher {
    requests: Sender<Request>,
    shared: Arc<Shared>,
}

/// What thread, launchers and groups share.
#[derive(Debug)]
struct Shared {
    guardian: Guardian,
    /// Children that are not reaped yet.
    children: Mutex<BTreeSet<u32>>,
    large_pipes: AtomicUsize,
    open_files: Option<u64>,
}

#[derive(Debug)]
enum Request {
    Launch {
        program: Program,
        requests: Sender<Request>,
        reply: oneshot::Sender<io::Result<Started>>,
    },
    Bury(Unreaped),
}

/// A child with its pipes, before a runtime knows them.
#[derive(Debug)]
struct Started {
    group: Group,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Launcher {
    /// Starts the thread. The guardian is started with the first child.
    ///
    /// # Errors
    /// The operating system refuses another thread.
    pub fn start(settings: LauncherSettings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            guardian: Guardian::new(settings.guardian),
            children: Mutex::default(),
            large_pipes: AtomicUsize::new(0),
            open_files: settings.open_files,
        });
        let (requests, receiver) = channel();
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || run(&receiver, &of_thread))?;
        Ok(Self { requests, shared })
    }

    /// Starts a program. Dropping the future early kills what it started.
    ///
    /// # Errors
    /// The program cannot be started, or there are no descriptors or processes left.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub async fn launch(&self, program: Program) -> io::Result<Launched> {
        // Before the child exists. It also makes sure that its exit status is kept, should the
        // daemon have been started with SIGCHLD ignored.
        let changes = signal(SignalKind::child())?;
        let (reply, started) = oneshot::channel();
        let request = Request::Launch {
            program,
            requests: self.requests.clone(),
            reply,
        };
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests.send(request).map_err(|_| gone())?;
        let Started {
            mut group,
            stdin,
            stdout,
            stderr,
        } = started.await.map_err(|_| gone())??;
        group.listen(changes);
        Ok(Launched {
            group,
            stdin: pipe::Sender::from_owned_fd(stdin)?,
            stdout: pipe::Receiver::from_owned_fd(stdout)?,
            stderr: pipe::Receiver::from_owned_fd(stderr)?,
        })
    }

    /// Whether this process is a child of ours that is not reaped yet.
    #[must_use]
    pub fn owns(&self, pid: u32) -> bool {
        self.shared.children().contains(&pid) || self.shared.guardian.pid() == Some(pid)
    }

    /// The process id of the guardian, while it runs.
    #[must_use]
    pub fn guardian_pid(&self) -> Option<u32> {
        self.shared.guardian.pid()
    }
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the pipe larger, within what is fair; `true` if it was done.
    fn enlarge(&self, pipe: &OwnedFd) -> bool {
        let taken = self.large_pipes.fetch_add(1, Ordering::Relaxed) < MOST_LARGE_PIPES;
        if taken && set_pipe_size(pipe) {
            return true;
        }
        self.large_pipes.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

#[cfg(target_os = "linux")]
fn set_pipe_size(pipe: &OwnedFd) -> bool {
    rustix::pipe::fcntl_setpipe_size(pipe, PIPE_SIZE).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn set_pipe_size(_pipe: &OwnedFd) -> bool {
    // Elsewhere pipes grow by themselves.
    let _ = PIPE_SIZE;
    false
}

/// The thread: starts children, buries groups, looks after the guardian.
fn run(requests: &Receiver<Request>, shared: &Arc<Shared>) {
    // Children inherit this thread's mask; and SIGCHLD gets through here, even if the daemon was
    // started with it blocked.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        tracing::warn!("the signal mask of child processes cannot be cleared: {error}");
    }
    let mut buried: Vec<Unreaped> = Vec::new();
    loop {
        let pause = match buried.is_empty() {
            true => GUARDIAN_INTERVAL,
            false => BURIAL_INTERVAL,
        };
        match requests.recv_timeout(pause) {
            Ok(Request::Launch {
                program,
                requests,
                reply,
            }) => {
                let started = launch(&program, requests, shared);
                // Where nobody waits any more, the child is dropped here, and comes back to be buried.
                let _ = reply.send(started);
            }
            Ok(Request::Bury(unreaped)) => buried.push(unreaped),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if buried.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(BURIAL_INTERVAL),
        }
        buried.retain_mut(|unreaped| unreaped.reap().is_none());
        shared.guardian.look_after();
    }
}

fn launch(
    program: &Program,
    requests: Sender<Request>,
    shared: &Arc<Shared>,
) -> io::Result<Started> {
    shared.guardian.start();
    let mut child = exec::spawn(program, shared.open_files)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut unreaped = Unreaped::new(child, Arc::clone(shared));
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        // Cannot be: all three were asked for. Kills and buries it.
        drop(Group::new(unreaped, requests));
        return Err(io::Error::other("the child has no pipes"));
    };
    let stdin = OwnedFd::from(stdin);
    unreaped.has_large_pipe = shared.enlarge(&stdin);
    Ok(Started {
        group: Group::new(unreaped, requests),
        stdin,
        stdout: OwnedFd::from(stdout),
        stderr: OwnedFd::from(stderr),
    })
}

#[cfg(test)]
mod tests;

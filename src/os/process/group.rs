//! A running child and its process group.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use rustix::process::{
    Pid, Signal as Number, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group,
    waitid,
};
use tokio::signal::unix::Signal;

use super::{Request, Shared};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

/// What a group can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupSignal {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Whether a process group has members. Dead ones that are not reaped count.
#[must_use]
pub fn group_is_alive(group: u32) -> bool {
    let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) else {
        return false;
    };
    test_kill_process_group(pid) != Err(rustix::io::Errno::SRCH)
}

/// A running child and its process group. Dropping it kills the group; the leader is then reaped
/// by the launcher's thread.
#[derive(Debug)]
pub struct Group {
    pid: u32,
    /// `None` when it is reaped.
    unreaped: Option<Unreaped>,
    requests: Sender<Request>,
    /// SIGCHLD; `None` before a runtime knows the group.
    changes: Option<Signal>,
}

impl Group {
    pub(super) fn new(unreaped: Unreaped, requests: Sender<Request>) -> Self {
        Self {
            pid: unreaped.child.id(),
            unreaped: Some(unreaped),
            requests,
            changes: None,
        }
    }

    /// Tells it where deaths of children are announced: a stream that was opened before the child
    /// was started, so that nothing is missed.
    pub(super) fn listen(&mut self, changes: Signal) {
        self.changes = Some(changes);
    }

    /// The process id of the leader, which is the id of the group.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to all members. Without effect once it is reaped.
    pub fn signal(&self, signal: GroupSignal) {
        if let Some(unreaped) = &self.unreaped {
            unreaped.signal(signal);
        }
    }

    /// Waits until the leader has ended. It is not reaped by this, so its id stays its own. May be
    /// dropped and called again.
    pub async fn exited(&mut self) {
        while self
            .unreaped
            .as_ref()
            .is_some_and(|unreaped| !unreaped.has_exited())
        {
            let change = match &mut self.changes {
                Some(changes) => changes.recv().await,
                None => None,
            };
            if change.is_none() {
                // Signals do not arrive any more: the runtime is shutting down.
                std::future::pending::<()>().await;
            }
        }
    }

    /// If the leader has ended: kills what is left of the group, reaps the leader and says how it
    /// ended. `None` while it runs, and after it was reaped.
    pub fn reap(&mut self) -> Option<Exit> {
        let exit = self.unreaped.as_mut()?.reap()?;
        self.unreaped = None;
        Some(exit)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(unreaped) = self.unreaped.take() {
            unreaped.signal(GroupSignal::Kill);
            // The thread lives as long as a sender does. Should it be gone all the same, init reaps.
            let _ = self.requests.send(Request::Bury(unreaped));
        }
    }
}

/// A child whose exit status was not taken yet; until then its id belongs to it.
#[derive(Debug)]
pub(super) struct Unreaped {
    child: Child,
    shared: Arc<Shared>,
    pub(super) has_large_pipe: bool,
}

impl Unreaped {
    pub(super) fn new(child: Child, shared: Arc<Shared>) -> Self {
        shared.guardian.register(child.id());
        shared.children().insert(child.id());
        Self {
            child,
            shared,
            has_large_pipe: false,
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn signal(&self, signal: GroupSignal) {
        let number = match signal {
            GroupSignal::Terminate => Number::TERM,
            GroupSignal::Kill => Number::KILL,
        };
        if let Some(pid) = self.pid() {
            // Nobody left, or nobody whom we may signal (a set-user-id program): nothing to do.
            let _ = kill_process_group(pid, number);
        }
    }

    fn has_exited(&self) -> bool {
        let Some(pid) = self.pid() else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => status.is_some(),
            Err(rustix::io::Errno::INTR) => false,
            // Not a child any more: somebody else reaped it.
            Err(_) => true,
        }
    }

    /// See [`Group::reap`]. To be called no more after `Some`.
    pub(super) fn reap(&mut self) -> Option<Exit> {
        if !self.has_exited() {
            return None;
        }
        // In this order: while the dead leader is there, no other group can have its number.
        self.signal(GroupSignal::Kill);
        self.shared.guardian.forget(self.child.id());
        self.shared.children().remove(&self.child.id());
        if self.has_large_pipe {
            self.shared.large_pipes.fetch_sub(1, Ordering::Relaxed);
        }
        Some(match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, signal) => Exit::Signal(signal.unwrap_or_default()),
            },
            // The status is lost; what is known is that it did not end as it should.
            Err(_) => Exit::Code(-1),
        })
    }
}

//! The life of a child, from its start to its end.
//!
//! ```text
//!             STDOUT or STDIN closed                    1 s passed
//!   Running ─────────────────────────► Leaving ───────────────────────────► Killed
//!      │  └──── bad output, time-out ──────┼──────────────────────────────────▲ │
//!      │                                   │                                    │
//!      └──────── leader has ended ─────────┴──► Reaped ◄────────────────────────┘
//!                                                 │ output read to its end, all of it handed on
//!                                                 ▼
//!                                               Over
//! ```

use std::time::Duration;

use multilang_protocol::Dialect;

use super::{ChildProcess, ChildSettings, Outstanding};
use crate::child::pipes::until;
use crate::child::verdict::{Verdict, judge};
use crate::core::time::Moment;
use crate::os::process::{Exit, Group, GroupSignal};
use crate::ports::ChildExit;

/// A child that closed its STDOUT or STDIN is probably about to exit: so long it may take.
const LEAVING: Duration = Duration::from_secs(1);

/// A process that SIGKILL does not end hangs in the kernel: after so long it is left to the
/// launcher's thread, which reaps it when it can.
const UNKILLABLE: Duration = Duration::from_secs(10);

/// Where a child stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// It closed a pipe, so it should exit by itself until then.
    Leaving {
        closed: &'static str,
        until: Moment,
    },
    /// SIGKILL was sent, for this reason.
    Killed {
        reason: ChildExit,
        until: Moment,
    },
    /// It is dead; what it has printed is still being read.
    Reaped {
        exit: Exit,
        /// Why it was killed, if it was.
        reason: Option<ChildExit>,
    },
    Over(ChildExit),
}

impl ChildProcess {
    pub(super) fn kill(&mut self, reason: ChildExit) {
        if let Some(group) = &self.group {
            group.signal(GroupSignal::Kill);
        }
        self.outbox = None;
        // Nothing it has said or says from now on is of use.
        self.conversation.close();
        self.life = match self.life {
            // It was faster.
            Life::Reaped { exit, .. } => Life::Reaped {
                exit,
                reason: Some(reason),
            },
            _ => Life::Killed {
                reason,
                until: self.now() + UNKILLABLE,
            },
        };
    }

    /// Takes the next step of its life, if there is one to take now.
    pub(super) fn advance(&mut self) -> bool {
        if let Some(exit) = self.group.as_mut().and_then(Group::reap) {
            self.reaped(exit);
            return true;
        }
        match self.life.clone() {
            Life::Running => self.look_for_trouble(),
            Life::Leaving { closed, until } => {
                let over = self.now() >= until;
                if over {
                    self.kill(ChildExit::ClosedOutput(closed));
                }
                over
            }
            Life::Killed { until, .. } => {
                let over = self.now() >= until;
                if over {
                    self.log.warning(format_args!(
                        "does not die of SIGKILL: it hangs in the kernel"
                    ));
                    self.reaped(Exit::Signal(9));
                }
                over
            }
            Life::Reaped { exit, reason } => {
                let over = self.conversation.is_exhausted() && !self.waits_for_our_reply(&reason);
                if over {
                    self.conclude(exit, reason);
                }
                over
            }
            Life::Over(_) => false,
        }
    }

    /// What the child said behind its request counts; so its end is only known after the reply.
    fn waits_for_our_reply(&self, reason: &Option<ChildExit>) -> bool {
        reason.is_none() && !self.told_to_end && self.conversation.holds_messages_until_the_reply()
    }

    fn look_for_trouble(&mut self) -> bool {
        if self.told_to_end {
            return false;
        }
        let closed = if self.conversation.stdin_is_broken() {
            Some("STDIN")
        } else if self.conversation.stdout_ended_early() && !self.conversation.has_events() {
            Some("STDOUT")
        } else {
            None
        };
        if let Some(closed) = closed {
            self.life = Life::Leaving {
                closed,
                until: self.now() + LEAVING,
            };
            return true;
        }
        let now = self.now();
        match &self.outstanding {
            Some(Outstanding {
                action,
                due: Some(due),
            }) if now >= *due && !self.conversation.has_events() => {
                let timeout = self.circumstances.settings.timeout.unwrap_or_default();
                let reason = ChildExit::Hung {
                    action: action.wire_name(Dialect::P2),
                    seconds: timeout.as_secs(),
                };
                self.kill(reason);
                true
            }
            _ => false,
        }
    }

    /// The leader is dead, and with it its group.
    pub(super) fn reaped(&mut self, exit: Exit) {
        self.group = None;
        self.outbox = None;
        self.is_over.send_replace(true);
        let reason = match &self.life {
            Life::Killed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        if exit == Exit::Code(0) || reason.is_some() {
            self.log.chatter(format_args!("ended: {exit}"));
        } else {
            self.log.note(format_args!("ended: {exit}"));
        }
        self.life = Life::Reaped { exit, reason };
    }

    fn conclude(&mut self, exit: Exit, reason: Option<ChildExit>) {
        let reason = reason.or(self.told_to_end.then_some(ChildExit::Ended));
        if let Some(reason) = reason {
            self.life = Life::Over(reason);
            return;
        }
        let postponed = self.postponed.take().map(|task| task.kind());
        let outstanding = self
            .outstanding
            .take()
            .map(|outstanding| outstanding.action);
        let (eof, lesson) = self.conversation.eof();
        let Verdict {
            answered,
            exit,
            lesson,
        } = judge(
            eof,
            exit,
            lesson,
            self.has_answered_shutdown,
            outstanding.or(postponed),
        );
        self.circumstances.known.absorb(lesson);
        self.answers.extend(answered);
        self.life = Life::Over(exit);
    }

    /// When something has to be looked at even if nothing happens.
    fn next_look(&self) -> Option<Moment> {
        match &self.life {
            Life::Running => self.outstanding.as_ref()?.due,
            Life::Leaving { until, .. } | Life::Killed { until, .. } => Some(*until),
            Life::Reaped { .. } | Life::Over(_) => None,
        }
    }

    /// Waits until something happens, at most until `latest`.
    pub(super) async fn wait(&mut self, latest: Option<Moment>) {
        let look = [self.next_look(), latest].into_iter().flatten().min();
        let group = &mut self.group;
        let ended = async {
            match group {
                Some(group) => group.exited().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.conversation.changed() => {}
            () = ended => {}
            () = until(look, self.circumstances.clock.as_ref()) => {}
        }
    }

    /// Whether the leader dies within this time.
    async fn dies_within(&mut self, grace: Duration) -> bool {
        let latest = self.now() + grace;
        loop {
            if self.group.is_none() {
                return true;
            }
            if self.advance() {
                continue;
            }
            if self.now() >= latest {
                return false;
            }
            self.wait(Some(latest)).await;
        }
    }

    pub(super) async fn end_gently(&mut self) {
        let ChildSettings {
            close_grace,
            terminate_grace,
            ..
        } = *self.circumstances.settings;
        if self.dies_within(close_grace).await {
            return;
        }
        self.log.note(format_args!(
            "did not end within {close_grace:?} after its STDIN was closed: it gets SIGTERM"
        ));
        if let Some(group) = &self.group {
            group.signal(GroupSignal::Terminate);
        }
        if !self.dies_within(terminate_grace).await {
            self.log.warning(format_args!(
                "did not end within {terminate_grace:?} after SIGTERM: it gets SIGKILL"
            ));
        }
    }
}

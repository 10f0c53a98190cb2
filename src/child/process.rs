//! One child: tasks go in, answers and its end come out.
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
//!
//! [`Processor::next`] and [`Processor::end`] only ever wait in one place and keep everything they
//! know in the value, so both can be dropped at any time and called again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use multilang_protocol::{ActionKind, CheckpointReply, Dialect, Misuse, Session};
use tokio::sync::{mpsc, watch};

use super::conversation::{Conversation, Event, Outgoing};
use super::factory::{ChildSettings, SharedKnowledge};
use super::logging::ChildLog;
use super::pipes::{Surroundings, read_stderr, read_stdout, until, write_stdin};
use super::verdict::{Verdict, judge};
use crate::core::ids::ShardId;
use crate::core::time::Moment;
use crate::os::process::{Exit, Group, GroupSignal, Launched};
use crate::os::tasks::TaskGroup;
use crate::ports::{ChildExit, Clock, Ending, Heard, Processor, Task};

/// A child that closed its STDOUT or STDIN is probably about to exit: so long it may take.
const LEAVING: Duration = Duration::from_secs(1);

/// A process that SIGKILL does not end hangs in the kernel: after so long it is left to the
/// launcher's thread, which reaps it when it can.
const UNKILLABLE: Duration = Duration::from_secs(10);

/// What a child is started with.
pub(super) struct Circumstances {
    pub(super) shard: ShardId,
    pub(super) settings: Arc<ChildSettings>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) known: Arc<SharedKnowledge>,
}

/// One child process. Dropping it kills the whole group at once; it is reaped in the background.
pub struct ChildProcess {
    pid: u32,
    /// `None` when it is reaped, or left to the launcher.
    group: Option<Group>,
    life: Life,
    conversation: Arc<Conversation>,
    /// To the task that writes STDIN; `None` closes it.
    outbox: Option<mpsc::UnboundedSender<Outgoing>>,
    /// Tells the reading tasks that the child is over.
    is_over: watch::Sender<bool>,
    _tasks: TaskGroup<()>,
    /// What the child works on.
    outstanding: Option<Outstanding>,
    /// A task that came while a reply was owed to a request made between two tasks.
    postponed: Option<Task>,
    /// Answers that are given for the child.
    answers: VecDeque<ActionKind>,
    has_answered_shutdown: bool,
    /// Whatever it does from now on is in order.
    told_to_end: bool,
    log: Arc<ChildLog>,
    circumstances: Circumstances,
}

struct Outstanding {
    action: ActionKind,
    /// When the next message is due; `None` without a time-out, and while it waits for us.
    due: Option<Moment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
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
    pub(super) fn new(launched: Launched, session: Session, circumstances: Circumstances) -> Self {
        let Launched {
            group,
            stdin,
            stdout,
            stderr,
        } = launched;
        let settings = &circumstances.settings;
        let log = Arc::new(ChildLog::new(
            circumstances.shard.clone(),
            group.pid(),
            settings.lines_per_second,
        ));
        let conversation = Arc::new(Conversation::new(session));
        let with = Surroundings {
            conversation: Arc::clone(&conversation),
            log: Arc::clone(&log),
            clock: Arc::clone(&circumstances.clock),
        };
        // Unbounded by count; the protocol allows one action, and one reply at a time.
        let (outbox, lines) = mpsc::unbounded_channel();
        let (is_over, over) = watch::channel(false);
        let mut tasks = TaskGroup::new();
        tasks.spawn(write_stdin(stdin, lines, with.clone()));
        tasks.spawn(read_stdout(
            stdout,
            settings.line_cap,
            over.clone(),
            with.clone(),
        ));
        tasks.spawn(read_stderr(stderr, over, with));
        log.note(format_args!("started '{}'", settings.command));
        Self {
            pid: group.pid(),
            group: Some(group),
            life: Life::Running,
            conversation,
            outbox: Some(outbox),
            is_over,
            _tasks: tasks,
            outstanding: None,
            postponed: None,
            answers: VecDeque::new(),
            has_answered_shutdown: false,
            told_to_end: false,
            log,
            circumstances,
        }
    }

    fn now(&self) -> Moment {
        self.circumstances.clock.now()
    }

    fn due(&self) -> Option<Moment> {
        let timeout = self.circumstances.settings.timeout?;
        Some(self.now() + timeout)
    }

    // --------------------------------------------------------------------------------- tasks, replies

    fn begin(&mut self, task: Task) {
        let action = task.kind();
        // What one child shows holds for all: they run the same executable (`protocol.md` §14.1).
        self.conversation.take_over(self.circumstances.known.get());
        if !self.conversation.accepts(action) {
            // P0 does not know shutdownRequested and would die of it (protocol.md §14.1).
            let dialect = self.conversation.dialect();
            self.log.chatter(format_args!(
                "'{action}' is left out, as {dialect} does not know it"
            ));
            self.answers.push_back(action);
            return;
        }
        match self.conversation.begin(&task) {
            Ok(line) => {
                let bytes = line.as_ref().len();
                self.log
                    .chatter(format_args!("is sent '{action}', {bytes} bytes"));
                self.outstanding = Some(Outstanding {
                    action,
                    due: self.due(),
                });
                self.write(line);
            }
            Err(Misuse::ReplyOwed { .. }) => self.postponed = Some(task),
            // Its end is on the way to the owner.
            Err(Misuse::Over { .. }) => {}
            Err(misuse) => self.kill(ChildExit::BadOutput(misuse.to_string())),
        }
    }

    fn write(&self, line: Outgoing) {
        if let Some(outbox) = &self.outbox {
            // A broken STDIN has been reported by the writing task.
            let _ = outbox.send(line);
        }
    }

    fn hand_on(&mut self, event: Event) -> Option<Heard> {
        self.circumstances.known.absorb(self.conversation.learned());
        match event {
            Event::Answered(action) => {
                self.outstanding = None;
                self.has_answered_shutdown |= action == ActionKind::ShutdownRequested;
                Some(Heard::Answered(action))
            }
            Event::Checkpoint(request) => {
                if let Some(outstanding) = &mut self.outstanding {
                    // Now the child waits for us.
                    outstanding.due = None;
                }
                Some(Heard::Checkpoint(request))
            }
            Event::Bad(what) => {
                self.kill(ChildExit::BadOutput(what));
                None
            }
        }
    }

    // ------------------------------------------------------------------------------------------- life

    fn kill(&mut self, reason: ChildExit) {
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
    fn advance(&mut self) -> bool {
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
    fn reaped(&mut self, exit: Exit) {
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
    async fn wait(&mut self, latest: Option<Moment>) {
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

    async fn end_gently(&mut self) {
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

#[async_trait]
impl Processor for ChildProcess {
    fn pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn dialect(&self) -> Dialect {
        self.conversation.dialect()
    }

    fn send(&mut self, task: Task) {
        if let Some(exit) = self.group.as_mut().and_then(Group::reap) {
            self.reaped(exit);
        }
        match &self.life {
            Life::Running | Life::Leaving { .. } => self.begin(task),
            // It never heard of the task, so its end says nothing about the task.
            Life::Reaped { .. } => self.postponed = Some(task),
            // It left after shutdownRequested, as it may: nobody misses the last words.
            Life::Over(ChildExit::Ended) if task.kind() == ActionKind::LeaseLost => {
                self.answers.push_back(ActionKind::LeaseLost);
            }
            Life::Killed { .. } | Life::Over(_) => {}
        }
    }

    fn reply(&mut self, reply: CheckpointReply) {
        match self.conversation.reply(&reply) {
            Ok(line) => {
                let error = reply.error.as_deref().unwrap_or("none");
                self.log
                    .chatter(format_args!("is sent the checkpoint reply, error: {error}"));
                let due = self.due();
                if let Some(outstanding) = &mut self.outstanding {
                    outstanding.due = due;
                }
                self.write(line);
            }
            // The child is gone or was ended meanwhile; nobody waits for this reply.
            Err(misuse) => self.log.chatter(format_args!("gets no reply: {misuse}")),
        }
        if !self.conversation.owes_a_reply()
            && let Some(task) = self.postponed.take()
        {
            self.send(task);
        }
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(action) = self.answers.pop_front() {
                return Heard::Answered(action);
            }
            let listens = match &self.life {
                Life::Running | Life::Leaving { .. } => true,
                Life::Reaped { reason, .. } => reason.is_none(),
                Life::Killed { .. } | Life::Over(_) => false,
            };
            if listens && let Some(event) = self.conversation.take_event() {
                match self.hand_on(event) {
                    Some(heard) => return heard,
                    None => continue,
                }
            }
            if let Life::Over(exit) = &self.life {
                return Heard::Ended(exit.clone());
            }
            if !self.advance() {
                self.wait(None).await;
            }
        }
    }

    async fn end(&mut self, how: Ending) -> ChildExit {
        if let Life::Over(exit) = &self.life {
            return exit.clone();
        }
        self.told_to_end = true;
        self.conversation.close();
        // What was queued is still written; then STDIN is closed.
        self.outbox = None;
        self.postponed = None;
        self.outstanding = None;
        self.answers.clear();
        if let Life::Leaving { .. } = self.life {
            self.life = Life::Running;
        }
        if how == Ending::Gently && self.life == Life::Running {
            self.end_gently().await;
        }
        if self.life == Life::Running {
            self.kill(ChildExit::Ended);
        }
        loop {
            if let Life::Over(exit) = &self.life {
                return exit.clone();
            }
            if !self.advance() {
                self.wait(None).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;

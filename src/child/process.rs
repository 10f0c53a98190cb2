//! One child: tasks go in, answers and its end come out.
//!
//! [`Processor::next`] and [`Processor::end`] only ever wait in one place and keep everything they
//! know in the value, so both can be dropped at any time and called again.

mod life;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use life::Life;
use multilang_protocol::{ActionKind, CheckpointReply, Dialect, Misuse, Session};
use tokio::sync::{mpsc, watch};

use super::conversation::{Conversation, Event, Outgoing};
use super::factory::{ChildSettings, SharedKnowledge};
use super::logging::ChildLog;
use super::pipes::{Surroundings, read_stderr, read_stdout, write_stdin};
use crate::core::ids::ShardId;
use crate::core::time::Moment;
use crate::os::process::{Group, Launched};
use crate::os::tasks::TaskGroup;
use crate::ports::{ChildExit, Clock, Ending, Heard, Processor, Task};

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

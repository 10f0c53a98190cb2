//! What the reader of a child's output and the owner of the child share: the protocol's session,
//! what was heard and not yet handed on, and which pipes are still open.
//!
//! The reader feeds every line at once, so that the pipe never fills up, and the session decides
//! what it means at that point. While a checkpoint reply is owed, messages are held back inside the
//! session, up to [`multilang_protocol::session::HELD_LIMIT`] bytes; a child that says more is bad
//! output. So memory is bounded although reading never pauses: there is at most one request, one
//! answer and one fault in the queue.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use multilang_protocol::{
    Action, ActionKind, CheckpointReply, CheckpointRequest, Dialect, EncodedBatch, Eof, Heard,
    Knowledge, Line, Misuse, Phase, Session,
};
use tokio::sync::Notify;

use super::logging::Stream;
use crate::ports::Task;

/// Something the owner has to know, in the order in which the child said it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Answered(ActionKind),
    Checkpoint(CheckpointRequest),
    /// The child broke the rules.
    Bad(String),
}

/// What a line was, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Message,
    /// A message that has no effect here.
    Ignored(String),
    /// A status for another action, where that does no more harm than this warning.
    Odd(String),
    Noise,
    /// Noise that seems to be meant as a message.
    SpoiltMessage,
    Nothing,
}

/// What goes into the child's STDIN: whole lines.
#[derive(Debug)]
pub(super) enum Outgoing {
    Line(Vec<u8>),
    Batch(EncodedBatch),
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Line(bytes) => bytes,
            Self::Batch(batch) => batch.bytes(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Conversation {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    session: Session,
    events: VecDeque<Event>,
    /// Messages that the session holds back.
    held: usize,
    stdout_open: bool,
    stderr_open: bool,
    stdin_broken: bool,
}

impl Conversation {
    pub(super) fn new(session: Session) -> Self {
        Self {
            state: Mutex::new(State {
                session,
                events: VecDeque::new(),
                held: 0,
                stdout_open: true,
                stderr_open: true,
                stdin_broken: false,
            }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when something has changed since the last time. Look at the state first.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    // ------------------------------------------------------------------------- the tasks' side

    /// Takes a line of STDOUT.
    pub(super) fn hear(&self, line: Line<'_>) -> Said {
        let mut state = self.state();
        let heard = state.session.hear_line(line);
        let said = state.take(heard);
        drop(state);
        if !matches!(said, Said::Noise | Said::SpoiltMessage | Said::Nothing) {
            self.changed.notify_one();
        }
        said
    }

    /// A stream of output ended, or will not be read any more.
    pub(super) fn ended(&self, stream: Stream) {
        let mut state = self.state();
        match stream {
            Stream::Stdout => state.stdout_open = false,
            Stream::Stderr => state.stderr_open = false,
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing more can be written.
    pub(super) fn stdin_broke(&self) {
        self.state().stdin_broken = true;
        self.changed.notify_one();
    }

    // ------------------------------------------------------------------------- the owner's side

    pub(super) fn take_event(&self) -> Option<Event> {
        self.state().events.pop_front()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.state().events.is_empty()
    }

    /// Nothing more will be heard, and everything that was heard is taken.
    pub(super) fn is_exhausted(&self) -> bool {
        let state = self.state();
        !state.stdout_open && !state.stderr_open && state.events.is_empty()
    }

    pub(super) fn stdin_is_broken(&self) -> bool {
        self.state().stdin_broken
    }

    #[cfg(test)]
    pub(super) fn stdout_is_closed(&self) -> bool {
        !self.state().stdout_open
    }

    /// STDOUT ended although there is more to be said.
    pub(super) fn stdout_ended_early(&self) -> bool {
        let state = self.state();
        let over = matches!(state.session.phase(), Phase::Finished(_) | Phase::Closed);
        !state.stdout_open && !over
    }

    pub(super) fn owes_a_reply(&self) -> bool {
        self.state().session.owed().is_some()
    }

    /// What was said behind the request whose reply is owed will only be heard after the reply.
    pub(super) fn holds_messages_until_the_reply(&self) -> bool {
        let state = self.state();
        state.session.owed().is_some() && state.held > 0
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.state().session.dialect()
    }

    pub(super) fn take_over(&self, known: Knowledge) {
        self.state().session.take_over(known);
    }

    pub(super) fn accepts(&self, action: ActionKind) -> bool {
        self.state().session.accepts(action)
    }

    pub(super) fn learned(&self) -> Option<Knowledge> {
        self.state().session.learned()
    }

    /// Begins an action; says what is to be written.
    pub(super) fn begin(&self, task: &Task) -> Result<Outgoing, Misuse> {
        let mut state = self.state();
        let action = match task {
            // Not through `send`, which would copy a line of up to 14 MB.
            Task::ProcessRecords(batch) => {
                state.session.begin(ActionKind::ProcessRecords)?;
                return Ok(Outgoing::Batch(batch.clone()));
            }
            Task::Initialize { shard, checkpoint } => Action::Initialize {
                shard_id: shard.as_str().to_owned(),
                sequence_number: checkpoint.position.as_str().to_owned(),
                sub_sequence_number: checkpoint.sub_sequence,
            },
            Task::ShutdownRequested => Action::ShutdownRequested,
            Task::LeaseLost => Action::LeaseLost,
            Task::ShardEnded => Action::ShardEnded,
        };
        let mut line = Vec::new();
        state.session.send(&action, &mut line)?;
        Ok(Outgoing::Line(line))
    }

    /// Answers the owed request; says what is to be written, and lets out what was held back.
    pub(super) fn reply(&self, reply: &CheckpointReply) -> Result<Outgoing, Misuse> {
        let mut line = Vec::new();
        let mut state = self.state();
        state.session.reply(reply, &mut line)?;
        while let Some(heard) = state.session.next_held() {
            state.held = state.held.saturating_sub(1);
            let _message = state.take(heard);
        }
        drop(state);
        self.changed.notify_one();
        Ok(Outgoing::Line(line))
    }

    /// The owner ends the conversation: what is said from now on has no effect.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.session.close();
        state.events.clear();
        state.held = 0;
    }

    /// What the end of the output means, and all that was learned.
    pub(super) fn eof(&self) -> (Eof, Option<Knowledge>) {
        let mut state = self.state();
        let verdict = state.session.eof();
        (verdict, state.session.learned())
    }
}

impl State {
    fn take(&mut self, heard: Heard) -> Said {
        match heard {
            Heard::Answered(kind) => self.events.push_back(Event::Answered(kind)),
            // Between actions, too, a request is answered before anything else is sent.
            Heard::Checkpoint(request) | Heard::UnsolicitedCheckpoint(request) => {
                self.events.push_back(Event::Checkpoint(request));
            }
            Heard::Held => self.held += 1,
            Heard::BadOutput(bad) => {
                let after_shutdown = Phase::Idle {
                    last: ActionKind::ShutdownRequested,
                };
                if self.session.phase() == after_shutdown {
                    // The session lets it pass, as Java does: `leaseLost` can follow.
                    let answer = Event::Answered(ActionKind::ShutdownRequested);
                    self.events.push_back(answer);
                    return Said::Odd(bad.to_string());
                }
                self.held = 0;
                self.events.push_back(Event::Bad(bad.to_string()));
            }
            Heard::Noise {
                looks_like_protocol: true,
            } => return Said::SpoiltMessage,
            Heard::Noise {
                looks_like_protocol: false,
            } => return Said::Noise,
            Heard::Ignored { action } => return Said::Ignored(action),
            Heard::Empty => return Said::Nothing,
        }
        Said::Message
    }
}

//! The conversation with one child as a state machine: what may be said next, what a line means
//! now, and what the end of the child's output means. No I/O and no time; one [`Session`] per child.
//!
//! ```text
//!            begin(initialize)          status              begin(leaseLost | shardEnded)   status
//!   Fresh ──────────────────► Awaiting ───────► Idle ─────────────────────────► Awaiting ───────► Finished
//!                                 ▲              │ begin(processRecords | shutdownRequested)          │
//!                                 └──────────────┘                  (shardEnded may be asked again) ◄─┘
//! ```
//!
//! From every one of these a checkpoint request leads to [`Phase::Owing`] and the reply back to
//! where it came from. While a reply is owed nothing else may be sent, and what the child says in
//! the meantime is held back ([`Heard::Held`]) until [`Session::next_held`] asks for it.

mod ending;
mod verdict;

use std::collections::VecDeque;

use crate::codec;
use crate::from_child::FromChild;
use crate::lines::Line;
use crate::message::{
    Action, ActionKind, CheckpointPermission, CheckpointReply, CheckpointRequest, Dialect,
    DialectSetting, Knowledge, checkpoint_allowed,
};

pub use verdict::{Bad, Eof, Misuse};

/// What the child may say ahead while a reply is owed, in bytes of its lines. Enough for some
/// 10 000 requests; a child that says more has lost its mind.
pub const HELD_LIMIT: usize = 1024 * 1024;

/// What a line of the child means at this point of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The outstanding action is done. Call [`Session::next_held`] until it gives `None` before
    /// sending anything.
    Answered(ActionKind),
    /// A checkpoint asked during the outstanding action: perform it, then [`Session::reply`].
    Checkpoint(CheckpointRequest),
    /// A checkpoint asked while no action was outstanding: to be answered all the same, before
    /// anything else is sent.
    UnsolicitedCheckpoint(CheckpointRequest),
    /// A message that is kept until the owed reply is given; see [`Session::next_held`].
    Held,
    /// Not a message: the child's own output.
    Noise {
        /// Worth a warning: it seems to be meant as a message, see [`FromChild::Noise`].
        looks_like_protocol: bool,
    },
    /// A message without effect: one that only a daemon sends, or anything said after the end.
    Ignored {
        /// Its action.
        action: String,
    },
    /// An empty line.
    Empty,
    /// The child broke the rules; the policy for failed children applies. One exception, as in
    /// Java: a wrong status for `shutdownRequested` ends that action, and `leaseLost` may follow
    /// (protocol.md §11); [`Session::phase`] tells.
    BadOutput(Bad),
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// `initialize` was not sent yet.
    Fresh,
    /// An action waits for its status.
    Awaiting(ActionKind),
    /// A checkpoint request waits for its reply.
    Owing {
        /// The outstanding action, `None` for an unsolicited request.
        during: Option<ActionKind>,
    },
    /// Between two actions.
    Idle {
        /// The action answered last.
        last: ActionKind,
    },
    /// The last action was answered; the child's input can be closed.
    Finished(ActionKind),
    /// The child sent bad output; nothing can be said any more.
    Broken,
    /// The daemon closed the child's input.
    Closed,
    /// The child's output ended.
    Ended,
}

/// The part of the state that a checkpoint dialogue interrupts and returns to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Fresh,
    Awaiting {
        action: ActionKind,
        /// The wire name as sent: the dialect may change before the answer.
        word: &'static str,
        /// A checkpoint was asked since, so the child has understood the word.
        understood: bool,
    },
    Idle {
        last: ActionKind,
    },
    Finished {
        last: ActionKind,
    },
}

impl Place {
    fn outstanding(self) -> Option<ActionKind> {
        match self {
            Place::Awaiting { action, .. } => Some(action),
            Place::Fresh | Place::Idle { .. } | Place::Finished { .. } => None,
        }
    }
}

#[derive(Debug)]
enum State {
    Open(Place),
    Owing {
        place: Place,
        request: CheckpointRequest,
    },
    Broken {
        during: Option<ActionKind>,
    },
    Closed,
    Ended(Eof),
}

/// A protocol message that waits for the owed reply.
#[derive(Debug)]
enum Held {
    Status(Option<String>),
    Checkpoint(CheckpointRequest),
}

/// The conversation with one child.
#[derive(Debug)]
pub struct Session {
    setting: DialectSetting,
    dialect: Dialect,
    known: Knowledge,
    lesson: Option<Knowledge>,
    state: State,
    held: VecDeque<Held>,
    held_bytes: usize,
}

impl Session {
    /// A conversation that has not begun. `known` is what earlier children of the same executable
    /// taught; it counts only under [`DialectSetting::Auto`].
    pub fn new(setting: DialectSetting, known: Knowledge) -> Self {
        Session {
            setting,
            dialect: match setting {
                DialectSetting::Auto => known.dialect(),
                DialectSetting::Fixed(dialect) => dialect,
            },
            known,
            lesson: None,
            state: State::Open(Place::Fresh),
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// The dialect in which the next action will be sent.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What this conversation has taught about the executable, for [`Knowledge::absorb`]; `None`
    /// if nothing new.
    pub fn learned(&self) -> Option<Knowledge> {
        self.lesson
    }

    /// Takes over what other children of the same executable have taught meanwhile. Counts under
    /// [`DialectSetting::Auto`], between actions, and while this child has taught nothing itself.
    pub fn take_over(&mut self, known: Knowledge) {
        let between = matches!(
            self.state,
            State::Open(Place::Fresh | Place::Idle { .. } | Place::Finished { .. })
        );
        if self.setting == DialectSetting::Auto && between && self.lesson.is_none() {
            self.known = known;
            self.dialect = known.dialect();
        }
    }

    /// Whether the child's dialect knows the action. One that it does not know is left out:
    /// P0 gets no `shutdownRequested`.
    pub fn accepts(&self, action: ActionKind) -> bool {
        action.known_in(self.dialect)
    }

    /// Where the conversation stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Open(Place::Fresh) => Phase::Fresh,
            State::Open(Place::Awaiting { action, .. }) => Phase::Awaiting(*action),
            State::Open(Place::Idle { last }) => Phase::Idle { last: *last },
            State::Open(Place::Finished { last }) => Phase::Finished(*last),
            State::Owing { place, .. } => Phase::Owing {
                during: place.outstanding(),
            },
            State::Broken { .. } => Phase::Broken,
            State::Closed => Phase::Closed,
            State::Ended(_) => Phase::Ended,
        }
    }

    /// The request that waits for its reply.
    pub fn owed(&self) -> Option<&CheckpointRequest> {
        match &self.state {
            State::Owing { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Whether the owed checkpoint may be tried at all ([`checkpoint_allowed`]); `None` if none is
    /// owed. Between actions the last action's checkpointer is still there, as it is in Java.
    pub fn owed_permission(&self) -> Option<CheckpointPermission> {
        let State::Owing { place, .. } = &self.state else {
            return None;
        };
        Some(match *place {
            Place::Fresh => CheckpointPermission::InvalidState,
            Place::Awaiting { action, .. } => checkpoint_allowed(self.dialect, action),
            Place::Idle { .. } => CheckpointPermission::Yes,
            Place::Finished { last } => checkpoint_allowed(self.dialect, last),
        })
    }

    /// Sends an action: checks that it may be said now, and appends its line to `out`.
    ///
    /// # Errors
    /// [`Misuse`] if it may not; then nothing is written and nothing changes.
    pub fn send(&mut self, action: &Action, out: &mut Vec<u8>) -> Result<(), Misuse> {
        self.begin(action.kind())?;
        codec::write_action(out, action, self.dialect);
        Ok(())
    }

    /// The state change of [`Session::send`] alone, for a caller that writes the bytes itself, as
    /// with a batch that is too large to be copied.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn begin(&mut self, action: ActionKind) -> Result<(), Misuse> {
        let place = match &self.state {
            State::Open(place) => *place,
            State::Owing { .. } => return Err(Misuse::ReplyOwed { action }),
            State::Broken { .. } | State::Closed | State::Ended(_) => {
                return Err(Misuse::Over { action });
            }
        };
        if !self.held.is_empty() {
            return Err(Misuse::Unheard { action });
        }
        self.check_order(place, action)?;
        self.state = State::Open(Place::Awaiting {
            action,
            word: action.wire_name(self.dialect),
            understood: false,
        });
        Ok(())
    }

    fn check_order(&self, place: Place, action: ActionKind) -> Result<(), Misuse> {
        use ActionKind::{Initialize, LeaseLost, ProcessRecords, ShardEnded, ShutdownRequested};
        if !self.accepts(action) {
            let dialect = self.dialect;
            return Err(Misuse::NotInDialect { action, dialect });
        }
        match (place, action) {
            (
                Place::Awaiting {
                    action: outstanding,
                    ..
                },
                _,
            ) => Err(Misuse::Unanswered {
                action,
                outstanding,
            }),
            (Place::Fresh, Initialize) => Ok(()),
            (Place::Fresh, _) => Err(Misuse::NotInitialized { action }),
            (_, Initialize) => Err(Misuse::InitializedBefore),
            // The child was told that the end is near and may have let go of what it needs.
            (
                Place::Idle {
                    last: ShutdownRequested,
                },
                ProcessRecords,
            ) => Err(Misuse::RecordsAfterShutdownRequested),
            (Place::Idle { .. }, _) => Ok(()),
            // Asked again when SHARD_END was not stored, or the lease went meanwhile.
            (Place::Finished { last: ShardEnded }, ShardEnded | LeaseLost) => Ok(()),
            (Place::Finished { last }, _) => Err(Misuse::AfterTheEnd { action, last }),
        }
    }

    /// Takes a line of the child's output, without its ending.
    pub fn hear(&mut self, line: &[u8]) -> Heard {
        let message = match FromChild::parse(line) {
            FromChild::Empty => return Heard::Empty,
            FromChild::Noise {
                looks_like_protocol,
            } => {
                return Heard::Noise {
                    looks_like_protocol,
                };
            }
            FromChild::Other { action } => return Heard::Ignored { action },
            FromChild::Status { response_for } => Held::Status(response_for),
            FromChild::Checkpoint(request) => Held::Checkpoint(request),
        };
        match self.state {
            State::Open(place) if self.held.is_empty() => self.take(place, message),
            State::Open(_) | State::Owing { .. } => self.hold(message, line.len()),
            State::Broken { .. } | State::Closed | State::Ended(_) => ignored(&message),
        }
    }

    /// As [`Session::hear`]; a line beyond the splitter's cap is bad output.
    pub fn hear_line(&mut self, line: Line<'_>) -> Heard {
        if line.truncated == 0 {
            return self.hear(line.bytes);
        }
        let bytes = (line.bytes.len() as u64).saturating_add(line.truncated);
        match self.state {
            State::Open(_) | State::Owing { .. } => self.broken(Bad::LineTooLong {
                bytes,
                kept: line.bytes.len(),
            }),
            State::Broken { .. } | State::Closed | State::Ended(_) => Heard::Noise {
                looks_like_protocol: false,
            },
        }
    }

    /// The next message that was held back while a reply was owed; `None` if there is none, or
    /// while a reply is owed (again).
    pub fn next_held(&mut self) -> Option<Heard> {
        let State::Open(place) = self.state else {
            return None;
        };
        let message = self.held.pop_front()?;
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
        Some(self.take(place, message))
    }

    /// Answers the owed request: appends the reply's line to `out`. Call [`Session::next_held`]
    /// afterwards.
    ///
    /// # Errors
    /// [`Misuse`] if no reply is owed, or the reply answers another request; then nothing is
    /// written and nothing changes.
    pub fn reply(&mut self, reply: &CheckpointReply, out: &mut Vec<u8>) -> Result<(), Misuse> {
        let State::Owing { place, request } = &self.state else {
            return Err(Misuse::NothingOwed);
        };
        if *request != reply.request {
            return Err(Misuse::OtherRequest);
        }
        let place = *place;
        codec::write_checkpoint_reply(out, reply);
        self.state = State::Open(place);
        Ok(())
    }

    /// The daemon has closed the child's input: from now on what the child says has no effect, and
    /// its end is in order.
    pub fn close(&mut self) {
        if let State::Open(_) | State::Owing { .. } = self.state {
            self.state = State::Closed;
            self.forget_held();
        }
    }

    /// The child's output has ended: what that means. Call it when all that was heard before has
    /// been dealt with, i.e. the owed reply given (its write may fail) and [`Session::next_held`]
    /// empty; called earlier, an action whose status is among them counts as unanswered. A second
    /// call repeats the verdict.
    pub fn eof(&mut self) -> Eof {
        let verdict = match &self.state {
            State::Open(place) | State::Owing { place, .. } => self.end_at(*place),
            State::Broken { during } => Eof::Failed { during: *during },
            State::Closed => Eof::Finished,
            State::Ended(verdict) => return *verdict,
        };
        self.forget_held();
        self.state = State::Ended(verdict);
        verdict
    }

    fn take(&mut self, place: Place, message: Held) -> Heard {
        match message {
            Held::Status(response_for) => self.status(place, response_for),
            Held::Checkpoint(request) => self.checkpoint(place, request),
        }
    }

    fn checkpoint(&mut self, mut place: Place, request: CheckpointRequest) -> Heard {
        if request.legacy && self.setting == DialectSetting::Auto {
            self.dialect = Dialect::P0;
            self.learn(Knowledge::Proof(Dialect::P0));
        }
        let heard = match &mut place {
            Place::Awaiting { understood, .. } => {
                *understood = true;
                Heard::Checkpoint(request.clone())
            }
            Place::Fresh | Place::Idle { .. } | Place::Finished { .. } => {
                Heard::UnsolicitedCheckpoint(request.clone())
            }
        };
        self.state = State::Owing { place, request };
        heard
    }

    fn status(&mut self, place: Place, response_for: Option<String>) -> Heard {
        match place {
            Place::Awaiting { action, word, .. } if response_for.as_deref() == Some(word) => {
                self.answered(action, word)
            }
            Place::Awaiting { action, word, .. } => {
                let bad = Bad::wrong_status(word, response_for);
                if action != ActionKind::ShutdownRequested {
                    return self.broken(bad);
                }
                self.state = State::Open(Place::Idle { last: action });
                Heard::BadOutput(bad)
            }
            Place::Fresh => self.broken(Bad::status_before_initialize(response_for)),
            Place::Idle { last } => self.broken(Bad::extra_status(last, response_for)),
            // Java reads no further than the last status, so nothing said after it does harm.
            Place::Finished { .. } => Heard::Ignored {
                action: "status".to_owned(),
            },
        }
    }

    fn answered(&mut self, action: ActionKind, word: &'static str) -> Heard {
        self.state = State::Open(if action.is_last() {
            Place::Finished { last: action }
        } else {
            Place::Idle { last: action }
        });
        // Only the words for the end tell the dialects apart.
        if action.is_last()
            && self.setting == DialectSetting::Auto
            && action.wire_name(self.dialect) == word
        {
            self.learn(Knowledge::Proof(self.dialect));
        }
        Heard::Answered(action)
    }

    fn hold(&mut self, message: Held, bytes: usize) -> Heard {
        self.held_bytes += bytes;
        if self.held_bytes > HELD_LIMIT {
            return self.broken(Bad::TooMuchAhead { limit: HELD_LIMIT });
        }
        self.held.push_back(message);
        Heard::Held
    }

    fn broken(&mut self, bad: Bad) -> Heard {
        self.state = State::Broken {
            during: self.outstanding(),
        };
        self.forget_held();
        Heard::BadOutput(bad)
    }

    fn outstanding(&self) -> Option<ActionKind> {
        match &self.state {
            State::Open(place) | State::Owing { place, .. } => place.outstanding(),
            State::Broken { during } => *during,
            State::Closed | State::Ended(_) => None,
        }
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }

    fn learn(&mut self, lesson: Knowledge) {
        if self.known != lesson {
            self.known = lesson;
            self.lesson = Some(lesson);
        }
    }
}

fn ignored(message: &Held) -> Heard {
    Heard::Ignored {
        action: match message {
            Held::Status(_) => "status".to_owned(),
            Held::Checkpoint(_) => "checkpoint".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;

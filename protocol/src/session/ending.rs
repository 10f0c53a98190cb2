//! What the end of a child's output means, and what it teaches under `auto`.

use super::{Eof, Place, Session};
use crate::message::{ActionKind, Dialect, DialectSetting, Knowledge};

impl Session {
    pub(super) fn end_at(&mut self, place: Place) -> Eof {
        match place {
            Place::Finished { .. } => Eof::Finished,
            Place::Idle {
                last: ActionKind::ShutdownRequested,
            } => Eof::LeftAfterShutdownRequested,
            Place::Fresh | Place::Idle { .. } => Eof::Failed { during: None },
            Place::Awaiting {
                action, understood, ..
            } => {
                let guessing = self.setting == DialectSetting::Auto
                    && !understood
                    && !matches!(self.known, Knowledge::Proof(_));
                if guessing {
                    self.guess(action)
                } else {
                    Eof::Failed {
                        during: Some(action),
                    }
                }
            }
        }
    }

    /// The child left without a word at an action that its dialect may not know
    /// (protocol.md §14.1, "Recover from a wrong guess"). A guess that fails in turn is forgotten:
    /// then the dialect is not the reason.
    fn guess(&mut self, action: ActionKind) -> Eof {
        let first = self.known == Knowledge::Nothing;
        let next = match first {
            true => Knowledge::Guess(Dialect::P1),
            false => Knowledge::Nothing,
        };
        match action {
            ActionKind::LeaseLost => {
                self.learn(next);
                Eof::LeaseLostUnanswered
            }
            ActionKind::ShardEnded => {
                self.learn(next);
                if first {
                    Eof::ShardEndedUnanswered
                } else {
                    Eof::Failed {
                        during: Some(action),
                    }
                }
            }
            ActionKind::ShutdownRequested => {
                self.learn(Knowledge::Guess(Dialect::P0));
                Eof::ShutdownRequestedUnanswered
            }
            ActionKind::Initialize | ActionKind::ProcessRecords => Eof::Failed {
                during: Some(action),
            },
        }
    }
}

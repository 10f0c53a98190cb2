//! What the end of a child means (`protocol.md` §11, §14.1): a pure decision.

use multilang_protocol::{ActionKind, Dialect, Eof, Knowledge};

use crate::os::process::Exit;
use crate::ports::ChildExit;

/// The end of a child that ended by itself, as the owner hears of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The outstanding action counts as answered: nothing was lost with the child.
    pub(super) answered: Option<ActionKind>,
    /// Then this.
    pub(super) exit: ChildExit,
    /// What is remembered for later children.
    pub(super) lesson: Option<Knowledge>,
}

/// Judges. `eof` is what the session says about the end of the output, `lesson` what it learned;
/// `was_asked_to_shut_down` is whether the child had answered `shutdownRequested`, and
/// `outstanding` what it was doing.
pub(super) fn judge(
    eof: Eof,
    exit: Exit,
    lesson: Option<Knowledge>,
    was_asked_to_shut_down: bool,
    outstanding: Option<ActionKind>,
) -> Verdict {
    let by_itself = match exit {
        Exit::Code(code) => ChildExit::Exited(code),
        Exit::Signal(number) => ChildExit::Signalled(number),
    };
    let failed = |lesson| Verdict {
        answered: None,
        exit: by_itself.clone(),
        lesson,
    };
    // An action that a child does not know makes it exit; what was killed has told nothing about
    // its dialect, beyond what was proven before.
    let is_proof = matches!(lesson, Some(Knowledge::Proof(_)));
    let told = lesson.filter(|_| is_proof || matches!(exit, Exit::Code(_)));
    let tell_lost = outstanding == Some(ActionKind::LeaseLost);
    if tell_lost && was_asked_to_shut_down {
        // It made its last checkpoint and left before, or instead of, the last words. They race;
        // the outcome must not.
        return Verdict {
            answered: outstanding,
            exit: ChildExit::Ended,
            lesson: told,
        };
    }
    match eof {
        Eof::Finished | Eof::Failed { .. } => failed(told),
        Eof::LeftAfterShutdownRequested => Verdict {
            answered: None,
            exit: ChildExit::Ended,
            lesson: told,
        },
        Eof::LeaseLostUnanswered | Eof::ShutdownRequestedUnanswered | Eof::ShardEndedUnanswered
            if matches!(exit, Exit::Signal(_)) =>
        {
            failed(told)
        }
        Eof::LeaseLostUnanswered => Verdict {
            answered: Some(ActionKind::LeaseLost),
            exit: older(lesson, ChildExit::Ended),
            lesson,
        },
        Eof::ShutdownRequestedUnanswered | Eof::ShardEndedUnanswered => Verdict {
            answered: None,
            exit: older(lesson, by_itself.clone()),
            lesson,
        },
    }
}

/// A lesson that names an older dialect, or else what there is to say without one.
fn older(lesson: Option<Knowledge>, otherwise: ChildExit) -> ChildExit {
    match lesson {
        Some(Knowledge::Guess(dialect) | Knowledge::Proof(dialect)) if dialect != Dialect::P2 => {
            ChildExit::SpeaksOlderProtocol(dialect)
        }
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P1: Option<Knowledge> = Some(Knowledge::Guess(Dialect::P1));
    const P0: Option<Knowledge> = Some(Knowledge::Guess(Dialect::P0));
    const PROOF: Option<Knowledge> = Some(Knowledge::Proof(Dialect::P0));
    const FORGOTTEN: Option<Knowledge> = Some(Knowledge::Nothing);

    #[test]
    fn ends_by_table() {
        use ActionKind::{LeaseLost, ProcessRecords, ShardEnded, ShutdownRequested};
        use ChildExit::{Ended, Exited, Signalled, SpeaksOlderProtocol};
        use Eof::*;
        let failed = |during| Failed { during };
        let (one, killed) = (Exit::Code(1), Exit::Signal(9));
        let older = |dialect| SpeaksOlderProtocol(dialect);
        type Row = (
            (Eof, Exit, Option<Knowledge>, bool, Option<ActionKind>),
            (Option<ActionKind>, ChildExit, Option<Knowledge>),
        );
        #[rustfmt::skip]
        let table: [Row; 17] = [
            ((failed(None), Exit::Code(0), None, false, None), (None, Exited(0), None)),
            ((failed(Some(ProcessRecords)), one, None, false, Some(ProcessRecords)), (None, Exited(1), None)),
            ((failed(Some(ProcessRecords)), killed, PROOF, false, Some(ProcessRecords)), (None, Signalled(9), PROOF)),
            ((Finished, Exit::Code(0), None, false, None), (None, Exited(0), None)),
            ((LeftAfterShutdownRequested, one, None, true, None), (None, Ended, None)),
            // Said and left at the same time: as if it had been answered, under any setting.
            ((LeaseLostUnanswered, one, P1, true, Some(LeaseLost)), (Some(LeaseLost), Ended, P1)),
            ((failed(Some(LeaseLost)), one, None, true, Some(LeaseLost)), (Some(LeaseLost), Ended, None)),
            ((failed(Some(LeaseLost)), killed, None, true, Some(LeaseLost)), (Some(LeaseLost), Ended, None)),
            // Without having been asked to shut down.
            ((failed(Some(LeaseLost)), one, None, false, Some(LeaseLost)), (None, Exited(1), None)),
            ((LeaseLostUnanswered, one, P1, false, Some(LeaseLost)), (Some(LeaseLost), older(Dialect::P1), P1)),
            ((LeaseLostUnanswered, one, FORGOTTEN, false, Some(LeaseLost)), (Some(LeaseLost), Ended, FORGOTTEN)),
            ((LeaseLostUnanswered, killed, P1, false, Some(LeaseLost)), (None, Signalled(9), None)),
            ((ShutdownRequestedUnanswered, one, P0, false, Some(ShutdownRequested)), (None, older(Dialect::P0), P0)),
            ((ShutdownRequestedUnanswered, killed, P0, false, Some(ShutdownRequested)), (None, Signalled(9), None)),
            ((ShardEndedUnanswered, one, P1, false, Some(ShardEnded)), (None, older(Dialect::P1), P1)),
            ((ShardEndedUnanswered, killed, P1, false, Some(ShardEnded)), (None, Signalled(9), None)),
            ((failed(Some(ShardEnded)), one, FORGOTTEN, false, Some(ShardEnded)), (None, Exited(1), FORGOTTEN)),
        ];
        for (given, (answered, exit, lesson)) in table {
            let (eof, ended, learned, asked, outstanding) = given;
            assert_eq!(
                judge(eof, ended, learned, asked, outstanding),
                Verdict {
                    answered,
                    exit,
                    lesson
                },
                "{given:?}"
            );
        }
    }
}

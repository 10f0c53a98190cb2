//! What can go wrong in a conversation: on the daemon's side, on the child's, and at its end.

use crate::message::{ActionKind, Dialect};

/// Characters of a child's own text that an error sentence repeats.
const QUOTED: usize = 100;

/// The daemon's own mistake: an action or reply that may not be said now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The first action must be `initialize`.
    #[error(
        "`{action}` cannot be sent to a child that was not initialized: send `initialize` first"
    )]
    NotInitialized {
        /// What was to be sent.
        action: ActionKind,
    },
    /// `initialize` comes once in a child's life.
    #[error("`initialize` was sent to this child before: start a new child instead")]
    InitializedBefore,
    /// One action at a time.
    #[error("`{action}` cannot be sent while `{outstanding}` is unanswered: wait for its status")]
    Unanswered {
        /// What was to be sent.
        action: ActionKind,
        /// What the child still works on.
        outstanding: ActionKind,
    },
    /// A checkpoint reply goes before everything else.
    #[error("`{action}` cannot be sent while a checkpoint reply is owed: reply first")]
    ReplyOwed {
        /// What was to be sent.
        action: ActionKind,
    },
    /// The child said something that was not looked at yet.
    #[error(
        "`{action}` cannot be sent while messages of the child are held back: take them with next_held first"
    )]
    Unheard {
        /// What was to be sent.
        action: ActionKind,
    },
    /// The child may have let go of what it needs to work.
    #[error(
        "`processRecords` cannot follow `shutdownRequested`: only the end of the lease or shard can"
    )]
    RecordsAfterShutdownRequested,
    /// Nothing follows the last action.
    #[error("`{action}` cannot be sent after `{last}`, which is the last action of a child")]
    AfterTheEnd {
        /// What was to be sent.
        action: ActionKind,
        /// The last action.
        last: ActionKind,
    },
    /// The child would die of it.
    #[error("`{action}` is unknown to children of dialect {dialect}: leave it out")]
    NotInDialect {
        /// What was to be sent.
        action: ActionKind,
        /// What the child speaks.
        dialect: Dialect,
    },
    /// The child broke the rules, its input is closed, or its output has ended.
    #[error("`{action}` cannot be sent: the conversation with this child is over")]
    Over {
        /// What was to be sent.
        action: ActionKind,
    },
    /// There is no request to answer.
    #[error("no checkpoint reply is owed to this child")]
    NothingOwed,
    /// The reply must answer the request that is owed.
    #[error("the checkpoint reply answers another request than the one that is owed")]
    OtherRequest,
}

/// The child's mistake: output that makes the rest of the conversation meaningless
/// (protocol.md §6, and §21 #23 for naming both actions).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A status for another action than the outstanding one, or for none.
    #[error("the child answered `{awaited}` with a status {}: a status must name the action that it answers", named(.got))]
    WrongStatus {
        /// The wire name of the outstanding action.
        awaited: &'static str,
        /// What the status named, shortened; `None` if nothing or null.
        got: Option<String>,
    },
    /// A status while no action was outstanding.
    #[error("the child sent a status {} after `{last}` was answered and before the next action: each action is answered by exactly one status", named(.got))]
    ExtraStatus {
        /// The action answered last.
        last: ActionKind,
        /// What the status named, shortened; `None` if nothing or null.
        got: Option<String>,
    },
    /// A status before there was any action.
    #[error("the child sent a status {} before `initialize`: a status answers an action that was read from STDIN", named(.got))]
    StatusBeforeInitialize {
        /// What the status named, shortened; `None` if nothing or null.
        got: Option<String>,
    },
    /// A line beyond the cap.
    #[error(
        "the child printed a line of {bytes} bytes on STDOUT, of which only {kept} were kept: end lines, or print to STDERR"
    )]
    LineTooLong {
        /// Its length.
        bytes: u64,
        /// How much of it was kept.
        kept: usize,
    },
    /// A flood of messages while a checkpoint reply was owed.
    #[error(
        "the child sent more than {limit} bytes of messages while one of its checkpoints was being stored: wait for the reply to a checkpoint before going on"
    )]
    TooMuchAhead {
        /// The limit in bytes.
        limit: usize,
    },
}

impl Bad {
    pub(super) fn wrong_status(awaited: &'static str, got: Option<String>) -> Self {
        Bad::WrongStatus {
            awaited,
            got: shortened(got),
        }
    }

    pub(super) fn extra_status(last: ActionKind, got: Option<String>) -> Self {
        Bad::ExtraStatus {
            last,
            got: shortened(got),
        }
    }

    pub(super) fn status_before_initialize(got: Option<String>) -> Self {
        Bad::StatusBeforeInitialize {
            got: shortened(got),
        }
    }
}

fn shortened(text: Option<String>) -> Option<String> {
    text.map(|text| match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    })
}

fn named(got: &Option<String>) -> String {
    match got {
        Some(name) => format!("for `{}`", name.escape_debug()),
        None => "without `responseFor`".to_owned(),
    }
}

/// What the end of a child's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eof {
    /// In order: the last action was answered, or the daemon had closed the child's input.
    Finished,
    /// The child failed: the policy for failed children applies.
    Failed {
        /// The unanswered action; `None` between actions.
        during: Option<ActionKind>,
    },
    /// The child answered `shutdownRequested` and left by itself. All is said: go on without
    /// `leaseLost`. (Java fails at the `leaseLost` that it cannot deliver.)
    LeftAfterShutdownRequested,
    /// Under `auto`: the child left at `leaseLost` (or `shutdown`) without an answer. Harmless, as
    /// the lease is gone: warn, and absorb [`super::Session::learned`].
    LeaseLostUnanswered,
    /// Under `auto`: the child left at `shutdownRequested` without an answer; it probably does not
    /// know it. No checkpoint was made: go on without `leaseLost`, absorb what was learned.
    ShutdownRequestedUnanswered,
    /// Under `auto`: the child left at `shardEnded` without an answer; it probably speaks P1.
    /// Absorb what was learned and spawn again: `initialize` from the stored checkpoint, deliver
    /// what follows it, then the end of the shard.
    ShardEndedUnanswered,
}

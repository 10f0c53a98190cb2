//! The words of the conversation: dialects, actions, checkpoint requests and replies.

use std::fmt;
use std::str::FromStr;

use crate::batch::EncodedBatch;

/// Names that a checkpoint reply's `error` may carry (protocol.md §8). Clients compare them
/// literally: they are the simple names of Java's exception classes.
pub mod error_name {
    /// The lease is not, or no longer, held. Not worth a retry.
    pub const SHUTDOWN: &str = "ShutdownException";
    /// DynamoDB throttled the write. Worth a retry after a pause.
    pub const THROTTLING: &str = "ThrottlingException";
    /// DynamoDB failed in another way: access, time-out, outage.
    pub const DEPENDENCY: &str = "KinesisClientLibDependencyException";
    /// The lease table is missing, or this action knows no checkpoint.
    pub const INVALID_STATE: &str = "InvalidStateException";
    /// The value is no sequence number, or out of range.
    pub const ILLEGAL_ARGUMENT: &str = "IllegalArgumentException";
    /// A failure on the client side of the network (connection, DNS, TLS, no credentials).
    pub const RUNTIME: &str = "RuntimeException";
}

/// A generation of the protocol (protocol.md §14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// KCL up to 1.7.1: requests carry `checkpoint`, the end is `shutdown`, and
    /// `shutdownRequested` is unknown. Clients between 1.7.2 and 1.7.5 are served by it too.
    P0,
    /// KCL 1.7.6 to 1.15: `sequenceNumber` and `subSequenceNumber`, the end is `shutdown`.
    P1,
    /// KCL 2 and 3: `leaseLost` and `shardEnded`.
    P2,
}

impl Dialect {
    /// The word used in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::P0 => "p0",
            Dialect::P1 => "p1",
            Dialect::P2 => "p2",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The property `multilangProtocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DialectSetting {
    /// Start with what is known of the executable (P2 if nothing is) and learn from its behaviour.
    #[default]
    Auto,
    /// Speak this one, whatever the child does.
    Fixed(Dialect),
}

impl fmt::Display for DialectSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialectSetting::Auto => f.write_str("auto"),
            DialectSetting::Fixed(dialect) => dialect.fmt(f),
        }
    }
}

/// The value of `multilangProtocol` is none of the four words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no protocol dialect: use auto, p0, p1 or p2")]
pub struct UnknownDialect {
    /// What was given instead.
    pub given: String,
}

impl FromStr for DialectSetting {
    type Err = UnknownDialect;

    /// Reads `auto`, `p0`, `p1` or `p2`; case and surrounding blanks do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(DialectSetting::Auto),
            "p0" => Ok(DialectSetting::Fixed(Dialect::P0)),
            "p1" => Ok(DialectSetting::Fixed(Dialect::P1)),
            "p2" => Ok(DialectSetting::Fixed(Dialect::P2)),
            _ => Err(UnknownDialect {
                given: text.to_owned(),
            }),
        }
    }
}

/// What is known about the dialect of the configured executable. All children of a daemon run the
/// same executable, so one value serves them all (protocol.md §14.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Knowledge {
    /// Nothing yet: P2 is assumed.
    #[default]
    Nothing,
    /// Inferred from a child that left without an answer, or from the way the daemon was started.
    Guess(Dialect),
    /// Shown by a child: it used the `checkpoint` key, or answered the word for the end.
    Proof(Dialect),
}

impl Knowledge {
    /// The dialect to start a conversation with.
    pub fn dialect(self) -> Dialect {
        match self {
            Knowledge::Nothing => Dialect::P2,
            Knowledge::Guess(dialect) | Knowledge::Proof(dialect) => dialect,
        }
    }

    /// Takes over what a session learned. A proof is never replaced by less than a proof, because
    /// sessions run side by side and end in any order.
    pub fn absorb(&mut self, lesson: Knowledge) {
        if !matches!(self, Knowledge::Proof(_)) || matches!(lesson, Knowledge::Proof(_)) {
            *self = lesson;
        }
    }
}

/// What the daemon asks of a child; each is answered by exactly one status (protocol.md §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// First and once, right after the start of the child.
    Initialize {
        /// The shard the child will serve.
        shard_id: String,
        /// Where it starts: the stored checkpoint, digits or a sentinel such as `TRIM_HORIZON`.
        sequence_number: String,
        /// 0 unless the checkpoint lies inside a KPL aggregate.
        sub_sequence_number: u64,
    },
    /// A batch of records.
    ProcessRecords(EncodedBatch),
    /// The worker stops or hands this lease over; `LeaseLost` follows.
    ShutdownRequested,
    /// The lease is gone: the last action.
    LeaseLost,
    /// The end of the shard is reached: the last action, to be checkpointed by the child.
    ShardEnded,
}

impl Action {
    /// The kind, without the data.
    pub fn kind(&self) -> ActionKind {
        match self {
            Action::Initialize { .. } => ActionKind::Initialize,
            Action::ProcessRecords(_) => ActionKind::ProcessRecords,
            Action::ShutdownRequested => ActionKind::ShutdownRequested,
            Action::LeaseLost => ActionKind::LeaseLost,
            Action::ShardEnded => ActionKind::ShardEnded,
        }
    }
}

/// An [`Action`] without its data. Displayed by its P2 name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// See [`Action::Initialize`].
    Initialize,
    /// See [`Action::ProcessRecords`].
    ProcessRecords,
    /// See [`Action::ShutdownRequested`].
    ShutdownRequested,
    /// See [`Action::LeaseLost`].
    LeaseLost,
    /// See [`Action::ShardEnded`].
    ShardEnded,
}

impl ActionKind {
    /// All kinds, in the order of a child's life.
    pub const ALL: [ActionKind; 5] = [
        ActionKind::Initialize,
        ActionKind::ProcessRecords,
        ActionKind::ShutdownRequested,
        ActionKind::LeaseLost,
        ActionKind::ShardEnded,
    ];

    /// The value of `action` on the wire, and of `responseFor` in its status: both ends are
    /// `shutdown` in P0 and P1 (protocol.md §14).
    pub fn wire_name(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (ActionKind::Initialize, _) => "initialize",
            (ActionKind::ProcessRecords, _) => "processRecords",
            (ActionKind::ShutdownRequested, _) => "shutdownRequested",
            (ActionKind::LeaseLost, Dialect::P2) => "leaseLost",
            (ActionKind::ShardEnded, Dialect::P2) => "shardEnded",
            (ActionKind::LeaseLost | ActionKind::ShardEnded, Dialect::P0 | Dialect::P1) => {
                "shutdown"
            }
        }
    }

    /// The `reason` that goes with the wire name `shutdown`; `None` where there is none.
    pub fn wire_reason(self, dialect: Dialect) -> Option<&'static str> {
        match (self, dialect) {
            (ActionKind::LeaseLost, Dialect::P0 | Dialect::P1) => Some("ZOMBIE"),
            (ActionKind::ShardEnded, Dialect::P0 | Dialect::P1) => Some("TERMINATE"),
            _ => None,
        }
    }

    /// Whether a child of this dialect knows the action: P0 dies of `shutdownRequested`.
    pub fn known_in(self, dialect: Dialect) -> bool {
        !(self == ActionKind::ShutdownRequested && dialect == Dialect::P0)
    }

    /// Whether this is the last action of a child's life.
    pub fn is_last(self) -> bool {
        matches!(self, ActionKind::LeaseLost | ActionKind::ShardEnded)
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name(Dialect::P2))
    }
}

/// A child's wish to store its progress. Values as the child gave them, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckpointRequest {
    /// `None` (null or absent) stands for everything delivered so far.
    pub sequence_number: Option<String>,
    /// `None` (null or absent) stands for 0. May be negative: refuse it as
    /// [`error_name::ILLEGAL_ARGUMENT`].
    pub sub_sequence_number: Option<i64>,
    /// The child used P0's key `checkpoint` and no `sequenceNumber`; the reply then carries both.
    pub legacy: bool,
}

/// The answer to one [`CheckpointRequest`]. Echoes the request's own values, not what was stored
/// (protocol.md §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReply {
    /// The request this answers.
    pub request: CheckpointRequest,
    /// `None`: stored, or nothing to store. Otherwise a name of [`error_name`] or any other.
    pub error: Option<String>,
    /// A sentence for the child's log. Sent as the additional scalar `errorMessage`, and only
    /// beside an `error`.
    pub error_message: Option<String>,
}

impl CheckpointReply {
    /// The checkpoint is stored, or there was nothing to store.
    pub fn stored(request: CheckpointRequest) -> Self {
        CheckpointReply {
            request,
            error: None,
            error_message: None,
        }
    }

    /// The checkpoint failed: `name` for the child's program, `message` for its reader.
    pub fn refused(
        request: CheckpointRequest,
        name: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        CheckpointReply {
            request,
            error: Some(name.into()),
            error_message: Some(message.into()),
        }
    }
}

/// Whether a checkpoint may be tried during an action at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckpointPermission {
    /// Try it, and answer with the outcome.
    Yes,
    /// Answer [`error_name::INVALID_STATE`] without trying.
    InvalidState,
    /// Answer [`error_name::SHUTDOWN`] without trying.
    Shutdown,
}

impl CheckpointPermission {
    /// The error to answer with, `None` where the checkpoint may be tried.
    pub fn error_name(self) -> Option<&'static str> {
        match self {
            CheckpointPermission::Yes => None,
            CheckpointPermission::InvalidState => Some(error_name::INVALID_STATE),
            CheckpointPermission::Shutdown => Some(error_name::SHUTDOWN),
        }
    }
}

/// Which checkpoints KCL lets a child ask for (protocol.md §4 and §14): none during `initialize`;
/// none after the loss of the lease, where P0 and P1 hear the name that a lost lease has in KCL 1.
pub fn checkpoint_allowed(dialect: Dialect, during: ActionKind) -> CheckpointPermission {
    match (during, dialect) {
        (ActionKind::Initialize, _) => CheckpointPermission::InvalidState,
        (ActionKind::LeaseLost, Dialect::P2) => CheckpointPermission::InvalidState,
        (ActionKind::LeaseLost, Dialect::P0 | Dialect::P1) => CheckpointPermission::Shutdown,
        (
            ActionKind::ProcessRecords | ActionKind::ShutdownRequested | ActionKind::ShardEnded,
            _,
        ) => CheckpointPermission::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_reads_its_four_words_and_prints_them_back() {
        for (text, expected) in [
            ("auto", DialectSetting::Auto),
            (" P0 ", DialectSetting::Fixed(Dialect::P0)),
            ("p1", DialectSetting::Fixed(Dialect::P1)),
            ("p2", DialectSetting::Fixed(Dialect::P2)),
        ] {
            let setting: DialectSetting = text.parse().unwrap();
            assert_eq!(setting, expected);
            assert_eq!(setting.to_string(), text.trim().to_ascii_lowercase());
        }
        let error = "v2".parse::<DialectSetting>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`v2` is no protocol dialect: use auto, p0, p1 or p2"
        );
    }

    #[test]
    fn wire_names_by_dialect() {
        use ActionKind::*;
        let table = [
            (Initialize, "initialize", "initialize"),
            (ProcessRecords, "processRecords", "processRecords"),
            (ShutdownRequested, "shutdownRequested", "shutdownRequested"),
            (LeaseLost, "shutdown", "leaseLost"),
            (ShardEnded, "shutdown", "shardEnded"),
        ];
        assert_eq!(table.map(|(kind, ..)| kind), ActionKind::ALL);
        for (kind, old, new) in table {
            assert_eq!(kind.wire_name(Dialect::P0), old);
            assert_eq!(kind.wire_name(Dialect::P1), old);
            assert_eq!(kind.wire_name(Dialect::P2), new);
            assert_eq!(kind.to_string(), new);
        }
        assert_eq!(LeaseLost.wire_reason(Dialect::P1), Some("ZOMBIE"));
        assert_eq!(ShardEnded.wire_reason(Dialect::P0), Some("TERMINATE"));
        assert_eq!(ShardEnded.wire_reason(Dialect::P2), None);
        assert_eq!(Initialize.wire_reason(Dialect::P0), None);
    }

    #[test]
    fn checkpoints_by_action_and_dialect() {
        use CheckpointPermission::*;
        // P0, P1, P2
        let table = [
            (ActionKind::Initialize, [InvalidState; 3]),
            (ActionKind::ProcessRecords, [Yes; 3]),
            (ActionKind::ShutdownRequested, [Yes; 3]),
            (ActionKind::LeaseLost, [Shutdown, Shutdown, InvalidState]),
            (ActionKind::ShardEnded, [Yes; 3]),
        ];
        for (kind, expected) in table {
            let found =
                [Dialect::P0, Dialect::P1, Dialect::P2].map(|d| checkpoint_allowed(d, kind));
            assert_eq!(found, expected, "{kind}");
        }
    }

    #[test]
    fn a_proof_is_only_replaced_by_a_proof() {
        use Knowledge::*;
        let (a, b) = (Dialect::P0, Dialect::P2);
        let table = [
            (Nothing, Guess(a), Guess(a)),
            (Guess(a), Nothing, Nothing),
            (Guess(a), Proof(b), Proof(b)),
            (Proof(a), Guess(b), Proof(a)),
            (Proof(a), Nothing, Proof(a)),
            (Proof(a), Proof(b), Proof(b)),
        ];
        for (mut known, lesson, expected) in table {
            known.absorb(lesson);
            assert_eq!(known, expected);
        }
    }
}

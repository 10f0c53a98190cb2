//! Which checkpoint is legal and what it writes (`leases.md` F, `protocol.md` §7, §8).

use crate::core::laws;
use crate::core::sequence::{ExtendedSequenceNumber, Position};

/// The errors a child may be told, by the names that client libraries know (`protocol.md` §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckpointErrorName {
    /// The lease is not held (any more): stop, another worker goes on.
    Shutdown,
    /// DynamoDB throttles: back off and try again.
    Throttling,
    /// The lease table is missing, or checkpoints are not allowed in this phase.
    InvalidState,
    /// Any other failure of DynamoDB or the way to it: try again.
    Dependency,
    /// The request itself is wrong.
    IllegalArgument,
}

impl CheckpointErrorName {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "ShutdownException",
            Self::Throttling => "ThrottlingException",
            Self::InvalidState => "InvalidStateException",
            Self::Dependency => "KinesisClientLibDependencyException",
            Self::IllegalArgument => "IllegalArgumentException",
        }
    }
}

/// Why a checkpoint was not made: the name for the child's library, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", name.as_str())]
pub struct CheckpointError {
    /// The name on the wire.
    pub name: CheckpointErrorName,
    /// What happened, on what, what to do.
    pub message: String,
}

impl CheckpointError {
    /// An error of this name.
    #[must_use]
    pub fn new(name: CheckpointErrorName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
        }
    }
}

/// What a child asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The sequence number, `None` for "everything you gave me".
    pub sequence_number: Option<&'a str>,
    /// Index inside an aggregate; absent means 0.
    pub sub_sequence_number: Option<i64>,
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write this position into the lease.
    Write(ExtendedSequenceNumber),
    /// Success without a write: it is there already, or nothing was delivered yet.
    AlreadyThere,
    /// Refuse.
    Refuse(CheckpointError),
}

/// Where a shard consumer stands (`leases.md` F.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The last checkpoint that is in the table.
    last: ExtendedSequenceNumber,
    /// The largest record the child was given.
    largest_delivered: ExtendedSequenceNumber,
    /// Whether the child was told that the shard ended, so that SHARD_END may be written.
    at_shard_end: bool,
}

impl Progress {
    /// The state right after `initialize` with this checkpoint.
    #[must_use]
    pub fn from_checkpoint(checkpoint: ExtendedSequenceNumber) -> Self {
        Self {
            last: checkpoint.clone(),
            largest_delivered: checkpoint,
            at_shard_end: false,
        }
    }

    /// The last checkpoint in the table.
    #[must_use]
    pub fn last(&self) -> &ExtendedSequenceNumber {
        &self.last
    }

    /// The largest record the child was given, or the checkpoint it started from.
    #[must_use]
    pub fn largest_delivered(&self) -> &ExtendedSequenceNumber {
        &self.largest_delivered
    }

    /// Whether SHARD_END is in the table.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.last.is_shard_end()
    }

    /// Records that a batch up to this record is about to be sent; before, not after (F.2, §19 #10).
    pub fn delivering(&mut self, up_to: &ExtendedSequenceNumber) {
        if *up_to > self.largest_delivered {
            self.largest_delivered = up_to.clone();
        }
    }

    /// Records that `shardEnded` is about to be sent.
    pub fn shard_ended(&mut self) {
        self.at_shard_end = true;
    }

    /// Records that this position is in the table.
    pub fn written(&mut self, checkpoint: ExtendedSequenceNumber) {
        self.last = checkpoint;
    }

    /// Whether the laws allow this checkpoint now (I.15, I.16, I.19).
    #[must_use]
    pub fn permits(&self, next: &ExtendedSequenceNumber) -> bool {
        laws::checkpoint_stays_or_advances(&self.last, next)
            && laws::checkpoint_was_earned(next, &self.largest_delivered, self.at_shard_end)
    }

    /// Decides about a request.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let sub = match request.sub_sequence_number.map(u64::try_from) {
            None => None,
            Some(Ok(sub)) => Some(sub),
            Some(Err(_)) => {
                return self.refuse(format!(
                    "the sub-sequence number {} is negative",
                    request.sub_sequence_number.unwrap_or_default()
                ));
            }
        };
        let Some(text) = request.sequence_number else {
            return if self.at_shard_end {
                self.write(ExtendedSequenceNumber::SHARD_END)
            } else {
                self.write(self.largest_delivered.clone())
            };
        };
        let wanted = match text.parse::<Position>() {
            Ok(position) => ExtendedSequenceNumber {
                position,
                sub_sequence: sub.unwrap_or(0),
            },
            Err(error) => return self.refuse(error.to_string()),
        };
        if self.at_shard_end && self.names_the_end(&wanted, sub.is_some()) {
            return self.write(ExtendedSequenceNumber::SHARD_END);
        }
        if wanted == self.last {
            return Decision::AlreadyThere;
        }
        if wanted < self.last {
            return self.refuse(format!(
                "{wanted} lies before the last checkpoint {}; checkpoints never go back",
                self.last
            ));
        }
        if wanted > self.largest_delivered {
            return self.refuse(format!(
                "{wanted} lies behind {}, the last record this child was given",
                self.largest_delivered
            ));
        }
        self.write(wanted)
    }

    /// At the end of a shard its last record stands for the end, also when only its sequence number is
    /// given (Node, Ruby and .NET cannot name a sub-sequence), and also when it is checkpointed already
    /// (`leases.md` F.3: Java swallows that one and never ends the shard).
    fn names_the_end(&self, wanted: &ExtendedSequenceNumber, sub_given: bool) -> bool {
        wanted.is_shard_end()
            || *wanted == self.largest_delivered
            || (!sub_given && wanted.position == self.largest_delivered.position)
    }

    fn write(&self, wanted: ExtendedSequenceNumber) -> Decision {
        if wanted == self.last {
            Decision::AlreadyThere
        } else {
            Decision::Write(wanted)
        }
    }

    fn refuse(&self, message: String) -> Decision {
        Decision::Refuse(CheckpointError::new(
            CheckpointErrorName::IllegalArgument,
            message,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sequence::SequenceNumber;
    use proptest::prelude::*;

    fn esn(text: &str) -> ExtendedSequenceNumber {
        let (position, sub) = text.split_once('/').unwrap_or((text, "0"));
        ExtendedSequenceNumber {
            position: position.parse().unwrap(),
            sub_sequence: sub.parse().unwrap(),
        }
    }

    fn progress(last: &str, delivered: &str, at_shard_end: bool) -> Progress {
        Progress {
            last: esn(last),
            largest_delivered: esn(delivered),
            at_shard_end,
        }
    }

    #[test]
    fn the_rules_of_f3() {
        // last checkpoint, delivered up to, at shard end, asked (text, sub) -> outcome
        type Case<'a> = (
            &'a str,
            &'a str,
            bool,
            Option<&'a str>,
            Option<i64>,
            &'a str,
        );
        let cases: &[Case<'_>] = &[
            // Without a number: everything delivered.
            ("5", "9", false, None, None, "write 9"),
            ("5", "9/3", false, None, None, "write 9/3"),
            ("9", "9", false, None, None, "there"),
            ("TRIM_HORIZON", "TRIM_HORIZON", false, None, None, "there"),
            // In range.
            ("5", "9", false, Some("5"), None, "there"),
            ("5", "9", false, Some("6"), None, "write 6"),
            ("5", "9", false, Some("9"), None, "write 9"),
            ("5", "9/3", false, Some("9"), None, "write 9"),
            ("5", "9/3", false, Some("9"), Some(2), "write 9/2"),
            ("LATEST", "9", false, Some("6"), Some(0), "write 6"),
            ("LATEST", "9", false, Some("LATEST"), None, "there"),
            // Out of range.
            ("5", "9", false, Some("4"), None, "refuse"),
            ("5", "9", false, Some("10"), None, "refuse"),
            ("5", "9/3", false, Some("9"), Some(4), "refuse"),
            ("5/5", "5/5", false, Some("5"), None, "refuse"),
            ("5", "9", false, Some("TRIM_HORIZON"), None, "refuse"),
            ("5", "9", false, Some("SHARD_END"), None, "refuse"),
            (
                "TRIM_HORIZON",
                "TRIM_HORIZON",
                false,
                Some("1"),
                None,
                "refuse",
            ),
            // Not a number.
            ("5", "9", false, Some(""), None, "refuse"),
            ("5", "9", false, Some("abc"), None, "refuse"),
            ("5", "9", false, Some("6"), Some(-1), "refuse"),
            ("5", "9", false, None, Some(-1), "refuse"),
            // At the end of the shard.
            ("5", "9", true, None, None, "write SHARD_END"),
            ("5", "9", true, Some("SHARD_END"), None, "write SHARD_END"),
            ("5", "9", true, Some("9"), None, "write SHARD_END"),
            // #211: the last record is checkpointed already.
            ("9", "9", true, Some("9"), None, "write SHARD_END"),
            ("9/3", "9/3", true, Some("9"), Some(3), "write SHARD_END"),
            // Node, Ruby, .NET name no sub-sequence.
            ("9/3", "9/3", true, Some("9"), None, "write SHARD_END"),
            ("5", "9/3", true, Some("9"), Some(1), "write 9/1"),
            ("5", "9", true, Some("7"), None, "write 7"),
            ("5", "9", true, Some("10"), None, "refuse"),
            ("SHARD_END", "9", true, None, None, "there"),
            // An empty shard.
            (
                "TRIM_HORIZON",
                "TRIM_HORIZON",
                true,
                None,
                None,
                "write SHARD_END",
            ),
            (
                "TRIM_HORIZON",
                "TRIM_HORIZON",
                true,
                Some("TRIM_HORIZON"),
                None,
                "write SHARD_END",
            ),
        ];
        for (last, delivered, at_end, sequence_number, sub, outcome) in cases {
            let decision = progress(last, delivered, *at_end).decide(&Request {
                sequence_number: *sequence_number,
                sub_sequence_number: *sub,
            });
            let got = match &decision {
                Decision::Write(to) => format!("write {to}"),
                Decision::AlreadyThere => "there".to_owned(),
                Decision::Refuse(error) => {
                    assert_eq!(error.name, CheckpointErrorName::IllegalArgument);
                    "refuse".to_owned()
                }
            };
            assert_eq!(
                &got, outcome,
                "{last} {delivered} {at_end} {sequence_number:?} {sub:?}: {decision:?}"
            );
        }
    }

    proptest! {
        /// I.15, I.16: whatever a child asks, what is written never goes back and never passes what it got.
        #[test]
        fn checkpoints_never_go_back_nor_too_far(
            start in 0u64..50,
            steps in prop::collection::vec((0u8..3, 0u64..100, 0u64..4), 0..60),
        ) {
            let at = |n: u64, sub: u64| ExtendedSequenceNumber::record(SequenceNumber::parse(&n.to_string()).unwrap(), sub);
            let mut progress = Progress::from_checkpoint(at(start, 0));
            let mut delivered = at(start, 0);
            for (kind, number, sub) in steps {
                match kind {
                    0 => { let to = at(number, sub); progress.delivering(&to); if to > delivered { delivered = to; } }
                    1 => if let Decision::Write(to) = progress.decide(&Request { sequence_number: None, sub_sequence_number: None }) {
                        prop_assert!(to > *progress.last() && to <= delivered);
                        progress.written(to);
                    },
                    _ => if let Decision::Write(to) = progress.decide(&Request { sequence_number: Some(&number.to_string()), sub_sequence_number: Some(sub as i64) }) {
                        prop_assert!(to > *progress.last() && to <= delivered);
                        progress.written(to);
                    },
                }
            }
        }
    }
}

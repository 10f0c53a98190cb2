//! Sequence numbers and positions in a shard: their values, sentinels and order.
//!
//! Rules: `leases.md` F.1 and `protocol.md` §7. A Kinesis sequence number has up to 56 digits and in
//! principle 186 bits, so it is kept as its digits and compared by length, then text.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// A Kinesis sequence number: decimal digits of any length, kept as the service wrote them.
///
/// Leading zeros mean nothing to comparisons. They are kept all the same, because a service that
/// writes them (an emulator; AWS does not) wants them back.
#[derive(Clone)]
pub struct SequenceNumber(Arc<str>);

/// What is wrong with a text that should be a sequence number or a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is neither a sequence number (decimal digits) nor TRIM_HORIZON, LATEST, AT_TIMESTAMP or SHARD_END"
)]
pub struct InvalidPosition {
    /// The text as it was given, shortened to a readable length.
    pub text: String,
}

impl InvalidPosition {
    fn new(text: &str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
        }
    }
}

impl SequenceNumber {
    /// Takes decimal digits.
    ///
    /// # Errors
    /// Anything but one or more ASCII digits is refused, the empty text too.
    pub fn parse(text: &str) -> Result<Self, InvalidPosition> {
        Digits::parse(text).map(Self::from)
    }

    /// The same, borrowed.
    #[must_use]
    pub fn as_digits(&self) -> Digits<'_> {
        Digits(&self.0)
    }

    /// The digits that count.
    fn significant(&self) -> &str {
        self.0.trim_start_matches('0')
    }

    /// The digits as the service wrote them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sequence number that somebody else owns: what a record on the wire has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits<'a>(&'a str);

impl<'a> Digits<'a> {
    /// Takes decimal digits, as [`SequenceNumber::parse`].
    ///
    /// # Errors
    /// Anything but one or more ASCII digits is refused, the empty text too.
    pub fn parse(text: &'a str) -> Result<Self, InvalidPosition> {
        Self::parse_bytes(text.as_bytes()).ok_or_else(|| InvalidPosition::new(text))
    }

    /// The same of bytes.
    #[must_use]
    pub fn parse_bytes(bytes: &'a [u8]) -> Option<Self> {
        // Without an early end, so that the compiler can look at many digits at once.
        let all = bytes.iter().fold(true, |all, b| all & b.is_ascii_digit());
        let text = std::str::from_utf8(bytes).ok()?;
        (all && !text.is_empty()).then_some(Self(text))
    }

    /// The digits as the service wrote them.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl From<Digits<'_>> for SequenceNumber {
    fn from(digits: Digits<'_>) -> Self {
        Self(Arc::from(digits.0))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, others) = (self.significant(), other.significant());
        mine.len().cmp(&others.len()).then_with(|| mine.cmp(others))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.significant() == other.significant()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in a shard as a lease's `checkpoint` attribute holds it.
///
/// The order of the variants is KCL's order:
/// `AT_TIMESTAMP` < `TRIM_HORIZON` < `LATEST` < any number < `SHARD_END`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// Start at the configured instant (the instant itself is not in the table).
    AtTimestamp,
    /// Start at the oldest record.
    TrimHorizon,
    /// Start behind the newest record.
    Latest,
    /// A record.
    Number(SequenceNumber),
    /// The shard was read to its end and the application said so.
    ShardEnd,
}

impl Position {
    /// The text in the lease table and in `initialize`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::AtTimestamp => "AT_TIMESTAMP",
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::Number(number) => number.as_str(),
            Self::ShardEnd => "SHARD_END",
        }
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "AT_TIMESTAMP" => Self::AtTimestamp,
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "SHARD_END" => Self::ShardEnd,
            digits => Self::Number(SequenceNumber::parse(digits)?),
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// KCL's *extended sequence number*: a position and, inside an aggregated record, the index of the
/// user record (0 for plain records and sentinels). Ordered by position, then sub-sequence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedSequenceNumber {
    /// The Kinesis record, or a sentinel.
    pub position: Position,
    /// Index inside a KPL aggregate.
    pub sub_sequence: u64,
}

impl ExtendedSequenceNumber {
    /// The end of a shard.
    pub const SHARD_END: Self = Self::sentinel(Position::ShardEnd);

    /// A sentinel, whose sub-sequence is always 0.
    #[must_use]
    pub const fn sentinel(position: Position) -> Self {
        Self {
            position,
            sub_sequence: 0,
        }
    }

    /// A record.
    #[must_use]
    pub fn record(number: SequenceNumber, sub_sequence: u64) -> Self {
        Self {
            position: Position::Number(number),
            sub_sequence,
        }
    }

    /// Whether this is the end of the shard.
    #[must_use]
    pub fn is_shard_end(&self) -> bool {
        self.position == Position::ShardEnd
    }
}

impl fmt::Display for ExtendedSequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.position, self.sub_sequence) {
            (position, 0) => write!(f, "{position}"),
            (position, sub) => write!(f, "{position}/{sub}"),
        }
    }
}

impl fmt::Debug for ExtendedSequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a shard without a checkpoint is read from, as configured
/// (`initialPositionInStream`, `initialPositionInStreamExtended`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialPosition {
    /// Behind the newest record.
    Latest,
    /// At the oldest record.
    TrimHorizon,
    /// At the first record that arrived at or after this instant (milliseconds since the epoch).
    AtTimestamp(i64),
}

impl InitialPosition {
    /// The sentinel a new lease gets.
    #[must_use]
    pub const fn sentinel(self) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::sentinel(match self {
            Self::Latest => Position::Latest,
            Self::TrimHorizon => Position::TrimHorizon,
            Self::AtTimestamp(_) => Position::AtTimestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn esn(text: &str, sub: u64) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber {
            position: text.parse().unwrap(),
            sub_sequence: sub,
        }
    }

    #[test]
    fn sentinels_and_numbers_have_kcls_order() {
        let ascending = [
            esn("AT_TIMESTAMP", 0),
            esn("TRIM_HORIZON", 0),
            esn("LATEST", 0),
            esn("0", 0),
            esn("9", 0),
            esn("9", 1),
            esn("10", 0),
            esn(
                "49650000000000000000000000000000000000000000000000000002",
                0,
            ),
            esn(
                "149650000000000000000000000000000000000000000000000000002",
                0,
            ),
            esn("SHARD_END", 0),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn leading_zeros_do_not_make_another_number() {
        assert_eq!(esn("007", 0), esn("7", 0));
        assert_eq!(esn("000", 0), esn("0", 0));
        assert!(esn("0010", 0) > esn("9", 0));
        assert_eq!(esn("007", 0).to_string(), "007");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            " 7",
            "7 ",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "trim_horizon",
            "٣",
            "0x10",
        ] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn order_is_the_order_of_integers(a: u128, b: u128) {
            let (x, y) = (SequenceNumber::parse(&a.to_string()).unwrap(), SequenceNumber::parse(&b.to_string()).unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn text_round_trips(text in "TRIM_HORIZON|LATEST|AT_TIMESTAMP|SHARD_END|[1-9][0-9]{0,60}") {
            prop_assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
    }
}

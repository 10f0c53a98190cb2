//! Where to read on after an iterator is gone.
//!
//! Three losses of Java are avoided here (`retrieval.md` A.2, [T1] to [T3]): an aggregate of which a
//! part is checkpointed is read again *at* its number until something was really read; a shard at
//! LATEST is not moved to a newer LATEST when its iterator expires or its child fails; and a lease at
//! AT_TIMESTAMP without a configured timestamp is an error that says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::sequence::{ExtendedSequenceNumber, InitialPosition, Position, SequenceNumber};
use crate::core::stream::IteratorStart;
use crate::core::time::Moment;

/// How far before the moment of a first read at LATEST a later read starts, milliseconds: clocks of
/// hosts and service differ. Records that arrived in that time may come although they lie before the
/// start; none after it is missed.
const SLACK_MILLIS: i64 = 2_000;

/// What is remembered of reading a shard for as long as the lease is held, from one child to the next:
/// where "LATEST" was when the shard was first read there, and when it was last subscribed to.
/// It is never written into the lease before a real checkpoint (compatibility with Java).
#[derive(Debug, Clone, Default)]
pub struct Anchor(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    latest: Option<IteratorStart>,
    subscribed: Option<Moment>,
}

impl Anchor {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Option<IteratorStart> {
        self.remembered().latest.clone()
    }

    fn set(&self, start: IteratorStart) {
        self.remembered().latest = Some(start);
    }
}

/// A lease says AT_TIMESTAMP and the configuration has no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lease starts at AT_TIMESTAMP but the properties file has no initialPositionInStreamExtended; \
     add the timestamp the application was started with"
)]
pub struct NoTimestamp;

/// The position of one fetcher.
#[derive(Debug, Clone)]
pub struct ReadPosition {
    start: Position,
    initial: InitialPosition,
    anchor: Anchor,
    /// The last record that this fetcher itself has read, or the continuation after it.
    last_read: Option<SequenceNumber>,
}

impl ReadPosition {
    /// Reads on behind `checkpoint`.
    #[must_use]
    pub fn new(
        checkpoint: &ExtendedSequenceNumber,
        initial: InitialPosition,
        anchor: Anchor,
    ) -> Self {
        Self {
            start: checkpoint.position.clone(),
            initial,
            anchor,
            last_read: None,
        }
    }

    /// Where the next iterator starts.
    ///
    /// # Errors
    /// [`NoTimestamp`].
    pub fn iterator_start(&self) -> Result<IteratorStart, NoTimestamp> {
        if let Some(last) = &self.last_read {
            return Ok(IteratorStart::AfterSequenceNumber(last.clone()));
        }
        match &self.start {
            Position::Number(number) => Ok(IteratorStart::AtSequenceNumber(number.clone())),
            Position::TrimHorizon => Ok(IteratorStart::TrimHorizon),
            Position::Latest => Ok(self.anchor.get().unwrap_or(IteratorStart::Latest)),
            Position::AtTimestamp => match self.initial {
                InitialPosition::AtTimestamp(millis) => Ok(IteratorStart::AtTimestamp(millis)),
                _ => Err(NoTimestamp),
            },
            // A finished shard is never read; its newest end gives the final answer at once.
            Position::ShardEnd => Ok(IteratorStart::Latest),
        }
    }

    /// What to tell people when the service refuses the place where reading goes on. That need not be
    /// the lease's checkpoint: records behind it may have been read. A checkpoint set by hand is not looked
    /// at before the next start.
    #[must_use]
    pub fn refused(&self) -> String {
        let place = match self.iterator_start() {
            Ok(IteratorStart::AfterSequenceNumber(number)) => {
                format!("the place behind record {number}")
            }
            Ok(IteratorStart::AtSequenceNumber(number)) => format!("record {number}"),
            Ok(IteratorStart::AtTimestamp(millis)) => {
                format!("the time {millis} (milliseconds since 1970)")
            }
            _ => self.start.to_string(),
        };
        // At LATEST a new start would begin behind what came meanwhile.
        let unless_checkpointed = match (&self.last_read, &self.start) {
            (Some(_), Position::TrimHorizon | Position::AtTimestamp) => {
                format!(" (if that is still {}, a new start is enough)", self.start)
            }
            _ => String::new(),
        };
        format!(
            "{place}, from where reading goes on, is not a position of this shard (was the stream created anew?): \
             delete the lease, or set its checkpoint and start the daemon again{unless_checkpointed}; \
             the shard is not read until then"
        )
    }

    /// When the shard was last subscribed to by this process.
    #[must_use]
    pub fn last_subscribed(&self) -> Option<Moment> {
        self.anchor.remembered().subscribed
    }

    /// Records that a subscription was made.
    pub fn subscribed(&mut self, now: Moment) {
        self.anchor.remembered().subscribed = Some(now);
    }

    /// Records that an iterator or a subscription from [`Self::iterator_start`] was given out;
    /// `asked_at` is the service's wall clock when it was asked for, milliseconds. Until something is
    /// read, "LATEST" is then.
    pub fn opened(&mut self, asked_at: i64) {
        if self.start == Position::Latest && self.last_read.is_none() && self.anchor.get().is_none()
        {
            self.anchor
                .set(IteratorStart::AtTimestamp(asked_at - SLACK_MILLIS));
        }
    }

    /// Records an event of a subscription: its first record, and the number behind which to go on.
    pub fn received(
        &mut self,
        first: Option<&SequenceNumber>,
        continuation: Option<&SequenceNumber>,
    ) {
        if let Some(continuation) = continuation {
            self.last_read = Some(continuation.clone());
        }
        if self.start != Position::Latest {
            return;
        }
        if let None | Some(IteratorStart::AtTimestamp(_)) = self.anchor.get() {
            match (first, continuation) {
                (Some(first), _) => self
                    .anchor
                    .set(IteratorStart::AtSequenceNumber(first.clone())),
                (None, Some(continuation)) => self
                    .anchor
                    .set(IteratorStart::AfterSequenceNumber(continuation.clone())),
                (None, None) => {}
            }
        }
    }

    /// Records a page that was read; `served_at` is the service's wall clock at that
    /// time, milliseconds.
    pub fn read(
        &mut self,
        first: Option<&SequenceNumber>,
        last: Option<&SequenceNumber>,
        served_at: i64,
        behind: Option<i64>,
    ) {
        if let Some(last) = last {
            self.last_read = Some(last.clone());
        }
        if self.start != Position::Latest {
            return;
        }
        match (self.anchor.get(), first) {
            (None | Some(IteratorStart::AtTimestamp(_)), Some(first)) => {
                self.anchor
                    .set(IteratorStart::AtSequenceNumber(first.clone()));
            }
            (None, None) => self.anchor.set(IteratorStart::AtTimestamp(
                served_at - behind.unwrap_or(0) - SLACK_MILLIS,
            )),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esn(text: &str, sub: u64) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber {
            position: text.parse().unwrap(),
            sub_sequence: sub,
        }
    }

    fn number(text: &str) -> SequenceNumber {
        SequenceNumber::parse(text).unwrap()
    }

    fn position(text: &str, initial: InitialPosition) -> ReadPosition {
        ReadPosition::new(&esn(text, 0), initial, Anchor::default())
    }

    #[test]
    fn first_iterators() {
        let at = InitialPosition::AtTimestamp(7);
        let cases = [
            ("TRIM_HORIZON", at, Ok(IteratorStart::TrimHorizon)),
            ("LATEST", at, Ok(IteratorStart::Latest)),
            ("AT_TIMESTAMP", at, Ok(IteratorStart::AtTimestamp(7))),
            ("AT_TIMESTAMP", InitialPosition::Latest, Err(NoTimestamp)),
            ("5", at, Ok(IteratorStart::AtSequenceNumber(number("5")))),
        ];
        for (start, initial, expected) in cases {
            assert_eq!(
                position(start, initial).iterator_start(),
                expected,
                "{start}"
            );
        }
    }

    #[test]
    fn a_half_done_aggregate_is_read_again_until_something_was_read() {
        let mut position =
            ReadPosition::new(&esn("5", 2), InitialPosition::Latest, Anchor::default());
        position.read(None, None, 0, Some(0));
        assert_eq!(
            position.iterator_start(),
            Ok(IteratorStart::AtSequenceNumber(number("5")))
        );
        position.read(Some(&number("5")), Some(&number("8")), 0, Some(0));
        assert_eq!(
            position.iterator_start(),
            Ok(IteratorStart::AfterSequenceNumber(number("8")))
        );
    }

    #[test]
    fn latest_does_not_move_when_an_iterator_expires_or_a_child_fails() {
        let anchor = Anchor::default();
        let new = || ReadPosition::new(&esn("LATEST", 0), InitialPosition::Latest, anchor.clone());
        let mut first = new();
        first.read(None, None, 100_000, Some(0));
        assert_eq!(
            first.iterator_start(),
            Ok(IteratorStart::AtTimestamp(98_000))
        );
        first.read(None, None, 500_000, Some(0));
        assert_eq!(
            first.iterator_start(),
            Ok(IteratorStart::AtTimestamp(98_000))
        );
        first.read(Some(&number("40")), Some(&number("44")), 600_000, Some(0));
        assert_eq!(
            first.iterator_start(),
            Ok(IteratorStart::AfterSequenceNumber(number("44")))
        );
        // The child failed before its first checkpoint: the first record comes again.
        let mut second = new();
        assert_eq!(
            second.iterator_start(),
            Ok(IteratorStart::AtSequenceNumber(number("40")))
        );
        second.read(Some(&number("40")), Some(&number("50")), 700_000, Some(0));
        assert_eq!(
            new().iterator_start(),
            Ok(IteratorStart::AtSequenceNumber(number("40")))
        );
    }

    #[test]
    fn latest_is_remembered_from_the_moment_it_was_asked_for() {
        let anchor = Anchor::default();
        let new = || ReadPosition::new(&esn("LATEST", 0), InitialPosition::Latest, anchor.clone());
        let mut first = new();
        first.opened(100_000);
        assert_eq!(
            first.iterator_start(),
            Ok(IteratorStart::AtTimestamp(98_000))
        );
        // Asked again after the iterator expired unread: the first time counts.
        first.opened(500_000);
        assert_eq!(
            new().iterator_start(),
            Ok(IteratorStart::AtTimestamp(98_000))
        );
        let mut elsewhere = position("TRIM_HORIZON", InitialPosition::Latest);
        elsewhere.opened(1);
        assert_eq!(elsewhere.iterator_start(), Ok(IteratorStart::TrimHorizon));
    }

    #[test]
    fn a_subscription_goes_on_behind_its_continuation() {
        let mut position =
            ReadPosition::new(&esn("5", 2), InitialPosition::Latest, Anchor::default());
        // Opened, and broken before the first event: the half-done aggregate comes again.
        position.opened(1);
        assert_eq!(
            position.iterator_start(),
            Ok(IteratorStart::AtSequenceNumber(number("5")))
        );
        position.received(Some(&number("5")), Some(&number("9")));
        assert_eq!(
            position.iterator_start(),
            Ok(IteratorStart::AfterSequenceNumber(number("9")))
        );
        position.received(None, Some(&number("30")));
        assert_eq!(
            position.iterator_start(),
            Ok(IteratorStart::AfterSequenceNumber(number("30")))
        );
    }

    #[test]
    fn a_place_that_is_refused_is_named_and_not_the_checkpoint_that_reading_began_at() {
        let restart = "a new start is enough";
        // checkpoint, last record read, what is named, whether a new start may do
        let cases = [
            (
                "TRIM_HORIZON",
                Some("8"),
                "the place behind record 8,",
                true,
            ),
            (
                "AT_TIMESTAMP",
                Some("8"),
                "the place behind record 8,",
                true,
            ),
            ("LATEST", Some("8"), "the place behind record 8,", false),
            ("5", Some("8"), "the place behind record 8,", false),
            ("5", None, "record 5,", false),
            ("AT_TIMESTAMP", None, "the time 7 ", false),
            ("TRIM_HORIZON", None, "TRIM_HORIZON,", false),
        ];
        for (start, read, named, restarts) in cases {
            let mut position = position(start, InitialPosition::AtTimestamp(7));
            if let Some(read) = read {
                position.read(Some(&number(read)), Some(&number(read)), 0, Some(0));
            }
            let told = position.refused();
            assert!(told.starts_with(named), "{start} {read:?}: {told}");
            assert_eq!(told.contains(restart), restarts, "{start} {read:?}: {told}");
            assert_eq!(told.contains(&format!("still {start}")), restarts, "{told}");
        }
    }

    #[test]
    fn an_empty_event_at_latest_fixes_the_place_exactly() {
        let anchor = Anchor::default();
        let new = || ReadPosition::new(&esn("LATEST", 0), InitialPosition::Latest, anchor.clone());
        let mut first = new();
        first.opened(100_000);
        first.received(None, Some(&number("40")));
        first.received(Some(&number("50")), Some(&number("55")));
        // The next child, before any checkpoint.
        assert_eq!(
            new().iterator_start(),
            Ok(IteratorStart::AfterSequenceNumber(number("40")))
        );
    }
}

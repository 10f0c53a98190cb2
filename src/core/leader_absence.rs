//! Notices that nobody leads (`leases.md` J, #1803: Java fleets were seen without a leader for ever).
//!
//! A leader shows that it lives by a new number in the lock's row. A follower of ours takes a lock over
//! that stands still, long before the alarm; so the alarm means that it cannot: the row cannot be
//! reached or written, or its duration is longer than the alarm waits.

use std::time::Duration;

use crate::core::ids::WorkerId;
use crate::core::leader_lock::{LockItem, RecordVersion};
use crate::core::time::Moment;

/// How long there may be no sign of a leader before somebody is told. Java's followers need up to 152 s
/// to take over from a dead leader.
pub const ALARM_AFTER: Duration = Duration::from_secs(180);

/// Looks are half a minute apart at most. What lies between two that are further apart counts as so
/// much: then this worker was asleep, which says nothing of the leader.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// What was last found instead of a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is no row, or it is released.
    Nobody,
    /// The row stands still.
    StandsStill(WorkerId),
    /// The row could not be read; why.
    Unreadable(String),
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tidings {
    /// There has been no sign of a leader for so long.
    Absent {
        /// How long, at least.
        lasting: Duration,
        /// What was found last.
        found: Found,
        /// Why this worker did not take the lock, when a write of it failed meanwhile.
        failed: Option<String>,
    },
    /// There is a leader again, after an alarm.
    Back,
}

/// Watches for signs of a leader.
#[derive(Debug, Clone)]
pub struct LeaderAbsence {
    version: Option<RecordVersion>,
    looked: Moment,
    absent: Duration,
    failed: Option<String>,
    told: bool,
}

impl LeaderAbsence {
    /// Begins to watch.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self {
            version: None,
            looked: now,
            absent: Duration::ZERO,
            failed: None,
            told: false,
        }
    }

    /// This worker leads, or somebody's heartbeat was seen.
    pub fn leads(&mut self, now: Moment) -> Option<Tidings> {
        self.looked = now;
        self.absent = Duration::ZERO;
        self.failed = None;
        std::mem::take(&mut self.told).then_some(Tidings::Back)
    }

    /// The row was read.
    pub fn saw(&mut self, row: Option<&LockItem>, now: Moment) -> Option<Tidings> {
        match row.filter(|row| !row.released) {
            None => {
                self.version = None;
                self.no_sign(now, Found::Nobody)
            }
            Some(row) if self.version.as_ref() == Some(&row.version) => {
                self.no_sign(now, Found::StandsStill(row.owner.clone()))
            }
            Some(row) => {
                self.version = Some(row.version.clone());
                self.leads(now)
            }
        }
    }

    /// The row could not be read.
    pub fn could_not_look(&mut self, cause: String, now: Moment) -> Option<Tidings> {
        self.no_sign(now, Found::Unreadable(cause))
    }

    /// The lock was free, and this worker could not take it.
    pub fn could_not_take(&mut self, cause: String) {
        self.failed = Some(cause);
    }

    fn no_sign(&mut self, now: Moment, found: Found) -> Option<Tidings> {
        self.absent += now.since(self.looked).min(LONGEST_GAP);
        self.looked = now;
        if self.told || self.absent < ALARM_AFTER {
            return None;
        }
        self.told = true;
        Some(Tidings::Absent {
            lasting: self.absent,
            found,
            failed: self.failed.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn row(version: &str, released: bool) -> LockItem {
        LockItem {
            owner: WorkerId::new("other"),
            lease_duration: Duration::from_secs(120),
            version: RecordVersion::new(version),
            released,
        }
    }

    /// Looks every ten seconds; when the alarm came and what it had found.
    fn alarm(
        watch: &mut LeaderAbsence,
        seconds: std::ops::RangeInclusive<u64>,
        mut look: impl FnMut(&mut LeaderAbsence, Moment, u64) -> Option<Tidings>,
    ) -> Vec<(u64, Tidings)> {
        seconds
            .step_by(10)
            .filter_map(|s| look(watch, at(s), s).map(|told| (s, told)))
            .collect()
    }

    #[test]
    fn a_leader_that_beats_is_no_reason_for_an_alarm() {
        let mut watch = LeaderAbsence::new(at(0));
        let told = alarm(&mut watch, 0..=3600, |watch, now, s| {
            watch.saw(Some(&row(&(s / 30).to_string(), false)), now)
        });
        assert_eq!(told, []);
    }

    #[test]
    fn three_minutes_without_a_sign_are_told_once_and_so_is_the_return() {
        let cases: [(Option<LockItem>, Found, u64); 3] = [
            (None, Found::Nobody, 180),
            (Some(row("1", true)), Found::Nobody, 180),
            // The first sight of a row is a sign of life.
            (
                Some(row("1", false)),
                Found::StandsStill(WorkerId::new("other")),
                190,
            ),
        ];
        for (seen, found, when) in cases {
            let mut watch = LeaderAbsence::new(at(0));
            watch.could_not_take("no access".to_owned());
            if when == 190 {
                watch.could_not_take("forgotten at the sign".to_owned());
            }
            let told = alarm(&mut watch, 10..=3600, |watch, now, _| {
                watch.saw(seen.as_ref(), now)
            });
            let [
                (
                    second,
                    Tidings::Absent {
                        lasting,
                        found: what,
                        failed,
                    },
                ),
            ] = &told[..]
            else {
                panic!("{told:?}");
            };
            assert_eq!((*second, *lasting, what), (when, ALARM_AFTER, &found));
            let expected = (when == 180).then(|| "no access".to_owned());
            assert_eq!(failed, &expected);
            assert_eq!(
                watch.saw(Some(&row("2", false)), at(3610)),
                Some(Tidings::Back)
            );
            assert_eq!(watch.saw(Some(&row("3", false)), at(3620)), None);
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_no_sign_of_a_leader() {
        let mut watch = LeaderAbsence::new(at(0));
        assert_eq!(watch.leads(at(5)), None);
        let told = alarm(&mut watch, 15..=400, |watch, now, _| {
            watch.could_not_look("no answer".to_owned(), now)
        });
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, 185);
    }

    #[test]
    fn a_sleep_of_this_worker_is_not_held_against_the_leader() {
        let mut watch = LeaderAbsence::new(at(0));
        let still = row("1", false);
        assert_eq!(watch.saw(Some(&still), at(1)), None);
        assert_eq!(watch.saw(Some(&still), at(10_000)), None);
        assert_eq!(watch.saw(Some(&still), at(10_100)), None);
        let told = watch.saw(Some(&still), at(10_200));
        assert!(matches!(told, Some(Tidings::Absent { .. })), "{told:?}");
    }
}

//! The row of the lock, and the writes on it.

use std::time::Duration;

use crate::core::ids::WorkerId;

/// A record version number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordVersion(String);

impl RecordVersion {
    /// The number as found in the row.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A fresh one: two random numbers as a UUID of version 4, which is what Java writes.
    #[must_use]
    pub fn from_random(high: u64, low: u64) -> Self {
        let high = (high & !0xF000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        Self(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        ))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockItem {
    /// `ownerName`.
    pub owner: WorkerId,
    /// `leaseDuration`; in the row milliseconds as text.
    pub lease_duration: Duration,
    /// `recordVersionNumber`.
    pub version: RecordVersion,
    /// `isReleased`: given up without being deleted.
    pub released: bool,
}

/// What a write on the row relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockCondition {
    /// There is no row.
    Absent,
    /// There is a row, and it is released.
    Released,
    /// There is a row with this number.
    Version(RecordVersion),
    /// There is a row with this number, and it is this worker's.
    Mine(RecordVersion, WorkerId),
}

/// What a write does to the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockChange {
    /// Put the whole row.
    Put(LockItem),
    /// Replace number and duration.
    Heartbeat {
        /// The new number.
        version: RecordVersion,
        /// The duration, written every time.
        lease_duration: Duration,
    },
    /// Delete the row.
    Delete,
}

/// One conditional write on the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockWrite {
    /// What must hold.
    pub condition: LockCondition,
    /// What it does.
    pub change: LockChange,
}

impl LockWrite {
    /// Whether the write may happen on the row as it is.
    #[must_use]
    pub fn is_permitted_on(&self, current: Option<&LockItem>) -> bool {
        match (&self.condition, current) {
            (LockCondition::Absent, row) => row.is_none(),
            (_, None) => false,
            (LockCondition::Released, Some(row)) => row.released,
            (LockCondition::Version(version), Some(row)) => row.version == *version,
            (LockCondition::Mine(version, me), Some(row)) => {
                row.version == *version && row.owner == *me
            }
        }
    }

    /// The row after the write.
    #[must_use]
    pub fn applied_to(&self, before: Option<&LockItem>) -> Option<LockItem> {
        match &self.change {
            LockChange::Put(item) => Some(item.clone()),
            LockChange::Heartbeat {
                version,
                lease_duration,
            } => before.map(|row| LockItem {
                version: version.clone(),
                lease_duration: *lease_duration,
                ..row.clone()
            }),
            LockChange::Delete => None,
        }
    }

    /// The number that the row has after the write, if it is one that leaves a row.
    #[must_use]
    pub const fn new_version(&self) -> Option<&RecordVersion> {
        match &self.change {
            LockChange::Put(item) => Some(&item.version),
            LockChange::Heartbeat { version, .. } => Some(version),
            LockChange::Delete => None,
        }
    }
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOutcome {
    /// It happened.
    Applied,
    /// Its condition did not hold.
    Refused,
    /// No answer, or an error after which it may have happened.
    Unknown,
    /// It certainly did not happen (throttled, no access); the row is as before.
    Failed,
}

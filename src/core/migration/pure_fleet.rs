//! When a fleet that is all ours moves from the 2.x algorithm to a leader by itself.
//!
//! # How it can be known that nobody older is there
//!
//! A worker that owns a lease is known by its rows: ours leave a mark with every write, and a write of
//! anybody else leaves the mark behind ([`LeaseUpdate::marked`](crate::core::lease::LeaseUpdate::marked)).
//! A worker that owns nothing leaves no trace at all, and still reads the table. But the 2.x algorithm
//! does not let it stay without lease: when there are more leases than workers that own some, it finds
//! that it should have at least one and takes it from the most loaded within one of its scans (twice
//! its failover time; `leases.md` B.5). For `n` leases, `w` owners and itself the target is
//! `ceil(n / (w + 1))`. Let `n > w`. If the target is 1, somebody has two and gives one; if it is more,
//! it needs more than one and takes one even from owners who are just at the target.
//!
//! So: while every owned lease is marked and there are more leases than owners, for much longer than any
//! scan interval, nobody older is there. With as many workers as leases it cannot be known, and the
//! fleet stays as it is; an explicit `clientVersionConfig` is then up to the operator, who knows.
//!
//! # How it moves
//!
//! The worker whom the shuffle names leader writes `Migration3.0` with UPGRADE_FROM_2X. That is the first
//! item in the table that is no lease. The others see it in their next scan and follow, and from there
//! on the fleet goes Java's way: all report metrics, after ten minutes it flips.

use std::time::Duration;

use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::Lease;
use crate::core::migration::ItemWrite;
use crate::core::migration::client_version::{ClientVersion, Stabilizer, write_of_entry};
use crate::core::time::{Moment, WallTime};

/// How long a fleet must have been seen to be ours alone, at least.
pub const PURE_FOR: Duration = Duration::from_secs(600);

/// And at least this many failover times: ten scans of a worker of ours or Java's with the same one.
pub const PURE_FOR_FAILOVERS: u32 = 20;

/// Why a fleet is not known to be ours alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPure {
    /// There is more than leases already: others decide the way.
    OtherItems,
    /// There are no leases.
    NoLeases,
    /// The last write on this lease was not one of ours.
    Unmarked {
        /// The lease.
        lease: LeaseKey,
        /// Its owner.
        worker: WorkerId,
    },
    /// As many workers as leases: one more could be there and own nothing.
    TooFewLeases {
        /// Leases.
        leases: usize,
        /// Owners.
        owners: usize,
    },
    /// All is as it should be, but not for long enough.
    Since(Moment),
}

/// Watches a fleet in the 2.x algorithm.
#[derive(Debug, Clone, Copy, Default)]
pub struct PureFleet {
    pure: Stabilizer,
}

impl PureFleet {
    /// Takes in a scan. `other_items` is whether there are items in the lease table that are no leases or
    /// cannot be read, or tables of KCL 3.0 to 3.4.
    ///
    /// # Errors
    /// Why the fleet is not known to be ours alone.
    pub fn record_scan(
        &mut self,
        leases: &[Lease],
        other_items: bool,
        at: Moment,
        failover: Duration,
    ) -> Result<(), NotPure> {
        let judged = judge(leases, other_items);
        let period = PURE_FOR.max(failover.saturating_mul(PURE_FOR_FAILOVERS));
        if self.pure.update(judged.is_ok(), at, period) {
            return Ok(());
        }
        judged.and_then(|()| Err(NotPure::Since(self.pure.since().unwrap_or(at))))
    }
}

fn judge(leases: &[Lease], other_items: bool) -> Result<(), NotPure> {
    if other_items {
        return Err(NotPure::OtherItems);
    }
    if leases.is_empty() {
        return Err(NotPure::NoLeases);
    }
    let mut owners = Vec::new();
    for lease in leases {
        let Some(owner) = lease.actual_owner() else {
            continue;
        };
        if !lease.marked {
            return Err(NotPure::Unmarked {
                lease: lease.key.clone(),
                worker: owner.clone(),
            });
        }
        owners.push(owner);
    }
    owners.sort_unstable();
    owners.dedup();
    if leases.len() <= owners.len() {
        return Err(NotPure::TooFewLeases {
            leases: leases.len(),
            owners: owners.len(),
        });
    }
    Ok(())
}

/// Whether every lease that somebody owns was last written by a kcl-daemon. That is enough to go by in
/// what is no danger to anybody else (`leases.md` J, #1247); whoever owns nothing is not seen.
#[must_use]
pub fn owners_are_ours(leases: &[Lease]) -> bool {
    leases
        .iter()
        .all(|lease| lease.actual_owner().is_none() || lease.marked)
}

/// The write with which the leader of the shuffle sets a pure fleet going.
#[must_use]
pub fn set_going(me: &WorkerId, now: WallTime) -> Option<ItemWrite<ClientVersion>> {
    write_of_entry(None, ClientVersion::UpgradeFrom2x, me, now)
}

#[cfg(test)]
#[path = "pure_fleet_tests.rs"]
mod tests;

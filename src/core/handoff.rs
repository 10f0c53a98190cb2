//! Moving a lease between two living workers without a duplicate (`leases.md` B.2, C.7, C.8).
//!
//! The leader writes the next owner into `leaseOwner` and the old one into `checkpointOwner`. The old
//! owner learns of it when it renews, lets its child make a last checkpoint, and removes itself;
//! only then the next owner starts. Every file that reads a row asks [`role`] what the row means to it.
//!
//! Here is what a row means, and the next owner's part. The old owner's is that of whoever holds a lease:
//! what it learns and writes is in `core::tenure`, and `worker::keeper` lets go when its child takes too long.

use crate::core::ids::WorkerId;
use crate::core::lease::{Lease, LeaseUpdate};

/// What a row means to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It processes the shard.
    Owner,
    /// It processes the shard and is to give way.
    GivingWay {
        /// To this worker.
        to: WorkerId,
    },
    /// It is next, and waits for the old owner to let go; it neither renews nor delivers (I.35).
    Next {
        /// The old owner.
        from: WorkerId,
    },
    /// It is to give way to itself: nobody wrote that on purpose, and nobody renews it in Java.
    Knotted,
    /// Nothing.
    Stranger,
}

/// What the row means to `me`.
#[must_use]
pub fn role(lease: &Lease, me: &WorkerId) -> Role {
    match (&lease.owner, &lease.checkpoint_owner) {
        (Some(owner), None) if owner == me => Role::Owner,
        (Some(owner), Some(from)) if owner == me && from == me => Role::Knotted,
        (Some(owner), Some(from)) if owner == me => Role::Next { from: from.clone() },
        (Some(owner), Some(from)) if from == me => Role::GivingWay { to: owner.clone() },
        _ => Role::Stranger,
    }
}

/// Whether `me` is who ought to process by this row. What it does not hold of such rows a former process
/// of its id held, or another process of that id does, or it was assigned just now.
///
/// With a leader (`assigned`), a lease that is on its way to `me` is still the old owner's (I.35); the 2.x
/// algorithm knows no hand-offs.
#[must_use]
pub fn is_of(lease: &Lease, me: &WorkerId, assigned: bool) -> bool {
    match role(lease, me) {
        Role::Owner | Role::Knotted => true,
        Role::Next { .. } => !assigned,
        Role::GivingWay { .. } | Role::Stranger => false,
    }
}

/// What a worker does about a row that it does not hold and that may be meant for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Adoption {
    /// Send this; when it is applied, the lease is held and its consumer starts (I.10). Java starts
    /// without a confirming write, from a read that may be stale.
    Adopt(LeaseUpdate),
    /// Meant for this worker once the old owner has let go.
    Wait {
        /// The old owner.
        from: WorkerId,
    },
    /// This worker is to give way and has no consumer for it, as after a restart: send this.
    LetGo(LeaseUpdate),
    /// Not for this worker.
    Ignore,
}

/// Decides about a row that `me` does not hold, from a strongly consistent read or a scan. A stale row
/// does no harm, since its counter makes the write fail.
#[must_use]
pub fn adoption(lease: &Lease, me: &WorkerId) -> Adoption {
    match role(lease, me) {
        Role::Owner => Adoption::Adopt(lease.renewal_noticing_hand_off()),
        Role::Knotted => Adoption::Adopt(lease.assigned_if_silent_to(me)),
        Role::Next { from } => Adoption::Wait { from },
        Role::GivingWay { .. } => lease
            .hand_off_finished_by(me)
            .map_or(Adoption::Ignore, Adoption::LetGo),
        Role::Stranger => Adoption::Ignore,
    }
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;

//! Moving a lease between two living workers without a duplicate (`leases.md` B.2, C.7, C.8).
//!
//! The leader writes the next owner into `leaseOwner` and the old one into `checkpointOwner`. The old
//! owner learns of it when its renewal fails, lets its child make a last checkpoint, and removes itself;
//! only then the next owner starts. Every file that reads a row asks [`role`] what the row means to it.

use std::time::Duration;

use crate::core::ids::WorkerId;
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::time::Moment;

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

// ------------------------------------------------------------------------------------------ the old owner

/// What a renewal that was refused means, given the row as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The renewal had happened and only its answer was lost. This is the row; it may say that a
    /// hand-off has begun since.
    Happened(Lease),
    /// A hand-off has begun: renew again from this row, which now goes through, and give way.
    GiveWay(Lease),
    /// The lease is lost: stop, and never write to it again.
    Lost,
}

/// Judges a renewal of `me` that was refused. `held` is the copy it was made from, `current` the row as
/// the refusal or a strongly consistent read shows it (`leases.md` B.2 steps 4 and 5).
///
/// Java loses the lease when an answer is lost during a hand-off, because it compares the wrong owner;
/// here it does not.
#[must_use]
pub fn on_refused_renewal(
    renewal: &LeaseUpdate,
    held: &Lease,
    current: Option<&Lease>,
    me: &WorkerId,
) -> Refusal {
    let Some(current) = current else {
        return Refusal::Lost;
    };
    if matches!(role(current, me), Role::Owner | Role::GivingWay { .. }) {
        if renewal.is_proven_by(held, current) {
            return Refusal::Happened(current.clone());
        }
        let begun = !held.in_hand_off() && current.in_hand_off();
        if begun && current.counter == held.counter {
            return Refusal::GiveWay(current.clone());
        }
    }
    Refusal::Lost
}

/// How far the shard's consumer is, for the worker that has to give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    /// There is none, or its child was never started (it still waits for parents): nobody to ask.
    /// Also one that is at the end of the shard, with SHARD_END in the table.
    None,
    /// It processes and does not know yet.
    Running,
    /// It has been asked to end.
    Asked,
    /// It has ended: no checkpoint can come from it any more.
    Ended,
}

/// What the old owner does next.
#[derive(Debug, Clone, PartialEq)]
pub enum GiveWay {
    /// Ask the consumer to end gracefully (`shutdownRequested`), and go on renewing.
    Ask,
    /// Go on renewing, at the latest until this moment.
    WaitUntil(Moment),
    /// Hand over now, whatever the consumer does; it hears `leaseLost` if it still runs. The lease is
    /// dropped even if the write fails: it is not this worker's any more.
    HandOver(LeaseUpdate),
    /// The row does not say that this worker is to give way (any more).
    Nothing,
}

/// Decides for a lease of which `me` learnt at `learnt` that it has to give way. `limit` is
/// `gracefulLeaseHandoffTimeoutMillis`, 30 s by default.
///
/// A lease without a consumer is handed over at once. Java goes on renewing it, and the shard is
/// processed by nobody for ever (#1743, I.34).
#[must_use]
pub fn give_way(
    lease: &Lease,
    me: &WorkerId,
    consumer: Consumer,
    learnt: Moment,
    now: Moment,
    limit: Duration,
) -> GiveWay {
    let Some(hand_over) = lease.hand_off_finished_by(me) else {
        return GiveWay::Nothing;
    };
    let deadline = learnt + limit;
    match consumer {
        Consumer::None | Consumer::Ended => GiveWay::HandOver(hand_over),
        Consumer::Running | Consumer::Asked if now >= deadline => GiveWay::HandOver(hand_over),
        Consumer::Running => GiveWay::Ask,
        Consumer::Asked => GiveWay::WaitUntil(deadline),
    }
}

// ------------------------------------------------------------------------------------------ the new owner

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

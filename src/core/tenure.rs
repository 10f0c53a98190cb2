//! What the holder of a lease knows of its row, and what each answer of the table teaches it.
//!
//! From the write that acquires a lease to its loss or release, every write of its owner is made from
//! the copy kept here (`leases.md` B.2, I.4 to I.7). An answer that never came is resolved by reading;
//! what cannot be resolved stays *in doubt*: it may still arrive, and is recognised when it did.
//! The keeper of `worker::keeper` does the waiting and the calls.

use std::fmt;
use std::time::Duration;

use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::laws;
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::time::Moment;

/// How a lease was lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Loss {
    /// This worker owns it now.
    TakenBy(WorkerId),
    /// Nobody owns it, but somebody wrote to it.
    Changed,
    /// It carries our id, but a write that was not ours raised its counter.
    SameWorkerId,
    /// The row does not exist any more.
    RowGone,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakenBy(worker) => write!(f, "worker {worker} took it"),
            Self::Changed => f.write_str("its row was changed by somebody else"),
            Self::SameWorkerId => f.write_str("somebody else wrote to it under our worker id"),
            Self::RowGone => f.write_str("its row was deleted"),
        }
    }
}

/// What an answer means for the write it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lesson {
    /// It happened.
    Applied,
    /// It did not, and the lease is not ours.
    Lost(Loss),
    /// An earlier write arrived late. The lease is ours and its counter is known again, but the write
    /// that was asked for did not happen.
    EarlierOneArrived,
    /// The leader began to move the lease just now. It is ours, and the write did not happen.
    HandOffBegan,
    /// Nothing is known, or the write did not happen *yet*.
    InDoubt,
}

/// A held lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenure {
    me: WorkerId,
    lease: Lease,
    /// When the last write that is known to have happened was sent.
    last_sent: Moment,
    /// Writes on the present counter whose answers never came, and when each was sent first. Each may
    /// still arrive; as all have the same condition, at most one of them will be carried out.
    in_doubt: Vec<(LeaseUpdate, Moment)>,
    /// The lease is lost, or was given up.
    is_over: bool,
}

impl Tenure {
    /// Begins with the row that the acquiring write, sent at `sent`, answered with.
    #[must_use]
    pub const fn begin(me: WorkerId, lease: Lease, sent: Moment) -> Self {
        Self {
            me,
            lease,
            last_sent: sent,
            in_doubt: Vec::new(),
            is_over: false,
        }
    }

    /// Whether the lease is lost or given up: this worker writes to it no more (I.6, I.14).
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Who holds it.
    #[must_use]
    pub const fn me(&self) -> &WorkerId {
        &self.me
    }

    /// The row as this worker knows it.
    #[must_use]
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// When the last write that is known to have happened was sent.
    #[must_use]
    pub const fn last_sent(&self) -> Moment {
        self.last_sent
    }

    /// Writes whose answers never came, and when each was sent first.
    #[must_use]
    pub fn in_doubt(&self) -> &[(LeaseUpdate, Moment)] {
        &self.in_doubt
    }

    /// From when on nothing is delivered unless a write succeeds meanwhile (I.2).
    #[must_use]
    pub fn stale_at(&self, failover: Duration) -> Moment {
        self.last_sent + failover
    }

    /// The write of a checkpoint. `None` when the table is further already: a checkpoint that was
    /// reported as failed arrived after all, and the table stays where it is (I.15).
    #[must_use]
    pub fn checkpoint(&self, to: &ExtendedSequenceNumber) -> Option<LeaseUpdate> {
        laws::checkpoint_stays_or_advances(&self.lease.checkpoint, to)
            .then(|| self.lease.checkpointed(to.clone()))
    }

    /// Takes in the row that a write sent at `sent` answered with.
    pub fn applied(&mut self, row: Lease, sent: Moment) {
        self.lease = row;
        self.last_sent = sent;
        self.in_doubt.clear();
        self.is_over = self.strange_owner().is_some();
    }

    /// Takes in that the condition of a write did not hold, and the row as it was then: either the lease
    /// is lost, or the row is what an earlier write of ours made it.
    pub fn refused(&mut self, row: Option<Lease>) -> Lesson {
        let lesson = self.judge_refusal(row);
        self.is_over = matches!(lesson, Lesson::Lost(_));
        lesson
    }

    fn judge_refusal(&mut self, row: Option<Lease>) -> Lesson {
        let Some(row) = row else {
            return Lesson::Lost(Loss::RowGone);
        };
        let arrived_late = self
            .in_doubt
            .iter()
            .any(|(earlier, _)| earlier.is_proven_by(&self.lease, &row));
        if arrived_late {
            self.lease = row;
            self.in_doubt.clear();
            // It may have been the one that gave the lease up: then nothing more is written to it (I.14).
            return self
                .strange_owner()
                .map_or(Lesson::EarlierOneArrived, Lesson::Lost);
        }
        if row.counter == self.lease.counter && row.actual_owner() == Some(&self.me) {
            // A hand-off leaves the counter alone.
            self.lease = row;
            return Lesson::HandOffBegan;
        }
        Lesson::Lost(match row.actual_owner() {
            Some(owner) if *owner == self.me => Loss::SameWorkerId,
            Some(owner) => Loss::TakenBy(owner.clone()),
            None => Loss::Changed,
        })
    }

    /// Takes in the row as a strongly consistent read shows it after a write, sent at `sent`, whose
    /// answer never came.
    pub fn unanswered(&mut self, update: LeaseUpdate, sent: Moment, row: Option<Lease>) -> Lesson {
        match row {
            Some(row)
                if row.counter == self.lease.counter
                    && row.actual_owner() == self.lease.actual_owner() =>
            {
                self.doubt(update, sent);
                Lesson::InDoubt
            }
            Some(row) if update.is_proven_by(&self.lease, &row) => {
                // It may be an earlier one that says the same: the lease is fresh from then only (I.2).
                let proven =
                    |(earlier, _): &&(LeaseUpdate, Moment)| earlier.is_proven_by(&self.lease, &row);
                let earlier = self.in_doubt.iter().filter(proven);
                let sent = earlier.map(|(_, sent)| *sent).fold(sent, Moment::min);
                self.applied(row, sent);
                Lesson::Applied
            }
            row => self.refused(row),
        }
    }

    /// Notes a write, sent at `sent`, of which nothing can be learnt now.
    pub fn doubt(&mut self, update: LeaseUpdate, sent: Moment) {
        // An outage repeats the same renewal many times.
        if self.in_doubt.iter().all(|(earlier, _)| *earlier != update) {
            self.in_doubt.push((update, sent));
        }
    }

    /// What is wrong with the row that the last write answered with: somebody may have edited it by
    /// hand, so that the counter is ours and the lease is not. `None` when it is ours.
    #[must_use]
    pub fn strange_owner(&self) -> Option<Loss> {
        match (&self.lease.owner, &self.lease.checkpoint_owner) {
            (Some(owner), None) if *owner == self.me => None,
            (Some(next), Some(old)) if *old == self.me && *next != self.me => None,
            // Both are me, or a stranger processes it: no worker writes such a row (`leases.md` B.2).
            (Some(owner), None) => Some(Loss::TakenBy(owner.clone())),
            (_, Some(old)) if *old != self.me => Some(Loss::TakenBy(old.clone())),
            _ => Some(Loss::Changed),
        }
    }

    /// Who is to have the lease next, while a leader moves it away from this worker.
    #[must_use]
    pub fn handing_off_to(&self) -> Option<&WorkerId> {
        let next = self.lease.owner.as_ref()?;
        (self.lease.checkpoint_owner.as_ref() == Some(&self.me) && *next != self.me).then_some(next)
    }

    /// The write that gives the lease up: it ends a hand-off, else passes the lease to `heir`, else
    /// leaves it to nobody. `None` when it is not this worker who processes it.
    #[must_use]
    pub fn giving_up(&self, heir: Option<&WorkerId>) -> Option<LeaseUpdate> {
        match heir {
            Some(heir) if !self.lease.in_hand_off() && *heir != self.me => {
                Some(self.lease.assigned_if_silent_to(heir))
            }
            _ => self.lease.given_up_by(&self.me),
        }
    }
}

/// Writes that should have made this worker the holder of a lease and of which it learnt nothing, by lease.
/// Each may still arrive, also after the same was tried again; and the row cannot tell which one it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempts(Vec<(LeaseUpdate, Moment)>);

impl Attempts {
    /// Notes an attempt, sent at `sent`, of which nothing was learnt. What it says replaces what was tried
    /// on another counter: that one cannot arrive any more.
    pub fn unresolved(&mut self, update: LeaseUpdate, sent: Moment) {
        if self.sent_first(&update).is_none() {
            self.settled(&update.key);
            self.0.push((update, sent));
        }
    }

    /// The outcome for a lease is known.
    pub fn settled(&mut self, key: &LeaseKey) {
        self.0.retain(|(tried, _)| tried.key != *key);
    }

    /// When this very write was sent first, if it was tried before: a lease that a read shows to be
    /// acquired is fresh from then only (I.2).
    #[must_use]
    pub fn sent_first(&self, update: &LeaseUpdate) -> Option<Moment> {
        let tried = self.0.iter().find(|(tried, _)| tried == update);
        tried.map(|(_, sent)| *sent)
    }
}

#[cfg(test)]
#[path = "tenure_tests.rs"]
mod tests;

//! The local laws of leases and checkpoints, as predicates (`leases.md` section I).
//!
//! The code that takes a step asserts its law in debug builds; the checker of `tests/sim` judges whole
//! traces by the same functions, and so does its exhaustive model. Each speaks of *our own* step: a
//! row that somebody edited by hand breaks none of them.

use crate::core::lease::{Change, Lease};
use crate::core::sequence::ExtendedSequenceNumber;

/// How far a change raises the counter: each owner's write and each change of owner by one, the begin
/// of a hand-off and what is noted about the shard by nothing (I.4).
#[must_use]
pub const fn raise_of(change: &Change) -> u64 {
    match change {
        Change::SetChildren(_) | Change::SetHashRange(_) | Change::BeginHandOff { .. } => 0,
        Change::Renew
        | Change::Take { .. }
        | Change::Checkpoint(_)
        | Change::Assign { .. }
        | Change::Release => 1,
    }
}

/// I.4: the counter is raised by what the change says, and whoever processes the shard is another one
/// only when it is raised. (It stops at its largest value.)
#[must_use]
pub fn counter_moves_in_order(change: &Change, before: &Lease, after: &Lease) -> bool {
    let raised = after.counter.0.checked_sub(before.counter.0);
    let lawful = raised == Some(raise_of(change)) || before.counter.0 == u64::MAX;
    lawful && (raise_of(change) == 1 || before.actual_owner() == after.actual_owner())
}

/// I.15: a checkpoint never goes back.
#[must_use]
pub fn checkpoint_stays_or_advances(
    stored: &ExtendedSequenceNumber,
    next: &ExtendedSequenceNumber,
) -> bool {
    stored <= next
}

/// I.16, I.19: a checkpoint never exceeds the largest record that the child was given, or where it
/// began; the end of the shard is stored only when the child was told of it.
#[must_use]
pub fn checkpoint_was_earned(
    next: &ExtendedSequenceNumber,
    largest_delivered: &ExtendedSequenceNumber,
    told_of_the_end: bool,
) -> bool {
    if next.is_shard_end() {
        told_of_the_end || largest_delivered.is_shard_end()
    } else {
        next <= largest_delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{LeaseKey, WorkerId};
    use crate::core::lease::Counter;
    use crate::core::sequence::{Position, SequenceNumber};

    fn lease(counter: u64, owner: &str) -> Lease {
        let start = ExtendedSequenceNumber::sentinel(Position::TrimHorizon);
        let mut lease = Lease::new(LeaseKey::new("s"), start, vec![], None);
        lease.counter = Counter(counter);
        lease.owner = Some(WorkerId::new(owner));
        lease
    }

    fn place(number: u64) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::record(SequenceNumber::parse(&number.to_string()).unwrap(), 0)
    }

    #[test]
    fn all_changes_keep_the_law_of_the_counter() {
        let before = lease(7, "a");
        let (me, other) = (WorkerId::new("a"), WorkerId::new("b"));
        let updates = [
            before.renewal(),
            before.taken_by(&other),
            before.assigned_to(&other),
            before.handed_off_to(&other).unwrap(),
            before.checkpointed(place(1)),
            before.released(&me),
            before.with_children(vec![]),
        ];
        for update in updates {
            let after = update.applied_to(&before);
            assert!(
                counter_moves_in_order(&update.change, &before, &after),
                "{update:?}"
            );
            let jumped = Lease {
                counter: Counter(after.counter.0 + 1),
                ..after
            };
            assert!(!counter_moves_in_order(&update.change, &before, &jumped));
        }
        // Another owner without a raised counter.
        let stolen = lease(7, "b");
        assert!(!counter_moves_in_order(
            &Change::SetChildren(vec![]),
            &before,
            &stolen
        ));
    }

    #[test]
    fn checkpoints_are_earned_and_never_go_back() {
        let end = ExtendedSequenceNumber::SHARD_END;
        assert!(checkpoint_stays_or_advances(&place(1), &place(1)));
        assert!(checkpoint_stays_or_advances(&place(1), &end));
        assert!(!checkpoint_stays_or_advances(&place(2), &place(1)));
        assert!(checkpoint_was_earned(&place(2), &place(2), false));
        assert!(!checkpoint_was_earned(&place(3), &place(2), true));
        assert!(checkpoint_was_earned(&end, &place(2), true));
        assert!(!checkpoint_was_earned(&end, &place(2), false));
    }
}

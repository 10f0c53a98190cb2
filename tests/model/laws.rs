//! What must hold of each write, of each delivery and of each state (`leases.md` section I).

use kcl_daemon::core::laws;
use kcl_daemon::core::lease::{Change, Lease, LeaseUpdate};

use crate::world::{
    Aim, CHILDREN, F, Flight, NAMES, PARENT, RECORDS, SHARDS, State, key_number, place_number,
};

/// A law that is broken, and how.
pub type Broken = (&'static str, String);

/// Judges a write that the table carries out now.
pub fn of_update(
    state: &State,
    flight: &Flight,
    update: &LeaseUpdate,
    before: &Lease,
) -> Option<Broken> {
    let shard = key_number(&update.key);
    let truth = &state.truth[shard];
    let after = update.applied_to(before);
    let by = flight.by;
    let broken = |law, text: &str| Some((law, format!("shard {shard}: {text}")));
    if !laws::counter_moves_in_order(&update.change, before, &after) {
        return broken("I.4", "the counter does not move in order");
    }
    if flight.aim == Aim::Own && truth.holder != Some(by) {
        let text = format!("{by:?} writes, {:?} holds", truth.holder);
        return broken("I.14", &text);
    }
    let me = &NAMES.workers[usize::from(by.worker)];
    let others = before.actual_owner().is_some_and(|owner| owner != me);
    if matches!(flight.aim, Aim::Take | Aim::AssignDead) && others && state.now - truth.moved <= F {
        return broken(
            "I.3",
            "taken from an owner that is not silent for long enough",
        );
    }
    if let Change::Checkpoint(to) = &update.change {
        if !laws::checkpoint_stays_or_advances(&before.checkpoint, to) {
            return broken("I.15", "the checkpoint goes back");
        }
        if to.is_shard_end() {
            if CHILDREN.iter().any(|child| !state.truth[*child].existed) {
                return broken("I.24", "it ends before its children exist");
            }
            if truth.delivered < RECORDS {
                return broken("I.19", "it ends before its last record");
            }
        } else if place_number(to) > truth.delivered {
            return broken("I.16", "the checkpoint is beyond what was delivered");
        }
    }
    None
}

/// Judges the delete of a lease.
pub fn of_delete(state: &State, row: &Lease) -> Option<Broken> {
    let progressed = |child: &usize| {
        let row = state.rows[*child].as_ref();
        row.is_some_and(|row| place_number(&row.checkpoint) > 0)
    };
    let due = row.is_finished() && CHILDREN.iter().all(progressed);
    (!due).then(|| ("I.27", format!("{} is deleted too early", row.key)))
}

/// Judges the delivery of a record to a child of worker `by`, whose last successful write was sent at
/// `sent_ok`.
pub fn of_delivery(
    state: &State,
    by: u8,
    shard: usize,
    record: u8,
    sent_ok: u16,
) -> Option<Broken> {
    let broken = |law, text: String| Some((law, format!("shard {shard}: {text}")));
    if state.now >= sent_ok + F {
        return broken(
            "I.2",
            format!("{} ticks after the last write", state.now - sent_ok),
        );
    }
    let me = &NAMES.workers[usize::from(by)];
    let owner = state.rows[shard]
        .as_ref()
        .and_then(|row| row.actual_owner());
    if owner != Some(me) && state.now - state.truth[shard].changed_hands > F {
        return broken("I.1", format!("delivered by {me}, owned by {owner:?}"));
    }
    let unfinished = |row: &std::sync::Arc<Lease>| !row.is_finished();
    if CHILDREN.contains(&shard) && state.rows[PARENT].as_ref().is_some_and(unfinished) {
        return broken("I.23", "delivered before its parent ended".to_owned());
    }
    if record > state.truth[shard].delivered {
        return broken(
            "I.18",
            format!("record {record} comes before the one before it"),
        );
    }
    None
}

/// Judges where a child starts.
pub fn of_start(row: Option<&Lease>, is_known: bool, from: u8) -> Option<Broken> {
    let stored = row.map(|row| place_number(&row.checkpoint));
    let right = stored.is_none_or(|stored| {
        if is_known {
            from == stored
        } else {
            from <= stored
        }
    });
    (!right).then(|| {
        (
            "I.18",
            format!("starts at {from}, the lease says {stored:?}"),
        )
    })
}

/// Judges a state.
pub fn of_state(state: &State) -> Option<Broken> {
    let finished = |shard: usize| {
        state.rows[shard]
            .as_ref()
            .is_none_or(|row| row.is_finished())
    };
    let children_existed = CHILDREN.iter().all(|child| state.truth[*child].existed);
    if finished(PARENT) && !children_existed {
        return Some((
            "I.26",
            "the parent ended and its children were never made".to_owned(),
        ));
    }
    for shard in 1..SHARDS {
        if state.truth[shard].existed && finished(shard) {
            return Some(("I.26", format!("nobody has shard {shard}, which is open")));
        }
    }
    for hold in state
        .minds
        .iter()
        .flatten()
        .flat_map(|mind| mind.held.iter().flatten())
    {
        let known = hold.tenure.lease();
        let settled = hold.slow.is_none() && hold.tenure.in_doubt().is_empty();
        let Some(row) = state
            .row(&known.key)
            .filter(|_| settled && !hold.tenure.is_over())
        else {
            continue;
        };
        let same = known.checkpoint == row.checkpoint && known.actual_owner() == row.actual_owner();
        if known.counter > row.counter || (known.counter == row.counter && !same) {
            return Some((
                "I.7",
                format!("{:?} knows {known:?}, the table says {row:?}", hold.id),
            ));
        }
    }
    None
}

//! I.4 to I.8 and I.14: what an owner writes.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::laws;
use kcl_daemon::core::lease::{Change, Condition, Counter, Lease, LeaseUpdate};

use super::Violation;
use super::history::{History, new_owner};
use crate::trace::{Answer, CallNumber, Op, ProcessNumber, Row, Told, What};
use crate::world::{MS, Time};

/// Whether a write is one that only an owner makes. A renewal that relies on there being no hand-off is
/// how a lease is adopted that a leader gave.
fn is_owners(update: &LeaseUpdate) -> bool {
    match &update.change {
        Change::Renew => !matches!(update.condition, Condition::CounterNoHandOff(_)),
        change => matches!(change, Change::Checkpoint(_) | Change::Release),
    }
}

/// I.4: each owner's write, and each change of the owner, raises the counter by exactly one; nothing
/// else does.
pub fn counters_move_by_one(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        let Some(process) = write.process().filter(|p| history.is_ours(*p)) else {
            continue;
        };
        let (Some(before), Some(after)) = (write.before_lease(), write.after_lease()) else {
            continue;
        };
        let Some(change) = write.change() else {
            continue;
        };
        if !laws::counter_moves_in_order(change, before, after) {
            let text = format!(
                "{} wrote counter {} over {}",
                history.name(process),
                after.counter.0,
                before.counter.0
            );
            wrong.push(history.violation("I.4", write.index, Some(write.key), text));
        }
    }
    wrong
}

/// I.5: a checkpoint is written only for a child that was started after the lease was acquired.
pub fn checkpoints_belong_to_the_tenure(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut acquired: BTreeMap<(WorkerId, LeaseKey), usize> = BTreeMap::new();
    let mut asker: BTreeMap<(ProcessNumber, LeaseKey), usize> = BTreeMap::new();
    // Who had a lease before its owner was edited, and with which counter.
    let mut by_hand: BTreeMap<LeaseKey, (Option<WorkerId>, Option<Counter>)> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::Asked { child, .. } => {
                if let Some(child) = history.children.get(child) {
                    let key = LeaseKey::of_shard(&child.shard);
                    asker.insert((child.process, key), child.started);
                }
            }
            What::Applied { .. } | What::Edited { .. } => {
                // Whoever edits owners by hand, counters untouched, ends nobody's tenure that gets it back: it
                // cannot be told from a renewal whose answer was lost.
                if let Some(write) = history.write(index)
                    && let (None, Some(before)) = (write.call, write.before_lease())
                    && write.after_lease().map(|lease| lease.counter) == Some(before.counter)
                {
                    let had = by_hand.entry(write.key.clone()).or_default();
                    if had.1 != Some(before.counter) {
                        *had = (before.actual_owner().cloned(), Some(before.counter));
                    }
                } else if let Some((worker, key)) = new_owner(history, index) {
                    let before = history.write(index);
                    let before = before.and_then(|write| write.before_lease().map(|l| l.counter));
                    if by_hand.get(key) != Some(&(Some(worker.clone()), before)) {
                        acquired.insert((worker, key.clone()), index);
                    }
                }
                let What::Applied { call, .. } = &event.what else {
                    continue;
                };
                let Some((call, update)) = history.update(*call) else {
                    continue;
                };
                let process = call.process;
                if !matches!(update.change, Change::Checkpoint(_)) || !history.is_ours(process) {
                    continue;
                }
                let place = (process, update.key.clone());
                let owner = (history.name(process), update.key.clone());
                let (started, since) = (asker.get(&place), acquired.get(&owner));
                if started < since {
                    let text = "the child that asked was started before the lease was acquired";
                    wrong.push(history.violation("I.5", index, Some(&update.key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// I.6: after a condition that failed, a lease is not used until it is acquired again.
pub fn what_is_lost_is_not_used(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut lost: BTreeSet<(ProcessNumber, LeaseKey)> = BTreeSet::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::Answered { call, answer } => {
                let Some((call, update)) = history.update(*call) else {
                    continue;
                };
                if !history.is_ours(call.process) {
                    continue;
                }
                let place = (call.process, update.key.clone());
                match answer {
                    Answer::Lost(row) if is_owners(update) => {
                        let me = history.name(call.process);
                        let lease = row.as_deref().and_then(Row::as_lease);
                        let mine = |lease: &Lease| {
                            is_own_lost_answer(lease, update, &me)
                                || lease.checkpoint_owner.as_ref() == Some(&me)
                        };
                        if !lease.is_some_and(mine) {
                            lost.insert(place);
                        }
                    }
                    _ => {}
                }
            }
            What::Applied { .. } => {
                if let Some((owner, key)) = new_owner(history, index) {
                    lost.retain(|(process, lost)| history.name(*process) != owner || lost != key);
                }
                // Adopted: by a renewal that is none of an owner.
                if let What::Applied { call, .. } = &event.what
                    && let Some((call, update)) = history.update(*call)
                    && update.change == Change::Renew
                    && !is_owners(update)
                {
                    lost.remove(&(call.process, update.key.clone()));
                }
            }
            What::Sent {
                op: Op::Update(update),
                ..
            } if is_owners(update) => {
                let place = (event.by.unwrap_or(u32::MAX), update.key.clone());
                if lost.contains(&place) {
                    let text = "written although the lease was found to be lost";
                    wrong.push(history.violation("I.6", index, Some(&update.key), text));
                }
            }
            What::Told {
                child,
                told: Told::Records(_),
            } => {
                let Some(child) = history.children.get(child) else {
                    continue;
                };
                let key = LeaseKey::of_shard(&child.shard);
                if lost.contains(&(child.process, key.clone())) {
                    let text = "delivered although the lease was found to be lost";
                    wrong.push(history.violation("I.6", index, Some(&key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// The row is what one of our own writes made it: one counter further, and ours (or nobody's, if it
/// was released).
fn is_own_lost_answer(lease: &Lease, update: &LeaseUpdate, me: &WorkerId) -> bool {
    let expected = match &update.condition {
        Condition::Counter(counter)
        | Condition::CounterAndOwner(counter, _)
        | Condition::CounterNoHandOff(counter) => counter.next(),
        // Nothing is said about who wrote last.
        Condition::Owners { .. } | Condition::Exists => return true,
    };
    let owner_fits = match update.change {
        Change::Release => lease.owner.is_none() || lease.owner.as_ref() == Some(me),
        _ => lease.owner.as_ref() == Some(me),
    };
    lease.counter == expected && owner_fits
}

/// I.7: a write whose answer never came is followed by a read before the next write on that lease,
/// and no counter is guessed.
pub fn doubts_are_resolved_by_reading(history: &History<'_>) -> Vec<Violation> {
    struct Doubt {
        call: CallNumber,
        settled: bool,
    }
    let mut wrong = Vec::new();
    let mut last: BTreeMap<(ProcessNumber, LeaseKey), Doubt> = BTreeMap::new();
    let mut known: BTreeMap<(ProcessNumber, LeaseKey), BTreeSet<Counter>> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        let Some(process) = event.by.filter(|process| history.is_ours(*process)) else {
            continue;
        };
        match &event.what {
            What::Answered { call, answer } => {
                let rows: Vec<&Lease> = match answer {
                    Answer::Rows(rows) => rows.iter().filter_map(|row| row.as_lease()).collect(),
                    Answer::Row(Some(row)) | Answer::Applied(row) | Answer::Lost(Some(row)) => {
                        row.as_lease().into_iter().collect()
                    }
                    _ => Vec::new(),
                };
                for lease in rows {
                    let counters = known.entry((process, lease.key.clone())).or_default();
                    counters.insert(lease.counter);
                }
                if let Some((_, update)) = history.update(*call)
                    && *answer != Answer::Unknown
                    && let Some(doubt) = last.get_mut(&(process, update.key.clone()))
                    && doubt.call == *call
                {
                    doubt.settled = true;
                }
            }
            What::Sent { op: Op::Scan, .. } => {
                for (place, doubt) in &mut last {
                    doubt.settled |= place.0 == process;
                }
            }
            What::Sent {
                op: Op::Get(key, _),
                ..
            } => {
                if let Some(doubt) = last.get_mut(&(process, key.clone())) {
                    doubt.settled = true;
                }
            }
            What::Sent {
                call,
                op: Op::Update(update),
            } => {
                let (Condition::Counter(counter)
                | Condition::CounterAndOwner(counter, _)
                | Condition::CounterNoHandOff(counter)) = &update.condition
                else {
                    continue;
                };
                let place = (process, update.key.clone());
                if !known
                    .get(&place)
                    .is_some_and(|known| known.contains(counter))
                {
                    let text = format!("counter {} was never read", counter.0);
                    wrong.push(history.violation("I.7", index, Some(&update.key), text));
                }
                // Letting go twice is letting go once; and adopting is for whoever does not hold it.
                let again = matches!(update.change, Change::Release | Change::Take { .. })
                    || matches!(update.condition, Condition::CounterNoHandOff(_));
                if !again && last.get(&place).is_some_and(|doubt| !doubt.settled) {
                    let text = "written again without reading after an answer that never came";
                    wrong.push(history.violation("I.7", index, Some(&update.key), text));
                }
                let (call, settled) = (*call, false);
                last.insert(place, Doubt { call, settled });
            }
            _ => {}
        }
    }
    wrong
}

/// I.8: while a lease is held, the next attempt to write its counter comes in time, whatever the
/// child, other leases or the table do.
pub fn renewals_are_never_late(history: &History<'_>) -> Vec<Violation> {
    // A renewal and the read after it, each of which ends within a third, and a pause.
    let limit = history.rules.failover * 3 / 4 + 100 * MS;
    let mut wrong = Vec::new();
    // The last attempt, by the clock of the process.
    let mut held: BTreeMap<(ProcessNumber, LeaseKey), (Time, Time)> = BTreeMap::new();
    let mut late = |index: usize, key: &LeaseKey, from: Time, to: Time| {
        if to > from + limit {
            let text = format!("no attempt to renew for {} ms", (to - from) / MS);
            wrong.push(history.violation("I.8", index, Some(key), text));
        }
    };
    let mut end = 0;
    for (index, event) in history.trace.events.iter().enumerate() {
        end = event.at;
        match &event.what {
            What::Answered { call, answer } => {
                // Taken by somebody else before the answer to the own take was there: a read shows it.
                if let (Some(process), Answer::Row(Some(row))) = (event.by, answer)
                    && row.actual_owner() != Some(&history.name(process))
                {
                    held.remove(&(process, row.key().clone()));
                }
                let Some((call, update)) = history.update(*call) else {
                    continue;
                };
                if !history.is_ours(call.process) {
                    continue;
                }
                let place = (call.process, update.key.clone());
                match (&update.change, answer) {
                    // Given to somebody else by hand, while the write was on its way.
                    (_, Answer::Applied(row))
                        if row.actual_owner() != Some(&history.name(call.process)) =>
                    {
                        held.remove(&place);
                    }
                    (Change::Take { .. }, Answer::Applied(_)) => {
                        held.insert(place, (event.local, event.at));
                    }
                    (Change::Release | Change::Assign { .. }, Answer::Applied(_)) => {
                        held.remove(&place);
                    }
                    (_, Answer::Lost(_)) if is_owners(update) => {
                        held.remove(&place);
                    }
                    _ => {}
                }
            }
            What::Sent { op, .. } => {
                let process = event.by.unwrap_or(u32::MAX);
                match op {
                    Op::Update(update) if is_owners(update) => {
                        let place = (process, update.key.clone());
                        if let Some(last) = held.get_mut(&place) {
                            late(index, &update.key, last.0, event.local);
                            *last = (event.local, event.at);
                        }
                        if update.change == Change::Release {
                            held.remove(&place);
                        }
                    }
                    // Passed on, or a hand-off finished.
                    Op::Update(update) if matches!(update.change, Change::Assign { .. }) => {
                        held.remove(&(process, update.key.clone()));
                    }
                    Op::Delete(deletion) => {
                        held.remove(&(process, deletion.key.clone()));
                    }
                    // A read after a write in doubt may show that the lease is lost.
                    Op::Get(key, _) => {
                        if let Some(last) = held.get_mut(&(process, key.clone())) {
                            late(index, key, last.0, event.local);
                        }
                    }
                    _ => {}
                }
            }
            What::Ended(_) => {
                let process = event.by.unwrap_or(u32::MAX);
                held.retain(|place, _| place.0 != process);
            }
            What::Killed { process } => held.retain(|place, _| place.0 != *process),
            What::Edited {
                before: Some(row), ..
            } => {
                held.retain(|place, _| place.1 != *row.key());
            }
            What::Thawed { process } => {
                for (_, last) in held.iter_mut().filter(|(place, _)| place.0 == *process) {
                    // What it missed comes now.
                    *last = (last.0 + (event.at - last.1), event.at);
                }
            }
            What::Applied { call, .. } => {
                // Whoever lost a lease learns of it at the next attempt, at the latest.
                if let Some((call, update)) = history.update(*call)
                    && matches!(update.change, Change::Take { .. } | Change::Assign { .. })
                {
                    held.retain(|place, _| place.0 == call.process || place.1 != update.key);
                }
            }
            _ => {}
        }
    }
    let last = history.trace.events.len().saturating_sub(1);
    for ((_, key), (_, at)) in &held {
        late(last, key, *at, end);
    }
    wrong
}

/// Whether an assignment is the last word of the owner: the end of a hand-off.
fn lets_go(update: &LeaseUpdate) -> bool {
    matches!(
        &update.condition,
        Condition::Owners { checkpoint_owner, .. } if checkpoint_owner.is_some()
    )
}

/// I.14: whoever released a lease writes nothing more to it, unless it takes it anew.
pub fn nothing_is_written_after_the_release(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut released: BTreeSet<(ProcessNumber, LeaseKey)> = BTreeSet::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::Edited { .. } => {
                if let Some((owner, key)) = new_owner(history, index) {
                    released.retain(|(process, of)| of != key || history.name(*process) != owner);
                }
            }
            What::Applied { call, .. } => {
                // Adopted: by a renewal that is none of an owner.
                if let Some((call, update)) = history.update(*call)
                    && update.change == Change::Renew
                    && !is_owners(update)
                {
                    released.remove(&(call.process, update.key.clone()));
                }
                if let Some((owner, key)) = new_owner(history, index) {
                    released.retain(|(process, of)| of != key || history.name(*process) != owner);
                }
                if let Some((call, update)) = history.update(*call)
                    && history.is_ours(call.process)
                    && let Some(write) = history.write(index)
                {
                    let me = history.name(call.process);
                    let mine = write.before.and_then(|row| row.actual_owner()) == Some(&me);
                    match &update.change {
                        Change::Release => {
                            released.insert((call.process, update.key.clone()));
                        }
                        // A leader may move its own lease as any other, and its keeper finds out.
                        Change::Assign { owner, .. } if mine && *owner != me && lets_go(update) => {
                            released.insert((call.process, update.key.clone()));
                        }
                        _ => {}
                    }
                }
            }
            What::Sent {
                op: Op::Update(update),
                ..
            } if is_owners(update) && update.change != Change::Release => {
                let place = (event.by.unwrap_or(u32::MAX), update.key.clone());
                if released.contains(&place) {
                    let text = "written after the release";
                    wrong.push(history.violation("I.14", index, Some(&update.key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

//! I.31, I.32 and what a graceful stop leaves behind: who holds what.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::lease::{Change, Lease};

use super::Violation;
use super::history::{History, Rows};
use crate::trace::{Answer, ProcessNumber, What};
use crate::world::{MS, S, Time};

/// I.31 and liveness: once nothing goes wrong any more, every lease finds a living owner and every
/// record a child, within the bound.
pub fn everything_is_well_in_the_end(history: &History<'_>) -> Vec<Violation> {
    let events = history.trace.events.iter().enumerate();
    events
        .filter_map(|(index, event)| match &event.what {
            What::Unsettled(why) => Some(history.violation("I.31", index, None, why.clone())),
            _ => None,
        })
        .collect()
}

/// I.32: in a fleet that is balanced within one lease, and in which nothing went wrong for a while,
/// nobody steals; nor does a leader move anything (#1814).
pub fn a_balanced_fleet_rests(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut rows = Rows::default();
    let mut alive: BTreeSet<ProcessNumber> = BTreeSet::new();
    let mut quiet_since: Option<Time> = None;
    // When each lease's counter changed last.
    let mut moved: BTreeMap<&LeaseKey, Time> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::Started => {
                alive.insert(event.by.unwrap_or(u32::MAX));
                quiet_since = quiet_since.map(|_| event.at);
            }
            What::Ended(_) => {
                alive.remove(&event.by.unwrap_or(u32::MAX));
                quiet_since = quiet_since.map(|_| event.at);
            }
            What::Killed { process } => {
                alive.remove(process);
                quiet_since = quiet_since.map(|_| event.at);
            }
            // Whoever is asked to stop passes its leases on.
            What::StopAsked { .. } | What::Thawed { .. } => {
                quiet_since = quiet_since.map(|_| event.at)
            }
            What::Calm => quiet_since = Some(event.at),
            _ => {}
        }
        let Some(write) = history.write(index) else {
            continue;
        };
        let before = write.before.and_then(|row| row.actual_owner());
        let stolen_by = match (write.change(), write.process(), before) {
            (
                Some(
                    Change::Take { owner, .. }
                    | Change::Assign { owner, .. }
                    | Change::BeginHandOff { to: owner, .. },
                ),
                Some(process),
                Some(before),
            ) if before != owner && history.is_ours(process) && !handing(&write) => Some(owner),
            _ => None,
        };
        let rest = match history.rules.assigned {
            true => history.rules.assignment_interval * 2 + history.rules.hand_off_timeout,
            false => history.rules.failover * 2,
        };
        let rested = quiet_since.is_some_and(|since| event.at > since + rest);
        // Its owner lives, and has let it expire: nobody is robbed.
        let expired = moved
            .get(write.key)
            .is_some_and(|moved| event.at > moved + history.rules.failover);
        if let Some(thief) = stolen_by.filter(|_| rested && !expired) {
            let counted = |all: bool| {
                let mut counts: BTreeMap<WorkerId, usize> =
                    alive.iter().map(|p| (history.name(*p), 0)).collect();
                for lease in rows.leases().filter(|lease| all || !lease.is_finished()) {
                    if let Some(count) = lease.owner.as_ref().and_then(|o| counts.get_mut(o)) {
                        *count += 1;
                    }
                }
                counts
            };
            let is_even = |counts: &BTreeMap<WorkerId, usize>| {
                let (min, max) = (counts.values().min(), counts.values().max());
                min.zip(max).is_some_and(|(min, max)| max - min <= 1)
            };
            let counts = counted(true);
            // Finished leases weigh nothing where all are ours and have shown it.
            let mut owners = rows.leases().filter_map(|lease| lease.owner.as_ref());
            let all_ours = owners.all(|owner| history.is_named_as_ours(owner));
            let even = is_even(&counts) && (!all_ours || is_even(&counted(false)));
            if even && before.is_some_and(|owner| counts.contains_key(owner)) {
                let text = format!("{thief} steals although {counts:?} is balanced");
                wrong.push(history.violation("I.32", index, Some(write.key), text));
            }
        }
        if write.before.map(|row| row.actual_owner()) != write.after.map(|row| row.actual_owner()) {
            quiet_since = quiet_since.map(|_| event.at);
        }
        let counter = |lease: Option<&Lease>| lease.map(|lease| lease.counter);
        if counter(write.before_lease()) != counter(write.after_lease()) {
            moved.insert(write.key, event.at);
        }
        rows.after(&write);
    }
    wrong
}

/// I.32: when nothing happens, no lease goes from one living worker to another again and again.
pub fn leases_do_not_wander(history: &History<'_>) -> Vec<Violation> {
    const ENOUGH: u32 = 3;
    let mut wrong = Vec::new();
    let mut moves: BTreeMap<LeaseKey, u32> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::Started
            | What::Ended(_)
            | What::Killed { .. }
            | What::StopAsked { .. }
            | What::Thawed { .. }
            | What::Closed { .. }
            | What::Calm => moves.clear(),
            _ => {}
        }
        let Some(write) = history.write(index) else {
            continue;
        };
        // There is more or less to share than before.
        let finished = |lease: Option<&Lease>| lease.map(Lease::is_finished);
        if finished(write.before_lease()) != finished(write.after_lease()) {
            moves.clear();
        }
        let (Some(process), Some(before), Some(after)) =
            (write.process(), write.before_lease(), write.after_lease())
        else {
            continue;
        };
        let moved = before.owner.is_some() && after.owner.is_some() && before.owner != after.owner;
        let calm = history.calm.is_some_and(|calm| calm < index);
        if !moved || !calm || !history.is_ours(process) {
            continue;
        }
        let count = moves.entry(write.key.clone()).or_default();
        *count += 1;
        if *count > ENOUGH {
            let text = format!("moved {count} times though nothing happened");
            wrong.push(history.violation("I.32", index, Some(write.key), text));
        }
    }
    wrong
}

/// Whether a write ends a hand-off.
fn handing(write: &super::history::Write<'_>) -> bool {
    write
        .before_lease()
        .is_some_and(|lease| lease.in_hand_off())
}

/// G.6: whoever stopped in order owns no lease afterwards, and had told its children.
pub fn whoever_stops_lets_go(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut rows = Rows::default();
    let mut running: BTreeMap<ProcessNumber, BTreeSet<u32>> = BTreeMap::new();
    let mut asked_in_calm: BTreeSet<ProcessNumber> = BTreeSet::new();
    let mut given: BTreeMap<LeaseKey, Time> = BTreeMap::new();
    let mut had: BTreeSet<(ProcessNumber, LeaseKey)> = BTreeSet::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            let owner = |row: Option<&std::sync::Arc<crate::trace::Row>>| {
                row.and_then(|row| row.as_lease()?.owner.clone())
            };
            if owner(write.before) != owner(write.after) {
                given.insert(write.key.clone(), write.at);
            }
            rows.after(&write);
        }
        match &event.what {
            // Of a take whose answer never came it may not have learnt.
            What::Answered {
                answer: Answer::Applied(row),
                ..
            } => {
                let process = event.by.unwrap_or(u32::MAX);
                had.insert((process, row.key().clone()));
            }
            What::ChildStarted { child, .. } => {
                let process = event.by.unwrap_or(u32::MAX);
                running.entry(process).or_default().insert(*child);
            }
            What::StopAsked { process } if history.calm.is_some_and(|calm| calm < index) => {
                asked_in_calm.insert(*process);
            }
            What::ChildGone { child, .. } => {
                let process = event.by.unwrap_or(u32::MAX);
                running.entry(process).or_default().remove(child);
            }
            What::Ended(how) if how == "Stopped" => {
                let process = event.by.unwrap_or(u32::MAX);
                let me = history.name(process);
                if !history.is_ours(process) {
                    continue;
                }
                // What it was given a moment ago by somebody who did not know that it leaves is not its
                // fault.
                let old = |key: &LeaseKey| {
                    given
                        .get(key)
                        .is_none_or(|at| event.at > at + history.rules.failover)
                };
                let kept: Vec<&LeaseKey> = rows
                    .leases()
                    .filter(|lease| lease.owner.as_ref() == Some(&me) && old(&lease.key))
                    .map(|lease| &lease.key)
                    // What carries its id from a former life it may not have come to yet.
                    .filter(|key| had.contains(&(process, (*key).clone())))
                    .collect();
                // In bad weather a release may fail, and a write of long ago may arrive.
                let calm = asked_in_calm.contains(&process);
                if !kept.is_empty() && calm {
                    let text = format!("{me} stopped in order and still owns {kept:?}");
                    wrong.push(history.violation("G.6", index, None, text));
                }
                if let Some(children) = running.get(&process).filter(|c| !c.is_empty()) {
                    let text = format!("{me} ended before its children {children:?}");
                    wrong.push(history.violation("G.6", index, None, text));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// G.6: a stop ends in time, whatever children do.
pub fn stops_end(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let Some(grace) = history.rules.grace else {
        return wrong;
    };
    // What lets go of leases has its own time after the grace of children.
    let limit = grace + history.rules.failover.max(10 * S);
    let mut asked: BTreeMap<ProcessNumber, Time> = BTreeMap::new();
    let mut late = |index: usize, process: ProcessNumber, since: Time, now: Time| {
        if history.is_ours(process) && now > since + limit {
            let text = format!(
                "{} was asked to stop {} ms ago",
                history.name(process),
                (now - since) / MS
            );
            wrong.push(history.violation("G.6", index, None, text));
        }
    };
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::StopAsked { process } => {
                asked.entry(*process).or_insert(event.at);
            }
            What::Thawed { process } => {
                asked.entry(*process).and_modify(|since| *since = event.at);
            }
            What::Ended(_) => {
                if let Some((process, since)) = asked.remove_entry(&event.by.unwrap_or(u32::MAX)) {
                    late(index, process, since, event.at);
                }
            }
            What::Killed { process } => {
                asked.remove(process);
            }
            _ => {}
        }
    }
    let last = history.trace.events.len().saturating_sub(1);
    let end = history.trace.events.last().map_or(0, |event| event.at);
    for (process, since) in asked {
        late(last, process, since, end);
    }
    wrong
}

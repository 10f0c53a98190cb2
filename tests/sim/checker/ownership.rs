//! I.1 to I.3, I.9 and I.10: who delivers, and who takes.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::{LeaseKey, WorkerId};
use kcl_daemon::core::lease::{Change, Condition, Counter, Lease};

use super::Violation;
use super::history::{History, Rows, new_owner};
use crate::trace::{Answer, Op, ProcessNumber, Told, What};
use crate::world::{MS, Time};

/// Goes through all batches that our processes gave to children.
fn deliveries<'a>(
    history: &'a History<'a>,
) -> impl Iterator<Item = (usize, ProcessNumber, LeaseKey)> + 'a {
    history
        .trace
        .events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| match &event.what {
            What::Told {
                child,
                told: Told::Records(_),
            } => {
                let child = history.children.get(child)?;
                let key = LeaseKey::of_shard(&child.shard);
                history
                    .is_ours(child.process)
                    .then_some((index, child.process, key))
            }
            _ => None,
        })
}

/// I.1: nobody delivers records of a shard for longer than the failover time after somebody else
/// became its owner.
pub fn one_worker_delivers(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    // Since when a worker is not the owner any more.
    let mut lost: BTreeMap<(&LeaseKey, WorkerId), Time> = BTreeMap::new();
    let mut writes = history.writes().peekable();
    for (index, process, key) in deliveries(history) {
        while let Some(write) = writes.next_if(|write| write.index < index) {
            let before = write.before.and_then(|row| row.actual_owner());
            let after = write.after.and_then(|row| row.actual_owner());
            // A lease without an owner, as somebody may leave it by hand, is nobody else's.
            if let Some(after) = after.filter(|after| Some(*after) != before) {
                lost.remove(&(write.key, after.clone()));
                if let Some(before) = before {
                    lost.insert((write.key, before.clone()), write.at);
                }
            }
        }
        let at = history.trace.events[index].at;
        let me = history.name(process);
        let Some(since) = lost
            .iter()
            .find(|((lost_key, worker), _)| **lost_key == key && *worker == me)
            .map(|(_, since)| *since)
        else {
            continue;
        };
        let late = (at - since).saturating_sub(history.suspended(process, since, at));
        if late > history.rules.failover {
            let text = format!("{me} delivers {} ms after it lost the lease", late / MS);
            wrong.push(history.violation("I.1", index, Some(&key), text));
        }
    }
    wrong
}

/// Writes by which a process said that a lease is its own: the event, when by its clock, and the counter that
/// each relied on.
type Tries<'a> = BTreeMap<(ProcessNumber, &'a LeaseKey), Vec<(usize, Time, Counter)>>;

fn tries<'a>(history: &'a History<'a>) -> Tries<'a> {
    let mut tries: Tries<'a> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let (
            Some(process),
            What::Sent {
                op: Op::Update(update),
                ..
            },
        ) = (event.by, &event.what)
            && let (Change::Renew | Change::Checkpoint(_), Condition::Counter(counter)) =
                (&update.change, &update.condition)
        {
            let of = tries.entry((process, &update.key)).or_default();
            of.push((index, event.local, *counter));
        }
    }
    tries
}

/// Who raised a counter, and whose the lease was then.
type Raised = (Option<ProcessNumber>, Option<WorkerId>);

/// I.2: nothing is delivered later than the failover time after the last successful write was sent.
pub fn nothing_is_delivered_from_a_stale_lease(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut last: BTreeMap<(ProcessNumber, &LeaseKey), Time> = BTreeMap::new();
    let tries = tries(history);
    // Counters that somebody raised, by whom, and whose the lease was then.
    let mut raised: BTreeMap<(&LeaseKey, Counter), Vec<Raised>> = BTreeMap::new();
    let mut writes = history.writes().peekable();
    for (index, process, key) in deliveries(history) {
        while let Some(write) = writes.next_if(|write| write.index < index) {
            if let (Some(before), Some(after)) = (write.before_lease(), write.after_lease())
                && after.counter == before.counter.next()
            {
                let owner = after.actual_owner().cloned();
                let by = raised.entry((write.key, before.counter)).or_default();
                by.push((write.process(), owner));
            }
            let (Some(call), Some(change)) = (write.call, write.change()) else {
                continue;
            };
            let me = history.name(call.process);
            if !matches!(change, Change::SetChildren(_) | Change::SetHashRange(_))
                && write.after.and_then(|row| row.actual_owner()) == Some(&me)
            {
                let sent = last.entry((call.process, write.key)).or_default();
                *sent = (*sent).max(call.sent_local);
            }
        }
        let local = history.trace.events[index].local;
        let mut sent = last.get(&(process, &key)).copied().unwrap_or(0);
        // A renewal whose answer never came cannot be told from an edit that did the same, nor from a leader's
        // giving the lease to its owner again after somebody removed it from the row.
        let me = history.name(process);
        for (at, tried, counter) in tries.get(&(process, &key)).into_iter().flatten() {
            let by_others = raised.get(&(&key, *counter)).is_some_and(|by| {
                by.iter()
                    .any(|(by, owner)| *by != Some(process) && owner.as_ref() == Some(&me))
            });
            if *at < index && by_others {
                sent = sent.max(*tried);
            }
        }
        if local > sent + history.rules.failover {
            let text = format!("{} ms after its last successful write", (local - sent) / MS);
            wrong.push(history.violation("I.2", index, Some(&key), text));
        }
    }
    wrong
}

/// What a process has seen of a lease with one counter.
struct Sight {
    owner: Option<WorkerId>,
    /// When it saw this counter first.
    since: Time,
}

/// Who owned a lease, and whether it was finished.
type Owned = (Option<WorkerId>, bool);

/// I.3: a lease of somebody else is taken only when its counter was seen unchanged for longer than
/// the failover time, or as the steal that B.5 allows.
pub fn only_what_expired_is_taken(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut sights: BTreeMap<(ProcessNumber, LeaseKey), BTreeMap<Counter, Sight>> = BTreeMap::new();
    // Owners at the last scan, whether each lease is finished, and how many were stolen since.
    let mut scans: BTreeMap<ProcessNumber, (Vec<Owned>, usize)> = BTreeMap::new();
    // Whether kcl-daemons had written all rows that were owned then.
    let mut marked: BTreeMap<ProcessNumber, bool> = BTreeMap::new();
    let mut rows = Rows::default();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            rows.after(&write);
        }
        let Some(process) = event.by.filter(|process| history.is_ours(*process)) else {
            continue;
        };
        let mut see = |lease: &Lease| {
            let seen = sights.entry((process, lease.key.clone())).or_default();
            let sight = seen.entry(lease.counter).or_insert_with(|| Sight {
                owner: None,
                since: event.local,
            });
            sight.owner = lease.actual_owner().cloned();
        };
        match &event.what {
            What::Answered { answer, .. } => match answer {
                Answer::Rows(rows) => {
                    let leases: Vec<&Lease> =
                        rows.iter().filter_map(|row| row.as_lease()).collect();
                    leases.iter().for_each(|lease| see(lease));
                    let owners = leases.iter();
                    let owners = owners.map(|l| (l.actual_owner().cloned(), l.is_finished()));
                    scans.insert(process, (owners.collect(), 0));
                    // Whoever has the lease by an edit, the last write to the row tells.
                    marked.insert(
                        process,
                        leases.iter().all(|l| l.owner.is_none() || l.marked),
                    );
                }
                Answer::Row(Some(row)) | Answer::Applied(row) | Answer::Lost(Some(row)) => {
                    row.as_lease().into_iter().for_each(&mut see);
                }
                _ => {}
            },
            What::Sent {
                op: Op::Update(update),
                ..
            } => {
                let key = &update.key;
                let (me, counter, as_dead) = match (&update.change, &update.condition) {
                    (Change::Take { owner, .. }, Condition::Counter(counter)) => {
                        (owner, counter, false)
                    }
                    // A leader gives away what it thinks is dead.
                    (
                        Change::Assign { owner, .. },
                        Condition::Owners {
                            owner: had,
                            checkpoint_owner: hands_off,
                            counter: Some(counter),
                        },
                        // Its own it may pass on, or keep although it was to hand it off.
                    ) if hands_off.as_ref().or(had.as_ref()) != Some(&history.name(process)) => {
                        (owner, counter, true)
                    }
                    _ => continue,
                };
                let seen = sights.get(&(process, key.clone()));
                let Some(sight) = seen.and_then(|seen| seen.get(counter)) else {
                    let text = "taken without having been seen";
                    wrong.push(history.violation("I.3", index, Some(key), text));
                    continue;
                };
                let Some(owner) = &sight.owner else {
                    continue;
                };
                if (owner == me && !as_dead) || event.local > sight.since + history.rules.failover {
                    continue;
                }
                // Counters do not come back: what is decided on an old row takes nothing.
                if rows
                    .lease(key)
                    .is_some_and(|lease| lease.counter > *counter)
                {
                    continue;
                }
                let Some((owners, stolen)) = scans.get_mut(&process) else {
                    continue;
                };
                *stolen += 1;
                // Finished ones weigh nothing where all are ours and have shown it.
                let of = |worker: &WorkerId, all: bool| {
                    let counted = owners.iter().filter(|(_, finished)| all || !finished);
                    counted.filter(|(o, _)| o.as_ref() == Some(worker)).count()
                };
                let has_more = |all| of(owner, all) > of(me, all);
                let mut named = owners.iter().filter_map(|(owner, _)| owner.as_ref());
                let all_ours = named.all(|owner| history.is_named_as_ours(owner));
                let all_ours = all_ours || marked.get(&process) == Some(&true);
                let may = has_more(true) || all_ours && has_more(false);
                let (of_me, of_owner) = (of(me, true), of(owner, true));
                if as_dead || *stolen > history.rules.max_steals || !may {
                    let text = format!(
                        "taken from {owner} after {} ms without a change; {owner} has {}, {me} has {}, {stolen} stolen since the last look",
                        (event.local - sight.since) / MS,
                        of_owner,
                        of_me
                    );
                    wrong.push(history.violation("I.3", index, Some(key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// I.9: of two processes with one id, one notices and stops.
pub fn one_process_has_an_id(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut alive: BTreeMap<ProcessNumber, Time> = BTreeMap::new();
    let patience = history.rules.failover * 4;
    let mut look = |alive: &BTreeMap<ProcessNumber, Time>, index: usize, now: Time| {
        for (one, since) in alive {
            for (other, other_since) in alive.range(one + 1..) {
                let together = now.saturating_sub(*since.max(other_since));
                if history.name(*one) == history.name(*other) && together > patience {
                    let text = format!(
                        "two processes work as {} for {} ms",
                        history.name(*one),
                        together / MS
                    );
                    wrong.push(history.violation("I.9", index, None, text));
                }
            }
        }
    };
    for (index, event) in history.trace.events.iter().enumerate() {
        match &event.what {
            What::Started => {
                alive.insert(event.by.unwrap_or(u32::MAX), event.at);
            }
            // A frozen one cannot notice; it has to once it goes on. Before it is calm nobody can.
            What::Thawed { process } => {
                alive.entry(*process).and_modify(|since| *since = event.at);
            }
            What::Calm => alive.values_mut().for_each(|since| *since = event.at),
            What::Ended(_) => {
                look(&alive, index, event.at);
                alive.remove(&event.by.unwrap_or(u32::MAX));
            }
            What::Killed { process } => {
                alive.remove(process);
            }
            _ => {}
        }
    }
    wrong
}

/// I.10: nothing is delivered before a conditional write of one's own made the lease one's own.
pub fn adopted_by_a_write(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut adopted: BTreeSet<(ProcessNumber, &LeaseKey)> = BTreeSet::new();
    let mut writes = history.writes().peekable();
    // Whoever edits owners by hand cannot ask for this.
    let mut edited: BTreeSet<&LeaseKey> = BTreeSet::new();
    // The last event that made somebody the owner.
    let mut given: BTreeMap<&LeaseKey, usize> = BTreeMap::new();
    for (index, process, key) in deliveries(history) {
        while let Some(write) = writes.next_if(|write| write.index < index) {
            if write.call.is_none() {
                edited.insert(write.key);
            }
            if let Some((owner, key)) = new_owner(history, write.index)
                && !edited.contains(key)
            {
                given.insert(key, write.index);
                adopted.retain(|(process, of)| *of != key || history.name(*process) != owner);
            }
            if let (Some(call), Some(after)) = (write.call, write.after)
                && after.actual_owner() == Some(&history.name(call.process))
                && write.change().is_some()
            {
                adopted.insert((call.process, write.key));
            }
        }
        let event = &history.trace.events[index];
        let child = match &event.what {
            What::Told { child, .. } => history.children.get(child),
            _ => None,
        };
        // Its lease went to another worker and came back before it learnt of that: it goes on with what it
        // had adopted, as far as I.1 and I.2 let it.
        let goes_on = child
            .zip(given.get(&key))
            .is_some_and(|(child, at)| child.started < *at);
        let slept = history.has_slept(process, event.at);
        if !adopted.contains(&(process, &key)) && !goes_on && !slept {
            let text = "delivered without a successful write of its own";
            wrong.push(history.violation("I.10", index, Some(&key), text));
        }
    }
    wrong
}

//! I.23 to I.29: shards, their parents and children.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::hash_range::first_hole;
use kcl_daemon::core::ids::{LeaseKey, ShardId, WorkerId};
use kcl_daemon::core::lease::{Change, Lease};
use kcl_daemon::core::sequence::Position;

use super::Violation;
use super::history::{History, Rows, Write};
use crate::trace::{Answer, Op, ProcessNumber, Told, What};
use crate::world::Time;

/// I.23: no record of a shard is delivered before all its parents that have a lease are finished.
pub fn parents_first(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut rows = Rows::default();
    let mut begun = BTreeSet::new();
    // Shards that were read to their end. Should a late request make the lease of one anew, after it was
    // deleted, then its records come twice, and not for the first time after those of its children.
    let mut finished: BTreeSet<&LeaseKey> = BTreeSet::new();
    let first_lists = FirstLists::of(history);
    // What was made at LATEST beside a parent of which nothing is to be read.
    let mut apart: BTreeSet<(&LeaseKey, LeaseKey)> = BTreeSet::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            rows.after(&write);
            if write.after_lease().is_some_and(Lease::is_finished) {
                finished.insert(write.key);
            }
            if write.before.is_none() {
                let made = history.shards.get(&write.key.shard_id());
                let parents = made.and_then(|shard| shard.truth).into_iter();
                for parent in parents.flat_map(|truth| &truth.parents) {
                    if first_lists.disagree(history, parent, &write) {
                        apart.insert((write.key, LeaseKey::of_shard(parent)));
                    }
                }
            }
        }
        let What::Told {
            child,
            told: Told::Records(_),
        } = &event.what
        else {
            continue;
        };
        let Some(known) = history.children.get(child) else {
            continue;
        };
        if !begun.insert(*child) || !history.is_ours(known.process) {
            continue;
        }
        let key = LeaseKey::of_shard(&known.shard);
        let truth = history.shards.get(&known.shard).and_then(|s| s.truth);
        for parent in truth.iter().flat_map(|truth| &truth.parents) {
            let of_parent = LeaseKey::of_shard(parent);
            let unfinished = rows
                .lease(&of_parent)
                .is_some_and(|lease| !lease.is_finished());
            // Nor is there anything to read of one that retention took, maybe just now.
            let excused = finished.contains(&of_parent)
                || is_past_retention(history, parent, event.at)
                || apart.contains(&(&key, of_parent));
            if unfinished && !excused {
                let text = format!("its parent {parent} is not finished");
                wrong.push(history.violation("I.23", index, Some(&key), text));
            }
        }
    }
    wrong
}

/// Goes through the writes of our processes, with the rows before each and all keys that were ever
/// in the table.
fn our_writes<'a>(
    history: &'a History<'a>,
    mut look: impl FnMut(&Write<'a>, ProcessNumber, &Rows<'a>, &BTreeMap<&'a LeaseKey, bool>),
) {
    let mut rows = Rows::default();
    // Key → whether that lease has ever been past its start.
    let mut ever: BTreeMap<&LeaseKey, bool> = BTreeMap::new();
    for write in history.writes() {
        if let Some(process) = write.process().filter(|p| history.is_ours(*p)) {
            look(&write, process, &rows, &ever);
        }
        rows.after(&write);
        if let Some(lease) = write.after_lease() {
            *ever.entry(write.key).or_default() |= is_under_way(lease);
        }
    }
}

fn is_under_way(lease: &Lease) -> bool {
    !matches!(
        lease.checkpoint.position,
        Position::TrimHorizon | Position::AtTimestamp
    )
}

/// I.24: the leases of a shard's children exist before its SHARD_END is stored.
pub fn children_exist_before_the_end(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    our_writes(history, |write, _, _, ever| {
        let Some(Change::Checkpoint(to)) = write.change() else {
            return;
        };
        if !to.is_shard_end() {
            return;
        }
        let shard = history.shards.get(&write.key.shard_id());
        for child in shard.iter().flat_map(|shard| &shard.children) {
            // A child that is past retention, too, has nothing to read and may not even be listed.
            if !is_past_retention(history, child, write.at)
                && !ever.contains_key(&LeaseKey::of_shard(child))
            {
                let text = format!("SHARD_END is stored, but {child} has no lease");
                wrong.push(history.violation("I.24", write.index, Some(write.key), text));
            }
        }
    });
    wrong
}

/// Whether a shard was closed so long ago that the service does not know it any more.
fn is_past_retention(history: &History<'_>, shard: &ShardId, at: Time) -> bool {
    let closed = history.shards.get(shard).and_then(|shard| shard.closed);
    closed.is_some_and(|index| match &history.trace.events[index].what {
        What::Closed { at_ms, .. } => *at_ms < history.horizon_ms(at),
        _ => false,
    })
}

/// Two workers that fill the table at LATEST, one of them by a list from before a reshard, the other one by
/// one from after it.
struct FirstLists<'a> {
    /// Where the leases were made that were made at LATEST.
    made: BTreeMap<&'a LeaseKey, usize>,
}

impl<'a> FirstLists<'a> {
    fn of(history: &'a History<'a>) -> Self {
        let mut made = BTreeMap::new();
        for write in history.writes().filter(|write| write.before.is_none()) {
            match write.after_lease() {
                Some(lease) if lease.checkpoint.position == Position::Latest => {
                    made.insert(write.key, write.index);
                }
                _ => {
                    made.remove(write.key);
                }
            }
        }
        Self { made }
    }

    /// Whether a shard's lease was made at LATEST when the shard was closed already, and when whoever makes
    /// the lease of a descendant at LATEST had its list. Nothing is read of such a shard, so that nothing was
    /// promised of what comes after it.
    fn disagree(&self, history: &History<'_>, shard: &ShardId, write: &Write<'_>) -> bool {
        let at_latest = write
            .after_lease()
            .is_some_and(|lease| lease.checkpoint.position == Position::Latest);
        let listed = history.trace.events[..write.index]
            .iter()
            .rposition(|event| {
                event.by == write.process() && matches!(event.what, What::Listed { .. })
            });
        let closed = history.shards.get(shard).and_then(|shard| shard.closed);
        let made = self.made.get(&LeaseKey::of_shard(shard));
        match (closed, listed, made) {
            (Some(closed), Some(listed), Some(made)) => {
                at_latest && closed < listed && listed < *made
            }
            _ => false,
        }
    }
}

/// I.25: a child of a tracked shard never starts at LATEST.
pub fn children_start_at_the_horizon(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let first_lists = FirstLists::of(history);
    our_writes(history, |write, _, rows, _| {
        let (None, Some(lease)) = (write.before, write.after_lease()) else {
            return;
        };
        if lease.checkpoint.position != Position::Latest {
            return;
        }
        let tracked = history
            .ancestors(&lease.shard_id())
            .into_iter()
            .filter(|id| !first_lists.disagree(history, id, write))
            .find(|id| rows.lease(&LeaseKey::of_shard(id)).is_some());
        if let Some(ancestor) = tracked {
            let text = format!("created at LATEST although {ancestor} has a lease");
            wrong.push(history.violation("I.25", write.index, Some(write.key), text));
        }
    });
    wrong
}

/// I.26: in the end the leases that are not finished cover all hash keys.
pub fn the_hash_space_is_covered(history: &History<'_>) -> Vec<Violation> {
    let mut rows = Rows::default();
    for write in history.writes() {
        rows.after(&write);
    }
    if history.calm.is_none() {
        return Vec::new();
    }
    let range = |lease: &Lease| {
        let shard = history.shards.get(&lease.shard_id())?;
        shard.truth.map(|truth| truth.range)
    };
    let unfinished = rows.leases().filter(|lease| !lease.is_finished());
    match first_hole(unfinished.filter_map(range)) {
        None => Vec::new(),
        Some(hole) => {
            let last = history.trace.events.len().saturating_sub(1);
            let text = format!("no unfinished lease covers {hole:?}");
            vec![history.violation("I.26", last, None, text)]
        }
    }
}

/// I.27: a lease is deleted only when it is finished, its children are under way and its parents'
/// leases are gone; or when the service does not know the shard.
pub fn deletes_are_due(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    // Where each lease was made last.
    let mut made: BTreeMap<&LeaseKey, Vec<usize>> = BTreeMap::new();
    for write in history.writes().filter(|write| write.before.is_none()) {
        made.entry(write.key).or_default().push(write.index);
    }
    our_writes(history, |write, process, rows, ever| {
        if write.after.is_some() {
            return;
        }
        let Some(lease) = write.before_lease() else {
            return;
        };
        let mut report = |text: String| {
            wrong.push(history.violation("I.27", write.index, Some(write.key), text));
        };
        if !lease.is_finished() {
            report("deleted although it is not finished".to_owned());
        }
        let Some(shard) = history.shards.get(&lease.shard_id()) else {
            return;
        };
        let closed_at = shard
            .closed
            .map(|index| match &history.trace.events[index].what {
                What::Closed { at_ms, .. } => *at_ms,
                _ => i64::MAX,
            });
        let horizon = history.horizon_ms(write.at);
        if closed_at.is_some_and(|at_ms| at_ms < horizon) {
            return;
        }
        for child in &shard.children {
            if ever.get(&LeaseKey::of_shard(child)) != Some(&true) {
                report(format!("deleted although {child} is not under way"));
            }
        }
        // A parent whose lease was deleted may get it back by a request that was on its way for long, when
        // the decision is made already, or by a row that an eventual read does not show yet.
        let looked = history.trace.events[..write.index]
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, event)| match &event.what {
                What::Answered {
                    answer: Answer::Rows(rows),
                    ..
                } if event.by == Some(process) => Some((index, &rows[..])),
                _ => None,
            });
        let came_back = |key: &LeaseKey| {
            let made = made.get(key).map_or(&[][..], |made| made);
            let before = made.iter().filter(|at| **at < write.index);
            let (looked, rows) = looked.unwrap_or_default();
            let unseen = !rows.iter().any(|row| row.key() == key);
            before.clone().count() > 1 && (unseen || before.max().is_some_and(|at| *at > looked))
        };
        for parent in shard.truth.iter().flat_map(|truth| &truth.parents) {
            let key = LeaseKey::of_shard(parent);
            if rows.lease(&key).is_some() && !came_back(&key) {
                report(format!("deleted although its parent {parent} has a lease"));
            }
        }
    });
    wrong
}

/// I.28: a lease names all parents of its shard, both of a merged one, and the shard's hash keys.
pub fn leases_name_their_parents(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    our_writes(history, |write, _, _, _| {
        let (None, Some(lease)) = (write.before, write.after_lease()) else {
            return;
        };
        let truth = history.shards.get(&lease.shard_id()).and_then(|s| s.truth);
        let named: BTreeSet<&ShardId> = lease.parents.iter().collect();
        let right = truth.is_some_and(|truth| {
            truth.parents.iter().collect::<BTreeSet<_>>() == named
                && lease.hash_range == Some(truth.range)
        });
        if !right {
            let text = format!(
                "created with parents {named:?} and keys {:?}",
                lease.hash_range
            );
            wrong.push(history.violation("I.28", write.index, Some(write.key), text));
        }
    });
    wrong
}

/// I.29: a list of shards that cannot be true creates nothing: a lease is made for a shard whose
/// parents have unfinished leases only by whoever reads one of those parents to its end.
pub fn wrong_lists_create_nothing(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let first_lists = FirstLists::of(history);
    let mut held: BTreeSet<(WorkerId, LeaseKey)> = BTreeSet::new();
    for write in history.writes() {
        if let Some(row) = write.after
            && let Some(owner) = row.actual_owner()
        {
            held.insert((owner.clone(), write.key.clone()));
        }
    }
    our_writes(history, |write, process, rows, _| {
        let (None, Some(lease)) = (write.before, write.after_lease()) else {
            return;
        };
        if !matches!(write.call.map(|call| call.op), Some(Op::Create(_))) {
            return;
        }
        let truth = history.shards.get(&lease.shard_id()).and_then(|s| s.truth);
        let Some(truth) = truth else {
            let text = "there is no such shard";
            wrong.push(history.violation("I.29", write.index, Some(write.key), text));
            return;
        };
        let unfinished: Vec<LeaseKey> = truth
            .parents
            .iter()
            .map(LeaseKey::of_shard)
            .filter(|key| rows.lease(key).is_some_and(|lease| !lease.is_finished()))
            // A list without parents that retention took just now is a true one.
            .filter(|key| !is_past_retention(history, &key.shard_id(), write.at))
            .filter(|key| !first_lists.disagree(history, &key.shard_id(), write))
            .collect();
        let me = history.name(process);
        // The row of the one that was read may have been deleted by hand since.
        let read_by_me = truth
            .parents
            .iter()
            .any(|parent| held.contains(&(me.clone(), LeaseKey::of_shard(parent))));
        if !unfinished.is_empty() && !read_by_me {
            let text = format!("created by {me} although {unfinished:?} are not finished");
            wrong.push(history.violation("I.29", write.index, Some(write.key), text));
        }
    });
    wrong
}

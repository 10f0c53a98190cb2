//! The targets of G.5, and what is counted for them. For scenarios made for them only: in bad weather
//! nothing has to be quick.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::{LeaseKey, ShardId};
use kcl_daemon::core::sequence::ExtendedSequenceNumber;

use super::history::{History, Rows};
use super::{Rules, Violation};
use crate::trace::{ChildNumber, ProcessNumber, Told, Trace, What};
use crate::world::{MS, Time};

/// When each event of a kind happened, and what it was.
fn moments<'a>(
    trace: &'a Trace,
    is: impl Fn(&What) -> bool + 'a,
) -> impl Iterator<Item = Time> + 'a {
    let events = trace.events.iter();
    events
        .filter(move |event| is(&event.what))
        .map(|event| event.at)
}

/// When a child was first given records.
pub fn first_delivery(trace: &Trace) -> Option<Time> {
    moments(trace, |what| {
        let told = |told: &Told| matches!(told, Told::Records(_));
        matches!(what, What::Told { told: t, .. } if told(t))
    })
    .next()
}

/// When the last shard first was given to a child, and how many of them.
pub fn all_begun(trace: &Trace) -> (Time, usize) {
    let mut begun = BTreeSet::new();
    let mut last = 0;
    for event in &trace.events {
        if let What::ChildStarted { shard, .. } = &event.what
            && begun.insert(shard)
        {
            last = event.at;
        }
    }
    (last, begun.len())
}

/// The shards that a process delivers from, at each moment of a trace.
#[derive(Default)]
struct Deliveries {
    children: BTreeMap<ChildNumber, (ProcessNumber, ShardId)>,
}

impl Deliveries {
    fn on(&mut self, by: Option<ProcessNumber>, what: &What) {
        match (by, what) {
            (Some(by), What::ChildStarted { child, shard }) => {
                self.children.insert(*child, (by, shard.clone()));
            }
            (_, What::ChildGone { child, .. }) => {
                self.children.remove(child);
            }
            _ => {}
        }
    }
}

/// How long, after each end of a process, its shards went without another's child, longest first. What
/// nobody took over counts until the end.
pub fn takeovers(trace: &Trace) -> Vec<(Time, ShardId)> {
    let mut deliveries = Deliveries::default();
    let mut orphans: BTreeMap<ShardId, Time> = BTreeMap::new();
    let mut took = Vec::new();
    let mut end = 0;
    for event in &trace.events {
        end = event.at;
        let gone = match &event.what {
            What::Killed { process } => Some(*process),
            What::StopAsked { process } => Some(*process),
            _ => None,
        };
        if let Some(gone) = gone {
            for (process, shard) in deliveries.children.values() {
                if *process == gone {
                    orphans.insert(shard.clone(), event.at);
                }
            }
        }
        if let What::ChildStarted { shard, .. } = &event.what
            && let Some(since) = orphans.remove(shard)
        {
            took.push((event.at - since, shard.clone()));
        }
        deliveries.on(event.by, &event.what);
    }
    took.extend(
        orphans
            .into_iter()
            .map(|(shard, since)| (end - since, shard)),
    );
    took.sort();
    took.reverse();
    took
}

/// G.5: whoever dies is replaced within `limit`.
pub fn the_dead_are_replaced(trace: &Trace, rules: Rules, limit: Time) -> Vec<Violation> {
    let history = History::of(trace, rules);
    let last = trace.events.len().saturating_sub(1);
    let late = takeovers(trace)
        .into_iter()
        .filter(|(took, _)| *took > limit);
    late.map(|(took, shard)| {
        let text = format!("nobody took over for {} ms", took / MS);
        history.violation("G.5", last, Some(&LeaseKey::of_shard(&shard)), text)
    })
    .collect()
}

/// G.5: every lease has an owner within `limit` of its first row.
pub fn new_leases_are_taken(trace: &Trace, rules: Rules, limit: Time) -> Vec<Violation> {
    let history = History::of(trace, rules);
    let mut wrong = Vec::new();
    let mut unowned: BTreeMap<LeaseKey, Time> = BTreeMap::new();
    let mut rows = Rows::default();
    for write in history.writes() {
        let is_new = rows.get(write.key).is_none();
        rows.after(&write);
        let owned = write.after_lease().is_some_and(|l| l.owner.is_some());
        if is_new && !owned {
            unowned.insert(write.key.clone(), write.at);
        } else if owned
            && let Some(since) = unowned.remove(write.key)
            && write.at > since + limit
        {
            let text = format!("nobody took it for {} ms", (write.at - since) / MS);
            wrong.push(history.violation("G.5", write.index, Some(write.key), text));
        }
    }
    wrong
}

/// G.5: the children of a shard are given to children of ours within `limit` of the end of the last of
/// their parents.
pub fn children_begin(trace: &Trace, rules: Rules, limit: Time) -> Vec<Violation> {
    let history = History::of(trace, rules);
    let mut wrong = Vec::new();
    let mut ended: BTreeMap<ShardId, Time> = BTreeMap::new();
    let mut begun: BTreeSet<&ShardId> = BTreeSet::new();
    for (index, event) in trace.events.iter().enumerate() {
        match &event.what {
            What::Applied {
                after: Some(row), ..
            } => {
                if let Some(lease) = row.as_lease().filter(|lease| lease.is_finished()) {
                    ended.entry(lease.shard_id()).or_insert(event.at);
                }
            }
            What::ChildStarted { shard, .. } if begun.insert(shard) => {
                let truth = history.shards.get(shard).and_then(|shard| shard.truth);
                let ends = truth.iter().flat_map(|truth| &truth.parents);
                let Some(end) = ends.filter_map(|parent| ended.get(parent)).max() else {
                    continue;
                };
                if event.at > end + limit {
                    let text = format!("begun {} ms after its parents' end", (event.at - end) / MS);
                    let key = LeaseKey::of_shard(shard);
                    wrong.push(history.violation("G.5", index, Some(&key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// The longest time in which a shard's records went nowhere, between two moments: from the first of
/// its records that waits to its delivery.
pub fn longest_silence(trace: &Trace, from: Time, to: Time) -> Option<(Time, ShardId)> {
    let mut children: BTreeMap<ChildNumber, &ShardId> = BTreeMap::new();
    let mut waiting: BTreeMap<&ShardId, BTreeMap<&ExtendedSequenceNumber, Time>> = BTreeMap::new();
    let mut longest: Option<(Time, ShardId)> = None;
    for event in &trace.events {
        match &event.what {
            What::Put { shard, places, .. } if (from..to).contains(&event.at) => {
                let waiting = waiting.entry(shard).or_default();
                waiting.extend(places.iter().map(|place| (place, event.at)));
            }
            What::ChildStarted { child, shard } => {
                children.insert(*child, shard);
            }
            What::Told {
                child,
                told: Told::Records(places),
            } => {
                let Some(shard) = children.get(child) else {
                    continue;
                };
                let waiting = waiting.entry(shard).or_default();
                for place in places {
                    if let Some(since) = waiting.remove(place) {
                        longest = longest.max(Some((event.at - since, (*shard).clone())));
                    }
                }
            }
            _ => {}
        }
    }
    let left = waiting.into_iter().filter(|(_, places)| !places.is_empty());
    let left = left.map(|(shard, _)| (Time::MAX, shard.clone())).next();
    longest.max(left)
}

/// Records that were processed by more than one child.
pub fn duplicates(trace: &Trace) -> usize {
    let mut children: BTreeMap<ChildNumber, &ShardId> = BTreeMap::new();
    let mut done: BTreeSet<(&ShardId, &ExtendedSequenceNumber)> = BTreeSet::new();
    let mut twice = 0;
    for event in &trace.events {
        match &event.what {
            What::ChildStarted { child, shard } => {
                children.insert(*child, shard);
            }
            What::Told {
                child,
                told: Told::Records(places),
            } => {
                if let Some(shard) = children.get(child) {
                    let new = places.iter().filter(|place| done.insert((*shard, *place)));
                    twice += places.len() - new.count();
                }
            }
            _ => {}
        }
    }
    twice
}

//! Which leases must exist: shards, leases and the initial position in, leases to create out.
//!
//! Rules: `leases.md` E.1 (sync), E.4 (children), I.24 to I.29; E.3 (audit) and E.6 (clean-up) are in
//! `upkeep.rs`, who came of whom in `kin.rs`.
//! Creating is always conditional on absence, so several workers may do the same at once.

mod kin;
mod upkeep;

pub use kin::{ancestors, descendants};
pub use upkeep::{CleanUp, Finding, audit, clean_up};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::core::hash_range::{HashRange, first_hole};
use crate::core::ids::{LeaseKey, ShardId};
use crate::core::lease::Lease;
use crate::core::sequence::{ExtendedSequenceNumber, InitialPosition, Position};
use crate::core::stream::{ChildShard, Shard, ShardFilter};

const TRIM_HORIZON: ExtendedSequenceNumber =
    ExtendedSequenceNumber::sentinel(Position::TrimHorizon);

/// A list of shards that cannot be the whole truth; nothing is created or deleted from it (I.29).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// No shard at all.
    #[error("the service listed no shards")]
    Empty,
    /// A part of the hash space is in no open shard.
    #[error("no listed shard covers the hash keys from {} to {}", .0.start, .0.end)]
    Hole(HashRange),
    /// A shard exists although its parent still takes records.
    #[error("shard {child} is listed although its parent {parent} is still open")]
    OpenParent {
        /// The child.
        child: ShardId,
        /// Its open parent.
        parent: ShardId,
    },
}

/// The filter that lists the shards a new application starts with.
#[must_use]
pub fn initial_filter(position: InitialPosition) -> ShardFilter {
    match position {
        InitialPosition::Latest => ShardFilter::AtLatest,
        InitialPosition::TrimHorizon => ShardFilter::AtTrimHorizon,
        InitialPosition::AtTimestamp(millis) => ShardFilter::AtTimestamp(millis),
    }
}

fn in_order(shards: &[Shard]) -> Vec<&Shard> {
    let mut shards: Vec<&Shard> = shards.iter().collect();
    shards.sort_by(|a, b| {
        a.starting_sequence
            .cmp(&b.starting_sequence)
            .then_with(|| a.id.cmp(&b.id))
    });
    shards
}

fn lease_of(shard: &Shard, checkpoint: ExtendedSequenceNumber) -> Lease {
    Lease::new(
        LeaseKey::of_shard(&shard.id),
        checkpoint,
        shard.parents.clone(),
        Some(shard.hash_range),
    )
}

/// The leases of an application that has none yet, from the list that [`initial_filter`] asked for,
/// in the order in which they should be created.
///
/// A service that ignores the filter lists parents and children together. Then the shards without a
/// listed parent are the start, and the others come when their parents end, so that no child is read
/// before its parents and none starts at LATEST.
///
/// # Errors
/// A list that does not cover the whole hash space.
pub fn initial_leases(
    shards: &[Shard],
    position: InitialPosition,
) -> Result<Vec<Lease>, Inconsistent> {
    if shards.is_empty() {
        return Err(Inconsistent::Empty);
    }
    // Exact tiling, so that a page that went missing is seen, can only be asked of shards that do not
    // overlap; ancestors in the list overlap their descendants.
    if let Some(hole) = first_hole(shards.iter().map(|shard| shard.hash_range)) {
        return Err(Inconsistent::Hole(hole));
    }
    let listed: HashSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
    let start: Vec<&Shard> = match position {
        // Only what is open now matters, whatever else was listed.
        InitialPosition::Latest => {
            let open: Vec<&Shard> = in_order(shards).into_iter().filter(|s| !s.closed).collect();
            if let Some(hole) = first_hole(open.iter().map(|shard| shard.hash_range)) {
                return Err(Inconsistent::Hole(hole));
            }
            open
        }
        InitialPosition::TrimHorizon | InitialPosition::AtTimestamp(_) => in_order(shards)
            .into_iter()
            .filter(|shard| !shard.parents.iter().any(|parent| listed.contains(parent)))
            .collect(),
    };
    Ok(start
        .into_iter()
        .map(|shard| lease_of(shard, position.sentinel()))
        .collect())
}

/// What an initial sync that did not come to its end left to do: the leases of `initial` that do not
/// exist, if all that exist are of it. `None` when they are not, or when all of it exist, so that
/// [`missing_leases`] has to say: a lease that was made at the end of a shard may be lost while those of all
/// first shards are still there.
///
/// The walk of that function would begin at the oldest ancestors instead, and read what lies before the
/// initial position beside, and after, what was begun.
#[must_use]
pub fn rest_of_initial_leases(initial: &[Lease], leases: &[Lease]) -> Option<Vec<Lease>> {
    let known: HashSet<&LeaseKey> = initial.iter().map(|lease| &lease.key).collect();
    if !leases.iter().all(|lease| known.contains(&lease.key)) {
        return None;
    }
    let existing: HashSet<&LeaseKey> = leases.iter().map(|lease| &lease.key).collect();
    let rest: Vec<Lease> = initial
        .iter()
        .filter(|lease| !existing.contains(&lease.key))
        .cloned()
        .collect();
    (!rest.is_empty()).then_some(rest)
}

/// The children whose leases have to be made for a finished shard: those without a lease, unless one of
/// their own descendants has one, as then they were read already (`leases.md` E.1, repair rule).
#[must_use]
pub fn lost_children(
    children: &[ChildShard],
    shards: &[Shard],
    leased: &HashSet<ShardId>,
) -> Vec<ChildShard> {
    let by_id: HashMap<&ShardId, &Shard> = shards.iter().map(|shard| (&shard.id, shard)).collect();
    children
        .iter()
        .filter(|child| {
            !leased.contains(&child.id) && !has_leased_descendant(&child.id, &by_id, leased)
        })
        .cloned()
        .collect()
}

/// The leases that are missing from a table that has some.
///
/// # Errors
/// A list of shards that contradicts itself; with `ignore_unexpected_children` children of open
/// parents are left out instead (`ignoreUnexpectedChildShards`).
pub fn missing_leases(
    shards: &[Shard],
    leases: &[Lease],
    position: InitialPosition,
    ignore_unexpected_children: bool,
) -> Result<Vec<Lease>, Inconsistent> {
    if shards.is_empty() {
        return Err(Inconsistent::Empty);
    }
    let mut by_id: HashMap<&ShardId, &Shard> =
        shards.iter().map(|shard| (&shard.id, shard)).collect();
    for shard in shards {
        for parent in &shard.parents {
            if by_id.get(parent).is_some_and(|parent| !parent.closed) {
                if !ignore_unexpected_children {
                    return Err(Inconsistent::OpenParent {
                        child: shard.id.clone(),
                        parent: parent.clone(),
                    });
                }
                by_id.remove(&shard.id);
            }
        }
    }
    let open = by_id.values().filter(|shard| !shard.closed);
    if let Some(hole) = first_hole(open.map(|shard| shard.hash_range)) {
        return Err(Inconsistent::Hole(hole));
    }
    let mut walk = Walk {
        shards: &by_id,
        leased: leases.iter().map(Lease::shard_id).collect(),
        position,
        descendants: HashMap::new(),
        startable: HashSet::new(),
        planned: BTreeMap::new(),
    };
    for shard in in_order(shards) {
        if shard.closed || !by_id.contains_key(&shard.id) || walk.leased.contains(&shard.id) {
            continue;
        }
        if !walk.is_descendant(&shard.id) {
            walk.planned.insert(shard.id.clone(), position.sentinel());
        }
    }
    let done = finished_shards(&by_id, leases, &walk.leased, position);
    // The walk does not know what was read already, and would begin there anew.
    walk.planned.retain(|id, _| !done.contains(id));
    let repairs = missing_children(&by_id, &walk.leased, &done);
    // Nor does it know that these are to be read from their beginning, and what came from them after
    // that: it would begin at LATEST (I.25).
    walk.planned
        .retain(|id, _| !has_ancestor(id, &by_id, &repairs));
    for id in repairs {
        walk.planned.insert(id, TRIM_HORIZON);
    }
    let planned = walk.planned;
    Ok(in_order(shards)
        .into_iter()
        .filter_map(|shard| {
            planned
                .get(&shard.id)
                .map(|checkpoint| lease_of(shard, checkpoint.clone()))
        })
        .collect())
}

/// The shards that are read to their end: their lease says so, or they have no lease but a descendant has
/// one that was made at their end. A lease that stands where reading began, at LATEST or AT_TIMESTAMP, may
/// be one of an initial sync that did not come to its end: it says nothing about its ancestors.
fn finished_shards(
    shards: &HashMap<&ShardId, &Shard>,
    leases: &[Lease],
    leased: &HashSet<ShardId>,
    position: InitialPosition,
) -> HashSet<ShardId> {
    let began_there: HashSet<ShardId> = leases
        .iter()
        .filter(|lease| {
            position != InitialPosition::TrimHorizon && lease.checkpoint == position.sentinel()
        })
        .map(Lease::shard_id)
        .collect();
    let descended: HashSet<ShardId> = leased.difference(&began_there).cloned().collect();
    let gone = shards
        .keys()
        .filter(|id| !leased.contains(**id) && has_leased_descendant(id, shards, &descended))
        .map(|id| (*id).clone());
    let finished = leases.iter().filter(|lease| lease.is_finished());
    finished.map(Lease::shard_id).chain(gone).collect()
}

/// Children of finished shards that have no lease, nor any of their own descendants: the hole that
/// Java never repairs (`leases.md` E.1, unrepairable case; I.26). They start at TRIM_HORIZON (I.25).
fn missing_children(
    shards: &HashMap<&ShardId, &Shard>,
    leased: &HashSet<ShardId>,
    done: &HashSet<ShardId>,
) -> BTreeSet<ShardId> {
    shards
        .values()
        .filter(|shard| {
            !leased.contains(&shard.id)
                && shard.parents.iter().any(|parent| done.contains(parent))
                // The other parent of a merge will create it, or is still to come.
                && shard.parents.iter().all(|parent| {
                    done.contains(parent)
                        || !(leased.contains(parent) || shards.contains_key(parent))
                })
                && !has_leased_descendant(&shard.id, shards, leased)
        })
        .map(|shard| shard.id.clone())
        .collect()
}

fn has_ancestor(
    id: &ShardId,
    shards: &HashMap<&ShardId, &Shard>,
    among: &BTreeSet<ShardId>,
) -> bool {
    let mut queue = vec![id];
    let mut seen = HashSet::new();
    while let Some(next) = queue.pop() {
        for parent in shards.get(next).iter().flat_map(|shard| &shard.parents) {
            if among.contains(parent) {
                return true;
            }
            if seen.insert(parent) {
                queue.push(parent);
            }
        }
    }
    false
}

fn has_leased_descendant(
    id: &ShardId,
    shards: &HashMap<&ShardId, &Shard>,
    leased: &HashSet<ShardId>,
) -> bool {
    let mut queue = vec![id.clone()];
    let mut seen = HashSet::new();
    while let Some(next) = queue.pop() {
        for shard in shards.values() {
            if shard.parents.contains(&next) && seen.insert(shard.id.clone()) {
                if leased.contains(&shard.id) {
                    return true;
                }
                queue.push(shard.id.clone());
            }
        }
    }
    false
}

/// The walk from the open shards to their ancestors (`leases.md` E.1): it decides whether an open
/// shard will be created at the end of its parents, and at which ancestors reading has to start.
struct Walk<'a> {
    shards: &'a HashMap<&'a ShardId, &'a Shard>,
    leased: HashSet<ShardId>,
    position: InitialPosition,
    descendants: HashMap<ShardId, bool>,
    /// Ancestors without lease and without leased ancestors, where reading may start.
    startable: HashSet<ShardId>,
    planned: BTreeMap<ShardId, ExtendedSequenceNumber>,
}

impl Walk<'_> {
    /// Whether the shard has a lease, or an ancestor that has or gets one. Plans the leases of
    /// ancestors on the way. Iterative, so that a long history of reshards cannot exhaust the stack.
    fn is_descendant(&mut self, id: &ShardId) -> bool {
        let mut stack = vec![id.clone()];
        while let Some(top) = stack.last().cloned() {
            if self.descendants.contains_key(&top) {
                stack.pop();
                continue;
            }
            let open: Vec<ShardId> = self
                .parents(&top)
                .into_iter()
                .filter(|parent| !self.descendants.contains_key(parent) && !stack.contains(parent))
                .collect();
            if self.leased.contains(&top) || open.is_empty() {
                let is = self.settle(&top);
                self.descendants.insert(top, is);
                stack.pop();
            } else {
                stack.extend(open);
            }
        }
        self.descendants.get(id).copied().unwrap_or(false)
    }

    fn parents(&self, id: &ShardId) -> Vec<ShardId> {
        self.shards.get(id).map_or_else(Vec::new, |shard| {
            shard
                .parents
                .iter()
                .filter(|parent| self.shards.contains_key(parent))
                .cloned()
                .collect()
        })
    }

    fn settle(&mut self, id: &ShardId) -> bool {
        if self.leased.contains(id) {
            return true;
        }
        let parents = self.parents(id);
        let leading: HashSet<&ShardId> = parents
            .iter()
            .filter(|parent| {
                self.descendants.get(*parent).copied().unwrap_or(false)
                    || self.startable.contains(*parent)
            })
            .collect();
        if leading.is_empty() {
            if self.position != InitialPosition::Latest {
                self.startable.insert(id.clone());
            }
            return false;
        }
        for parent in &parents {
            let wanted = self.startable.contains(parent) || !leading.contains(parent);
            if self.leased.contains(parent) || !wanted {
                continue;
            }
            let at_timestamp = matches!(self.position, InitialPosition::AtTimestamp(_));
            let checkpoint = if leading.contains(parent) && !at_timestamp {
                TRIM_HORIZON
            } else {
                self.position.sentinel()
            };
            self.planned.entry(parent.clone()).or_insert(checkpoint);
        }
        true
    }
}

/// The leases of the shards that a finished shard became (`leases.md` E.4).
#[must_use]
pub fn child_leases(children: &[ChildShard]) -> Vec<Lease> {
    children
        .iter()
        .map(|child| {
            Lease::new(
                LeaseKey::of_shard(&child.id),
                TRIM_HORIZON,
                child.parents.clone(),
                Some(child.hash_range),
            )
        })
        .collect()
}

/// The children of a shard, from a list of all shards; for services that do not name them at its end.
#[must_use]
pub fn children_of(parent: &ShardId, shards: &[Shard]) -> Vec<ChildShard> {
    in_order(shards)
        .into_iter()
        .filter(|shard| shard.parents.contains(parent))
        .map(|shard| ChildShard {
            id: shard.id.clone(),
            parents: shard.parents.clone(),
            hash_range: shard.hash_range,
        })
        .collect()
}

/// The children of a shard that has ended, from a list of all shards.
///
/// # Errors
/// A list in which no open shard takes what the ended one took: its last pages are missing. A shard that
/// ended for good would leave its children to the auditor (I.24, I.29).
pub fn children_at_end(
    parent: &ShardId,
    shards: &[Shard],
) -> Result<Vec<ChildShard>, Inconsistent> {
    all_are_listed(shards)?;
    Ok(children_of(parent, shards))
}

/// Whether a list of all shards is whole, as far as can be seen, so that a shard that is not in it does
/// not exist.
///
/// # Errors
/// A list without shards, or whose last pages are missing: its open shards do not take all hash keys.
pub fn all_are_listed(shards: &[Shard]) -> Result<(), Inconsistent> {
    if shards.is_empty() {
        return Err(Inconsistent::Empty);
    }
    let open = shards.iter().filter(|shard| !shard.closed);
    match first_hole(open.map(|shard| shard.hash_range)) {
        Some(hole) => Err(Inconsistent::Hole(hole)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

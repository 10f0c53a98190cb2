//! Whether the leases cover the stream, and which of them are no longer needed.

use std::collections::HashMap;

use crate::core::hash_range::{HashRange, first_hole};
use crate::core::ids::{LeaseKey, ShardId};
use crate::core::lease::{Lease, LeaseDeletion};
use crate::core::sequence::Position;

/// What an audit of the lease table found (`leases.md` E.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Every hash key is covered by a lease that is not finished.
    Covered,
    /// There is no lease.
    NoLeases,
    /// These leases have no hash range; it must be looked up before anything can be said.
    UnknownRanges(Vec<LeaseKey>),
    /// No unfinished lease covers these hash keys.
    Hole(HashRange),
}

/// Looks whether the leases cover the whole hash space.
#[must_use]
pub fn audit(leases: &[Lease]) -> Finding {
    if leases.is_empty() {
        return Finding::NoLeases;
    }
    let active = || leases.iter().filter(|lease| !lease.is_finished());
    let unknown: Vec<LeaseKey> = active()
        .filter(|lease| lease.hash_range.is_none())
        .map(|lease| lease.key.clone())
        .collect();
    if !unknown.is_empty() {
        return Finding::UnknownRanges(unknown);
    }
    first_hole(active().filter_map(|lease| lease.hash_range))
        .map_or(Finding::Covered, Finding::Hole)
}

/// What to do with a finished lease (`leases.md` E.6, I.27).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanUp {
    /// Its children are under way and its parents are gone: delete it.
    Delete(LeaseDeletion),
    /// Not yet.
    Keep,
    /// A child lease is missing and has to be created.
    MissingChild(ShardId),
    /// It is not known what the shard became: ask the service.
    AskService,
}

/// Decides about one lease, given all.
#[must_use]
pub fn clean_up(lease: &Lease, leases: &HashMap<ShardId, &Lease>) -> CleanUp {
    if !lease.is_finished()
        || lease
            .parents
            .iter()
            .any(|parent| leases.contains_key(parent))
    {
        return CleanUp::Keep;
    }
    if lease.children.is_empty() {
        return CleanUp::AskService;
    }
    for child in &lease.children {
        match leases.get(child) {
            None => return CleanUp::MissingChild(child.clone()),
            Some(child) => match child.checkpoint.position {
                Position::TrimHorizon | Position::AtTimestamp => return CleanUp::Keep,
                Position::Latest | Position::Number(_) | Position::ShardEnd => {}
            },
        }
    }
    CleanUp::Delete(LeaseDeletion::of(lease))
}

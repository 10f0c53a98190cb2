//! Records that no child has processed yet.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, Position};

use super::RETENTION_MS;
use crate::trace::{ChildNumber, Told, Trace, What};
use crate::world::{EPOCH_MS, MS};

/// Looks at a trace while it grows.
#[derive(Default)]
pub struct Outstanding {
    seen: usize,
    records: BTreeMap<(ShardId, ExtendedSequenceNumber), i64>,
    children: BTreeMap<ChildNumber, ShardId>,
    in_work: BTreeMap<ChildNumber, Vec<ExtendedSequenceNumber>>,
    /// Shards that were read from LATEST: what came before the reader is nobody's.
    pub from_latest: BTreeSet<ShardId>,
}

impl Outstanding {
    /// Takes in what happened since it looked last.
    pub fn look(&mut self, trace: &Trace) {
        let mut now_ms = EPOCH_MS;
        for event in &trace.events[self.seen..] {
            now_ms = EPOCH_MS + i64::try_from(event.at / MS).unwrap_or(0);
            match &event.what {
                What::Put {
                    shard,
                    places,
                    at_ms,
                } => {
                    for place in places {
                        self.records.insert((shard.clone(), place.clone()), *at_ms);
                    }
                }
                What::ReadsFromLatest { shard } => {
                    self.from_latest.insert(shard.clone());
                }
                What::ChildStarted { child, shard } => {
                    self.children.insert(*child, shard.clone());
                }
                What::Told {
                    child,
                    told: Told::Records(records),
                } => {
                    // What a shard read from LATEST was given first is where it begins.
                    self.in_work.insert(*child, records.clone());
                }
                What::Did { child } => {
                    let shard = &self.children[child];
                    for place in self.in_work.remove(child).unwrap_or_default() {
                        self.records.remove(&(shard.clone(), place));
                    }
                }
                _ => {}
            }
        }
        self.seen = trace.events.len();
        // What retention took is lost to everybody, and what came before LATEST was never wanted.
        self.records.retain(|(shard, _), at_ms| {
            *at_ms >= now_ms - RETENTION_MS && !self.from_latest.contains(shard)
        });
    }

    /// Whether everything is processed.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Some of what is not.
    pub fn some(&self) -> Vec<String> {
        let some = self.records.keys().take(3);
        some.map(|(shard, place)| format!("{shard} {place}"))
            .collect()
    }

    /// Whether a place is a record's.
    pub fn is_record(place: &ExtendedSequenceNumber) -> bool {
        matches!(place.position, Position::Number(_))
    }
}

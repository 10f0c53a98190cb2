//! I.18 and I.21: every record is delivered, in order, again if it failed.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::{LeaseKey, ShardId};
use kcl_daemon::core::lease::{Change, Condition, Lease};
use kcl_daemon::core::sequence::Position;

use super::Violation;
use super::history::{History, Rows, ShardHistory, Write};
use super::lives::{Life, Lives, Place};
use crate::trace::{ChildNumber, Op, ProcessNumber, Told, What};
use crate::world::Time;

/// Where a reader of a shard begins behind a checkpoint: the index of its first record.
fn first_behind(
    shard: &ShardHistory<'_>,
    start: &Place,
    rules_timestamp: Option<i64>,
) -> Option<usize> {
    match &start.position {
        Position::TrimHorizon => Some(0),
        Position::AtTimestamp => {
            let from = rules_timestamp?;
            Some(shard.records.partition_point(|(_, at_ms)| *at_ms < from))
        }
        Position::Number(_) => Some(shard.records.partition_point(|(place, _)| *place <= start)),
        Position::Latest | Position::ShardEnd => None,
    }
}

/// I.18: a child starts at the checkpoint in the table and is given every record behind it, in order,
/// except what retention took.
pub fn no_record_is_skipped(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut next: BTreeMap<ChildNumber, Option<usize>> = BTreeMap::new();
    let mut owned: BTreeMap<(ProcessNumber, LeaseKey), Place> = BTreeMap::new();
    // Per tenure of a lease at LATEST: before which record its reader has to begin.
    let mut anchors: BTreeMap<(ProcessNumber, ShardId), usize> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            if let (Some(process), Some(after)) = (write.process(), write.after_lease())
                && write.change().is_some()
            {
                owned.insert((process, write.key.clone()), after.checkpoint.clone());
            }
            if begins_tenure(&write) {
                anchors.retain(|(_, shard), _| *shard != write.key.shard_id());
            }
            continue;
        }
        let process = event.by.unwrap_or(u32::MAX);
        match &event.what {
            What::ReadsFromLatest { shard } if history.is_ours(process) => {
                let now_ms = history.horizon_ms(event.at) + history.rules.retention_ms;
                let records = history.shards.get(shard).map(|shard| &shard.records);
                let after = records.map_or(0, |records| {
                    records.partition_point(|(_, at_ms)| *at_ms <= now_ms)
                });
                anchors.entry((process, shard.clone())).or_insert(after);
            }
            What::Told { child, told } => {
                let Some(known) = history.children.get(child) else {
                    continue;
                };
                if !history.is_ours(known.process) {
                    continue;
                }
                let key = LeaseKey::of_shard(&known.shard);
                let Some(shard) = history.shards.get(&known.shard) else {
                    continue;
                };
                match told {
                    Told::Initialize(start) => {
                        let stored = owned.get(&(known.process, key.clone()));
                        if stored != Some(start) {
                            let text = format!("starts at {start}, the lease says {stored:?}");
                            wrong.push(history.violation("I.18", index, Some(&key), text));
                        }
                        let timestamp = history.rules.initial_timestamp_ms;
                        next.insert(*child, first_behind(shard, start, timestamp));
                    }
                    Told::Records(records) => {
                        let anchor = anchors.get(&(known.process, known.shard.clone()));
                        let expected = next.entry(*child).or_default();
                        let mut batch = Batch {
                            shard,
                            horizon_ms: history.horizon_ms(event.at),
                            next: *expected,
                            anchor: anchor.copied(),
                        };
                        if let Err(text) = records.iter().try_for_each(|r| batch.take(r)) {
                            wrong.push(history.violation("I.18", index, Some(&key), text));
                        }
                        *expected = batch.next;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    wrong
}

/// Whether a write ends the tenure of a lease's owner, or begins another one: by changing the owner, by
/// taking or adopting it, by ending a hand-off, also one to the same worker (which nobody but people begin),
/// or because somebody wrote to it by hand.
fn begins_tenure(write: &Write<'_>) -> bool {
    let before = write.before.and_then(|row| row.actual_owner());
    let after = write.after.and_then(|row| row.actual_owner());
    let acquires = match write.call.map(|call| call.op) {
        None => true,
        Some(Op::Update(update)) => matches!(
            (&update.change, &update.condition),
            (Change::Take { .. }, _) | (Change::Renew, Condition::CounterNoHandOff(_))
        ),
        Some(_) => false,
    };
    let hands_off = |lease: Option<&Lease>| lease.is_some_and(Lease::in_hand_off);
    let ends_hand_off = hands_off(write.before_lease()) && !hands_off(write.after_lease());
    acquires || ends_hand_off || before != after
}

/// A batch against the records that are really there.
struct Batch<'a> {
    shard: &'a ShardHistory<'a>,
    horizon_ms: i64,
    /// The record that has to come; `None` when it may be any.
    next: Option<usize>,
    anchor: Option<usize>,
}

impl Batch<'_> {
    fn take(&mut self, record: &Place) -> Result<(), String> {
        let records = &self.shard.records;
        let at = records
            .binary_search_by(|(place, _)| (*place).cmp(record))
            .map_err(|_| format!("{record} was never written to this shard"))?;
        let expected = match (self.next, self.anchor) {
            (Some(next), _) => next,
            (None, Some(anchor)) if at > anchor => anchor,
            (None, _) => at,
        };
        self.next = Some(at + 1);
        if at < expected {
            return Err(format!("{record} comes again"));
        }
        let skipped = records[expected..at].iter();
        let kept = skipped.filter(|(_, at_ms)| *at_ms >= self.horizon_ms);
        match kept.clone().next() {
            Some((first, _)) => Err(format!(
                "{} records are skipped, the first is {first}",
                kept.count()
            )),
            None => Ok(()),
        }
    }
}

/// I.21: a batch over which a child ended is delivered again before anything behind it is stored.
pub fn failed_batches_come_again(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut lives = Lives::default();
    let mut rows = Rows::default();
    let mut failed: BTreeMap<ShardId, Place> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            rows.after(&write);
        }
        // Whoever lost the lease meanwhile has no say: the next owner began at the checkpoint.
        let owns = |life: &Life| {
            let lease = rows.lease(&LeaseKey::of_shard(&life.shard));
            let me = history.name(life.process);
            lease.is_some_and(|lease| lease.actual_owner() == Some(&me))
        };
        if let What::ChildGone { child, .. } = &event.what
            && let Some(life) = lives.lives.get(child)
            && history.is_ours(life.process)
            && owns(life)
            && let Some(first) = life.batch.first()
        {
            // What it asked for itself may have been stored.
            let asked = life
                .asked_in_batch
                .as_ref()
                .is_some_and(|asked| asked >= first);
            if !asked {
                let earliest = failed.entry(life.shard.clone()).or_insert(first.clone());
                *earliest = first.clone().min(earliest.clone());
            }
        }
        lives.on(history, &event.what);
        match &event.what {
            // Where LATEST is when somebody reads from there once more is a matter of I.18.
            What::Told {
                child,
                told: Told::Initialize(start),
            } if start.position == Position::Latest => {
                if let Some(life) = lives.lives.get(child) {
                    failed.remove(&life.shard);
                }
            }
            What::Told {
                child,
                told: Told::Records(records),
            } => {
                let Some(shard) = lives.lives.get(child).map(|life| life.shard.clone()) else {
                    continue;
                };
                let Some((from, to)) = records.first().zip(records.last()) else {
                    continue;
                };
                if failed.get(&shard).is_some_and(|first| from <= first) {
                    failed.remove(&shard);
                }
                // What another worker's child was given meanwhile has come again already.
                for (other, life) in &mut lives.lives {
                    let again = life
                        .batch
                        .first()
                        .is_some_and(|first| from <= first && first <= to);
                    if other != child && life.shard == shard && again {
                        life.batch.clear();
                    }
                }
            }
            What::Applied { .. } => {
                let Some(write) = history.write(index) else {
                    continue;
                };
                let (Some(process), Some(Change::Checkpoint(to))) =
                    (write.process(), write.change())
                else {
                    continue;
                };
                let Some(shard) = write.after_lease().map(|lease| lease.shard_id()) else {
                    continue;
                };
                if history.is_ours(process)
                    && let Some(first) = failed.get(&shard)
                    && to >= first
                    && !is_trimmed(history, &shard, first, event.at)
                {
                    let text = format!("{to} is stored, but {first} failed and did not come again");
                    wrong.push(history.violation("I.21", index, Some(write.key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

fn is_trimmed(history: &History<'_>, shard: &ShardId, place: &Place, at: Time) -> bool {
    let records = history.shards.get(shard).map(|shard| &shard.records);
    let found = records.and_then(|records| records.iter().find(|(record, _)| *record == place));
    found.is_some_and(|(_, at_ms)| *at_ms < history.horizon_ms(at))
}

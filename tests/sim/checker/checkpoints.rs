//! I.15 to I.22: checkpoints.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::{LeaseKey, ShardId};
use kcl_daemon::core::lease::{Change, Condition, Counter};
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, Position};

use super::Violation;
use super::history::{History, Rows, ShardHistory};
use crate::trace::{Answer, ChildNumber, Op, ProcessNumber, Told, What};
use crate::world::Time;

type Place = ExtendedSequenceNumber;

/// I.15: the checkpoint of a row never goes back.
pub fn never_go_back(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        if !write.process().is_some_and(|p| history.is_ours(p)) {
            continue;
        }
        if let (Some(before), Some(after)) = (write.before_lease(), write.after_lease())
            && after.checkpoint < before.checkpoint
        {
            let text = format!("{} over {}", after.checkpoint, before.checkpoint);
            wrong.push(history.violation("I.15", write.index, Some(write.key), text));
        }
    }
    wrong
}

/// What is known of a child while one goes through a trace.
#[derive(Clone)]
struct Life {
    process: ProcessNumber,
    shard: ShardId,
    start: Place,
    /// The last record it was given.
    last: Option<Place>,
    /// The records of the batch it works on.
    batch: Vec<Place>,
    /// What it asked for and has no reply to.
    asking: Option<Option<Place>>,
    /// What it asked for last.
    asked: Option<Option<Place>>,
    /// The furthest it asked for since it was given the batch.
    asked_in_batch: Option<Place>,
    /// The last place of which it was told that it is stored.
    stored: Place,
    told_shard_ended: bool,
    told_lease_lost: bool,
}

impl Life {
    /// The largest place it may name.
    fn largest(&self) -> &Place {
        self.last.as_ref().unwrap_or(&self.start).max(&self.start)
    }
}

/// Lives of children, and the newest child of each lease and process that asked for something.
#[derive(Default)]
struct Lives {
    lives: BTreeMap<ChildNumber, Life>,
    asker: BTreeMap<(ProcessNumber, LeaseKey), ChildNumber>,
}

impl Lives {
    fn on(&mut self, history: &History<'_>, what: &What) {
        match what {
            What::Told { child, told } => match told {
                Told::Initialize(start) => {
                    let Some(known) = history.children.get(child) else {
                        return;
                    };
                    let life = Life {
                        process: known.process,
                        shard: known.shard.clone(),
                        start: start.clone(),
                        last: None,
                        batch: Vec::new(),
                        asking: None,
                        asked: None,
                        asked_in_batch: None,
                        stored: start.clone(),
                        told_shard_ended: false,
                        told_lease_lost: false,
                    };
                    self.lives.insert(*child, life);
                }
                Told::Records(records) => {
                    if let Some(life) = self.lives.get_mut(child) {
                        life.last = records.last().cloned().or_else(|| life.last.clone());
                        life.batch.clone_from(records);
                        life.asked_in_batch = None;
                    }
                }
                Told::ShardEnded => {
                    if let Some(life) = self.lives.get_mut(child) {
                        life.told_shard_ended = true;
                    }
                }
                Told::LeaseLost => {
                    if let Some(life) = self.lives.get_mut(child) {
                        life.told_lease_lost = true;
                    }
                }
                Told::ShutdownRequested => {}
            },
            What::Did { child } => {
                if let Some(life) = self.lives.get_mut(child) {
                    life.batch.clear();
                }
            }
            What::Asked { child, place } => {
                if let Some(life) = self.lives.get_mut(child) {
                    life.asking = Some(place.clone());
                    life.asked = Some(place.clone());
                    let place = place.clone().unwrap_or_else(|| life.largest().clone());
                    life.asked_in_batch = life.asked_in_batch.take().max(Some(place));
                    let key = LeaseKey::of_shard(&life.shard);
                    self.asker.insert((life.process, key), *child);
                }
            }
            What::Replied { child, error } => {
                if let Some(life) = self.lives.get_mut(child) {
                    let asked = life.asking.take();
                    if error.is_none() {
                        let place = asked.flatten().unwrap_or_else(|| life.largest().clone());
                        life.stored = place.max(life.stored.clone());
                    }
                }
            }
            _ => {}
        }
    }

    fn asker(&self, process: ProcessNumber, key: &LeaseKey) -> Option<&Life> {
        let child = self.asker.get(&(process, key.clone()))?;
        self.lives.get(child)
    }
}

/// Goes through the checkpoints that our processes stored, with the child that asked for each.
fn stored<'a>(
    history: &'a History<'a>,
    mut look: impl FnMut(usize, &LeaseKey, &Place, Option<&Life>),
) {
    let mut lives = Lives::default();
    for (index, event) in history.trace.events.iter().enumerate() {
        lives.on(history, &event.what);
        if let Some(write) = history.write(index)
            && let Some(process) = write.process().filter(|p| history.is_ours(*p))
            && let Some(Change::Checkpoint(to)) = write.change()
        {
            look(index, write.key, to, lives.asker(process, write.key));
        }
    }
}

/// I.16: a checkpoint never exceeds what was delivered to the child, or where it started.
pub fn never_exceed_what_was_delivered(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    stored(history, |index, key, to, asker| {
        let Some(life) = asker.filter(|_| !to.is_shard_end()) else {
            return;
        };
        if to > life.largest() {
            let text = format!("{to} was never delivered, only {}", life.largest());
            wrong.push(history.violation("I.16", index, Some(key), text));
        }
    });
    wrong
}

/// I.17: nothing is stored that no child asked for.
pub fn only_when_asked(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    stored(history, |index, key, to, asker| {
        let fits = asker.and_then(|life| life.asked.as_ref().map(|asked| (life, asked)));
        let fits = fits.is_some_and(|(life, asked)| match asked {
            _ if to.is_shard_end() => life.told_shard_ended,
            None => to == life.largest(),
            Some(place) => to == place,
        });
        if !fits {
            let text = format!("no child asked for {to}");
            wrong.push(history.violation("I.17", index, Some(key), text));
        }
    });
    wrong
}

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
                let new = write.before.and_then(|row| row.actual_owner()) != after.actual_owner();
                if new || matches!(write.change(), Some(Change::Take { .. })) {
                    anchors.retain(|place, _| place.1 != after.shard_id());
                }
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

/// I.19: SHARD_END is stored only after `shardEnded`, and only when all records of the shard were
/// delivered; nobody begins behind it (#1744).
pub fn shard_end_comes_last(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let What::Told {
            child,
            told: Told::Initialize(start),
        } = &event.what
            && start.is_shard_end()
            && let Some(child) = history.children.get(child)
            && history.is_ours(child.process)
        {
            let key = LeaseKey::of_shard(&child.shard);
            let text = "a finished shard is given to a child";
            wrong.push(history.violation("I.19", index, Some(&key), text));
        }
    }
    stored(history, |index, key, to, asker| {
        if !to.is_shard_end() {
            return;
        }
        let Some(life) = asker.filter(|life| life.told_shard_ended) else {
            let text = "the child was not told that the shard ended";
            wrong.push(history.violation("I.19", index, Some(key), text));
            return;
        };
        let Some(shard) = history.shards.get(&life.shard) else {
            return;
        };
        if shard.closed.is_none_or(|closed| closed > index) {
            let text = "the shard is open";
            wrong.push(history.violation("I.19", index, Some(key), text));
        }
        let from_latest = life.start.position == Position::Latest && life.last.is_none();
        let horizon = history.horizon_ms(history.trace.events[index].at);
        let from = match (&life.start.position, history.rules.initial_timestamp_ms) {
            (Position::AtTimestamp, Some(from)) => from.max(horizon),
            _ => horizon,
        };
        let missing = shard
            .records
            .last()
            .filter(|(place, at_ms)| !from_latest && *place > life.largest() && *at_ms >= from);
        if let Some((place, _)) = missing {
            let text = format!("{place} was not delivered");
            wrong.push(history.violation("I.19", index, Some(key), text));
        }
    });
    wrong
}

/// I.20: a prepared checkpoint of a Java worker stays until the next checkpoint, which removes it.
pub fn prepared_ones_are_kept(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for write in history.writes() {
        if !write.process().is_some_and(|p| history.is_ours(p)) {
            continue;
        }
        let (Some(before), Some(after)) = (write.before_lease(), write.after_lease()) else {
            continue;
        };
        let right = match write.change() {
            Some(Change::Checkpoint(_)) => after.pending.is_none(),
            _ => after.pending == before.pending,
        };
        if !right {
            let text = "the prepared checkpoint is not as it should be";
            wrong.push(history.violation("I.20", write.index, Some(write.key), text));
        }
    }
    wrong
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

/// I.22, and the meaning of a reply: "stored" is said only of what the table has; a legal request is
/// never said to be illegal, whatever failed before.
pub fn replies_are_true(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut lives = Lives::default();
    let mut rows = Rows::default();
    let mut owned: BTreeMap<(ProcessNumber, LeaseKey), Place> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        if let Some(write) = history.write(index) {
            rows.after(&write);
            if let (Some(process), Some(after)) = (write.process(), write.after_lease()) {
                owned.insert((process, write.key.clone()), after.checkpoint.clone());
            }
        }
        if let What::Replied { child, error } = &event.what
            && let Some(life) = lives.lives.get(child)
            && history.is_ours(life.process)
            && let Some(asked) = &life.asking
        {
            let key = LeaseKey::of_shard(&life.shard);
            let wanted = asked.as_ref().unwrap_or_else(|| life.largest());
            let has = owned
                .get(&(life.process, key.clone()))
                .unwrap_or(&life.start);
            match error.as_deref() {
                // At the end of a shard, its last record stands for the end (#211).
                None if life.told_shard_ended
                    && wanted >= life.largest()
                    && !has.is_shard_end() =>
                {
                    let text =
                        format!("the shard ended and is said to be done, the table has {has}");
                    wrong.push(history.violation("I.22", index, Some(&key), text));
                }
                None if has < wanted => {
                    let text = format!("{wanted} is said to be stored, the table has {has}");
                    wrong.push(history.violation("I.22", index, Some(&key), text));
                }
                Some("IllegalArgumentException") if wanted >= has && wanted <= life.largest() => {
                    let text = format!(
                        "{wanted} is refused though it lies between {has} and {}",
                        life.largest()
                    );
                    wrong.push(history.violation("I.22", index, Some(&key), text));
                }
                _ => {}
            }
        }
        lives.on(history, &event.what);
    }
    wrong
}

/// I.22: what a worker holds of a lease never falls back behind a write of its own of which it had the
/// answer, whatever failed since.
pub fn copies_do_not_fall_back(history: &History<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut newest: BTreeMap<(ProcessNumber, LeaseKey), Counter> = BTreeMap::new();
    for (index, event) in history.trace.events.iter().enumerate() {
        // A row that is deleted and made anew begins anew.
        if let What::Applied {
            before: None,
            after: Some(row),
            ..
        } = &event.what
        {
            newest.retain(|(_, key), _| key != row.key());
        }
        let Some(process) = event.by.filter(|process| history.is_ours(*process)) else {
            continue;
        };
        match &event.what {
            What::Answered {
                answer: Answer::Applied(row),
                ..
            } => {
                if let Some(lease) = row.as_lease() {
                    newest.insert((process, lease.key.clone()), lease.counter);
                }
            }
            What::Sent {
                op: Op::Update(update),
                ..
            } => {
                let (Condition::Counter(known)
                | Condition::CounterAndOwner(known, _)
                | Condition::CounterNoHandOff(known)) = &update.condition
                else {
                    continue;
                };
                if !matches!(update.change, Change::Renew | Change::Checkpoint(_)) {
                    continue;
                }
                let place = (process, update.key.clone());
                if let Some(newest) = newest.get(&place).filter(|newest| known < *newest) {
                    let text = format!("relies on counter {} after {}", known.0, newest.0);
                    wrong.push(history.violation("I.22", index, Some(&update.key), text));
                }
            }
            _ => {}
        }
    }
    wrong
}

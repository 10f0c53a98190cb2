//! A row of the lease table ↔ a [`Lease`], and nothing else (`leases.md` A.4, A.7).
//!
//! The reader takes what any KCL version writes. The writer makes what KCL 3.5 writes in all its modes:
//! new leases say that they are (`entityType`), which older workers ignore.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::core::hash_range::HashRange;
use crate::core::ids::{LeaseKey, ShardId, WorkerId};
use crate::core::lease::{Counter, Lease, PendingCheckpoint};
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use crate::ports::{ForeignItem, UnreadableRow};

/// Names of the attributes.
pub mod attribute {
    /// S, the key.
    pub const KEY: &str = "leaseKey";
    /// N, the fencing counter.
    pub const COUNTER: &str = "leaseCounter";
    /// S, absent when nobody owns the lease.
    pub const OWNER: &str = "leaseOwner";
    /// S, during a graceful hand-off only.
    pub const CHECKPOINT_OWNER: &str = "checkpointOwner";
    /// S, a sequence number or a sentinel.
    pub const CHECKPOINT: &str = "checkpoint";
    /// N, index inside an aggregated record.
    pub const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
    /// S, like `checkpoint`.
    pub const PENDING: &str = "pendingCheckpoint";
    /// N.
    pub const PENDING_SUB_SEQUENCE: &str = "pendingCheckpointSubSequenceNumber";
    /// B, opaque.
    pub const PENDING_STATE: &str = "pendingCheckpointState";
    /// N, informative.
    pub const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
    /// SS, shard ids of the parents.
    pub const PARENTS: &str = "parentShardId";
    /// SS, shard ids of the children.
    pub const CHILDREN: &str = "childShardIds";
    /// S, decimal.
    pub const START_HASH: &str = "startingHashKey";
    /// S, decimal.
    pub const END_HASH: &str = "endingHashKey";
    /// N, KB/s, of KCL 3.
    pub const THROUGHPUT: &str = "throughputKBps";
    /// N, ours: the counter after the last write that a kcl-daemon marked.
    pub const MARK: &str = "kclDaemonCounter";
    /// S, of KCL 3.5 and later; absent means LEASE.
    pub const ENTITY_TYPE: &str = "entityType";
}

use attribute as a;

/// A row as DynamoDB gives it.
pub type Item = HashMap<String, AttributeValue>;

/// What a row of the lease table turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A lease.
    Lease(Box<Lease>),
    /// An item of the 3.x coordination.
    Foreign(ForeignItem),
    /// Neither; to be reported and left alone (I.13).
    Unreadable(UnreadableRow),
}

/// What `entityType` says of a lease.
const LEASE: &str = "LEASE";

/// Keys that KCL 3 reserves for its own items, and what they are (`leases.md` A.5).
const RESERVED_KEYS: [(&str, &str); 3] = [
    ("Leader", "LEADER"),
    ("Migration3.0", "CLIENT_VERSION_MIGRATION"),
    ("TableMigration3.5", "TABLE_MIGRATION"),
];

/// Attributes that only items of the 3.x coordination have (`leases.md` A.5, A.6), for rows that a
/// version before 3.5 copied here or whose `entityType` got lost.
const FOREIGN_ATTRIBUTES: [(&str, &str); 8] = [
    ("cv", "CLIENT_VERSION_MIGRATION"),
    ("tm", "TABLE_MIGRATION"),
    ("lut", "WORKER_METRIC_STATS"),
    ("sts", "WORKER_METRIC_STATS"),
    ("opr", "WORKER_METRIC_STATS"),
    ("ownerName", "LEADER"),
    ("recordVersionNumber", "LEADER"),
    ("streamId", "STREAM"),
];

/// The name of an item's key, as far as it has one.
#[must_use]
pub fn key_of(item: &Item) -> &str {
    item.get(a::KEY)
        .and_then(|value| value.as_s().ok())
        .map_or("", String::as_str)
}

/// Reads a row.
#[must_use]
pub fn read(item: &Item) -> Row {
    if let Some(kind) = foreign_kind(item) {
        return Row::Foreign(ForeignItem {
            key: key_of(item).to_owned(),
            kind,
        });
    }
    match read_lease(item) {
        Ok(lease) => Row::Lease(Box::new(lease)),
        Err(reason) => Row::Unreadable(UnreadableRow {
            key: key_of(item).to_owned(),
            reason,
        }),
    }
}

/// What the row is, if it is not meant to be a lease.
/// What `entityType` says or would say of an item of the 3.x coordination; `None` when it is none.
pub(super) fn foreign_kind(item: &Item) -> Option<String> {
    if let Some(Ok(kind)) = item.get(a::ENTITY_TYPE).map(AttributeValue::as_s)
        && kind != LEASE
        && !kind.is_empty()
    {
        return Some(kind.clone());
    }
    let key = key_of(item);
    if let Some((_, kind)) = RESERVED_KEYS.iter().find(|(reserved, _)| *reserved == key) {
        return Some((*kind).to_owned());
    }
    if item.contains_key(a::COUNTER) {
        return None;
    }
    FOREIGN_ATTRIBUTES
        .iter()
        .find(|(name, _)| item.contains_key(*name))
        .map(|(_, kind)| (*kind).to_owned())
}

fn read_lease(item: &Item) -> Result<Lease, String> {
    let key = required(text(item, a::KEY)?, a::KEY)?;
    let pending = text(item, a::PENDING)?
        .map(|position| {
            Ok::<_, String>(PendingCheckpoint {
                checkpoint: checkpoint(item, a::PENDING, position, a::PENDING_SUB_SEQUENCE)?,
                state: bytes(item, a::PENDING_STATE)?,
            })
        })
        .transpose()?;
    Ok(Lease {
        key: LeaseKey::new(key),
        owner: text(item, a::OWNER)?.map(WorkerId::new),
        checkpoint_owner: text(item, a::CHECKPOINT_OWNER)?.map(WorkerId::new),
        counter: Counter(required(number(item, a::COUNTER)?, a::COUNTER)?),
        checkpoint: checkpoint(
            item,
            a::CHECKPOINT,
            required(text(item, a::CHECKPOINT)?, a::CHECKPOINT)?,
            a::SUB_SEQUENCE,
        )?,
        pending,
        owner_switches: number(item, a::OWNER_SWITCHES)?.unwrap_or(0),
        parents: shards(item, a::PARENTS)?,
        children: shards(item, a::CHILDREN)?,
        hash_range: hash_range(item)?,
        throughput_kbps: throughput(item)?,
        // A write of anybody else leaves the mark behind the counter.
        marked: item.get(a::MARK).is_some() && item.get(a::MARK) == item.get(a::COUNTER),
    })
}

/// The row of a lease that is about to be created.
#[must_use]
pub fn write(lease: &Lease) -> Item {
    let mut item = Item::new();
    let mut put = |name: &str, value: AttributeValue| {
        item.insert(name.to_owned(), value);
    };
    put(a::KEY, AttributeValue::S(lease.key.as_str().to_owned()));
    put(a::ENTITY_TYPE, AttributeValue::S(LEASE.to_owned()));
    put(a::COUNTER, from_number(lease.counter.0));
    put(a::OWNER_SWITCHES, from_number(lease.owner_switches));
    put(a::CHECKPOINT, from_position(&lease.checkpoint.position));
    put(a::SUB_SEQUENCE, from_number(lease.checkpoint.sub_sequence));
    if let Some(owner) = &lease.owner {
        put(a::OWNER, AttributeValue::S(owner.as_str().to_owned()));
    }
    if let Some(owner) = &lease.checkpoint_owner {
        put(
            a::CHECKPOINT_OWNER,
            AttributeValue::S(owner.as_str().to_owned()),
        );
    }
    if let Some(pending) = &lease.pending {
        put(a::PENDING, from_position(&pending.checkpoint.position));
        put(
            a::PENDING_SUB_SEQUENCE,
            from_number(pending.checkpoint.sub_sequence),
        );
        if let Some(state) = &pending.state {
            put(
                a::PENDING_STATE,
                AttributeValue::B(Blob::new(state.clone())),
            );
        }
    }
    if let Some(parents) = from_shards(&lease.parents) {
        put(a::PARENTS, parents);
    }
    if let Some(children) = from_shards(&lease.children) {
        put(a::CHILDREN, children);
    }
    if let Some(range) = lease.hash_range {
        put(a::START_HASH, AttributeValue::S(range.start.to_string()));
        put(a::END_HASH, AttributeValue::S(range.end.to_string()));
    }
    if let Some(kbps) = lease.throughput_kbps {
        put(a::THROUGHPUT, from_decimal(kbps));
    }
    if lease.marked {
        put(a::MARK, from_number(lease.counter.0));
    }
    item
}

/// A number as an attribute value.
#[must_use]
pub fn from_number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A number with decimals as an attribute value. Never an exponent: Rust writes none.
#[must_use]
pub fn from_decimal(number: f64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A position as an attribute value.
#[must_use]
pub fn from_position(position: &Position) -> AttributeValue {
    AttributeValue::S(position.as_str().to_owned())
}

/// Shard ids as a string set; `None` when there are none, because DynamoDB has no empty sets.
/// A set with the same id twice is refused by DynamoDB, so duplicates are dropped.
#[must_use]
pub fn from_shards(shards: &[ShardId]) -> Option<AttributeValue> {
    let mut ids: Vec<String> = Vec::with_capacity(shards.len());
    for shard in shards {
        if !ids.iter().any(|id| id == shard.as_str()) {
            ids.push(shard.as_str().to_owned());
        }
    }
    (!ids.is_empty()).then_some(AttributeValue::Ss(ids))
}

// ------------------------------------------------------------------------------------ attribute readers

fn required<T>(value: Option<T>, name: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("attribute {name} is missing"))
}

fn wrong_type(name: &str, wanted: &str, found: &AttributeValue) -> String {
    format!(
        "attribute {name} should be {wanted} and is {}",
        type_of(found)
    )
}

/// The attribute unless it is absent. NULL counts as absent: Java's reader sees no difference.
fn present<'a>(item: &'a Item, name: &str) -> Option<&'a AttributeValue> {
    item.get(name).filter(|value| !value.is_null())
}

/// A text; the empty one counts as absent, as nothing in a lease has an empty text as its value.
fn text<'a>(item: &'a Item, name: &str) -> Result<Option<&'a str>, String> {
    match present(item, name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(wrong_type(name, "a string (S)", other)),
    }
}

fn number(item: &Item, name: &str) -> Result<Option<u64>, String> {
    match present(item, name) {
        None => Ok(None),
        Some(AttributeValue::N(text)) => whole_number(text).map(Some).ok_or_else(|| {
            format!(
                "attribute {name} should be a whole number from 0 to 2^64-1 and is '{}'",
                short(text)
            )
        }),
        Some(other) => Err(wrong_type(name, "a number (N)", other)),
    }
}

/// The throughput. Java writes the text of a double, exponent and all (`1.0E-4`); what is no amount of
/// data counts as not known, because a lease must not be lost for the sake of a hint.
fn throughput(item: &Item) -> Result<Option<f64>, String> {
    match present(item, a::THROUGHPUT) {
        None => Ok(None),
        Some(AttributeValue::N(text)) => Ok(text
            .parse::<f64>()
            .ok()
            .filter(|kbps| kbps.is_finite() && *kbps >= 0.0)),
        Some(other) => Err(wrong_type(a::THROUGHPUT, "a number (N)", other)),
    }
}

fn bytes(item: &Item, name: &str) -> Result<Option<Vec<u8>>, String> {
    match present(item, name) {
        None => Ok(None),
        Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref().to_vec())),
        Some(other) => Err(wrong_type(name, "binary (B)", other)),
    }
}

/// Shard ids in the order of their text: a set has none of its own.
fn shards(item: &Item, name: &str) -> Result<Vec<ShardId>, String> {
    match present(item, name) {
        None => Ok(Vec::new()),
        Some(AttributeValue::Ss(ids)) => {
            let mut ids: Vec<ShardId> = ids.iter().map(ShardId::new).collect();
            ids.sort();
            Ok(ids)
        }
        Some(other) => Err(wrong_type(name, "a set of strings (SS)", other)),
    }
}

fn checkpoint(
    item: &Item,
    name: &str,
    position: &str,
    sub_sequence: &str,
) -> Result<ExtendedSequenceNumber, String> {
    let position: Position = position
        .parse()
        .map_err(|error| format!("attribute {name}: {error}"))?;
    Ok(ExtendedSequenceNumber {
        position,
        sub_sequence: number(item, sub_sequence)?.unwrap_or(0),
    })
}

/// The hash range. One bound without the other counts as no range, as in Java; the auditor fills it in.
fn hash_range(item: &Item) -> Result<Option<HashRange>, String> {
    let (Some(start), Some(end)) = (text(item, a::START_HASH)?, text(item, a::END_HASH)?) else {
        return Ok(None);
    };
    HashRange::parse(start, end).map(Some).ok_or_else(|| {
        format!(
            "attributes {} and {} should be a range of decimal numbers below 2^128 and are '{}' and '{}'",
            a::START_HASH,
            a::END_HASH,
            short(start),
            short(end)
        )
    })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

const fn type_of(value: &AttributeValue) -> &'static str {
    match value {
        AttributeValue::B(_) => "binary (B)",
        AttributeValue::Bool(_) => "a boolean (BOOL)",
        AttributeValue::Bs(_) => "a set of binaries (BS)",
        AttributeValue::L(_) => "a list (L)",
        AttributeValue::M(_) => "a map (M)",
        AttributeValue::N(_) => "a number (N)",
        AttributeValue::Ns(_) => "a set of numbers (NS)",
        AttributeValue::Null(_) => "NULL",
        AttributeValue::S(_) => "a string (S)",
        AttributeValue::Ss(_) => "a set of strings (SS)",
        _ => "of a type that did not exist when this was written",
    }
}

/// A whole number in decimal or scientific notation (`12`, `1.2E1`, `120e-1`), read exactly.
/// `None` for a fraction, a negative number and anything beyond 64 bits.
fn whole_number(text: &str) -> Option<u64> {
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.strip_prefix('+').unwrap_or(whole);
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // How many zeros to append, or digits to drop, which then have to be zeros themselves.
    let shift = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    if shift >= 0 {
        // A number of more than 20 digits is beyond 64 bits whatever they are.
        let zeros = usize::try_from(shift).ok().filter(|zeros| *zeros <= 20)?;
        format!("{significant}{}", "0".repeat(zeros)).parse().ok()
    } else {
        let drop = usize::try_from(-shift).ok()?;
        let kept = significant
            .len()
            .checked_sub(drop)
            .filter(|kept| *kept > 0)?;
        let (kept, dropped) = significant.split_at_checked(kept)?;
        dropped
            .bytes()
            .all(|b| b == b'0')
            .then(|| kept.parse().ok())?
    }
}

#[cfg(test)]
#[path = "item_tests.rs"]
mod tests;

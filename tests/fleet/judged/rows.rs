//! DynamoDB's JSON as leases, and requests as the updates that they are.

use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::{LeaseKey, ShardId, WorkerId};
use kcl_daemon::core::lease::{Change, Condition, Counter, Lease, LeaseUpdate};
use kcl_daemon::core::sequence::ExtendedSequenceNumber;
use serde_json::Value;

use super::super::trace::ShardTruth;

/// A text of an item.
fn text<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item[name]["S"].as_str()
}

fn number(item: &Value, name: &str) -> Option<u64> {
    item[name]["N"].as_str()?.parse().ok()
}

fn worker(item: &Value, name: &str) -> Option<WorkerId> {
    text(item, name).map(WorkerId::new)
}

fn ids(item: &Value, name: &str) -> Vec<ShardId> {
    let set = item[name]["SS"].as_array();
    let ids = set.into_iter().flatten().filter_map(Value::as_str);
    ids.map(ShardId::new).collect()
}

/// A place in a shard.
pub fn place(sequence: &str, sub_sequence: u64) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber {
        position: sequence
            .parse()
            .expect("a sequence number or a word for one"),
        sub_sequence,
    }
}

/// The lease that an item is; `None` for any other item.
pub fn lease(item: &Value) -> Option<Lease> {
    let counter = number(item, "leaseCounter")?;
    let checkpoint = place(
        text(item, "checkpoint")?,
        number(item, "checkpointSubSequenceNumber").unwrap_or(0),
    );
    let range = text(item, "startingHashKey").zip(text(item, "endingHashKey"));
    let range = range.and_then(|(start, end)| HashRange::parse(start, end));
    let key = LeaseKey::new(text(item, "leaseKey")?);
    let mut lease = Lease::new(key, checkpoint, ids(item, "parentShardId"), range);
    lease.counter = Counter(counter);
    lease.owner = worker(item, "leaseOwner");
    lease.checkpoint_owner = worker(item, "checkpointOwner");
    lease.children = ids(item, "childShardIds");
    lease.owner_switches = number(item, "ownerSwitchesSinceCheckpoint").unwrap_or(0);
    Some(lease)
}

/// What a request relied on.
fn condition(request: &Value, before: &Lease) -> Condition {
    let text = request["ConditionExpression"].as_str().unwrap_or_default();
    let values = &request["ExpressionAttributeValues"];
    let counter = number(values, ":seen").map(Counter);
    let holder = worker(values, ":holder");
    match (counter, holder) {
        (counter, _) if text.contains("attribute_exists(leaseKey) AND") => Condition::Owners {
            owner: before.owner.clone(),
            checkpoint_owner: before.checkpoint_owner.clone(),
            counter,
        },
        (Some(counter), Some(holder)) => Condition::CounterAndOwner(counter, holder),
        (Some(counter), None) if text.contains("attribute_not_exists(checkpointOwner)") => {
            Condition::CounterNoHandOff(counter)
        }
        (Some(counter), None) => Condition::Counter(counter),
        (None, _) => Condition::Exists,
    }
}

/// What a request did, as far as the row before and after it tells.
fn change(before: &Lease, after: &Lease, relies_on_owners: bool) -> Change {
    let switches_owner = after.owner_switches > before.owner_switches;
    match (&before.owner, &after.owner, &after.checkpoint_owner) {
        (_, Some(to), Some(from)) if before.checkpoint_owner.is_none() => Change::BeginHandOff {
            from: from.clone(),
            to: to.clone(),
        },
        _ if before.counter == after.counter && before.children != after.children => {
            Change::SetChildren(after.children.clone())
        }
        (_, _, _) if before.counter == after.counter => {
            Change::SetHashRange(after.hash_range.unwrap_or(HashRange::FULL))
        }
        (_, None, _) if before.owner.is_some() => Change::Release,
        (_, Some(owner), _) if relies_on_owners => Change::Assign {
            owner: owner.clone(),
            switches_owner,
        },
        (old, Some(owner), _) if old.as_ref() != Some(owner) => Change::Take {
            owner: owner.clone(),
            switches_owner,
        },
        _ if before.checkpoint != after.checkpoint => Change::Checkpoint(after.checkpoint.clone()),
        _ => Change::Renew,
    }
}

/// The update that a request was.
pub fn update(request: &Value, before: &Lease, after: &Lease) -> LeaseUpdate {
    let condition = condition(request, before);
    let relies_on_owners = matches!(condition, Condition::Owners { .. });
    let mut change = change(before, after, relies_on_owners);
    // A worker takes back what carries its id.
    let expression = request["UpdateExpression"].as_str().unwrap_or_default();
    if change == Change::Renew
        && expression.contains("leaseOwner")
        && let Some(owner) = after.owner.clone()
    {
        change = Change::Take {
            owner,
            switches_owner: false,
        };
    }
    LeaseUpdate {
        key: after.key.clone(),
        condition,
        change,
        throughput_kbps: None,
        mark: false,
    }
}

/// A shard as the service lists it.
pub fn shard(shard: &aws_sdk_kinesis::types::Shard) -> ShardTruth {
    let parents = [&shard.parent_shard_id, &shard.adjacent_parent_shard_id];
    let range = shard.hash_key_range.as_ref().expect("shards have ranges");
    ShardTruth {
        id: ShardId::new(&shard.shard_id),
        parents: parents.into_iter().flatten().map(ShardId::new).collect(),
        range: HashRange::parse(&range.starting_hash_key, &range.ending_hash_key)
            .expect("ranges are numbers"),
    }
}

//! A write on a lease as DynamoDB's expressions (`leases.md` B.1).
//!
//! What a write means is said in [`crate::core::lease`]; this file says the same in DynamoDB's words.
//! Writes are attribute by attribute, so that attributes nobody here knows survive (I.11).

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::aws::item::{attribute as a, from_decimal, from_number, from_position, from_shards};
use crate::core::ids::WorkerId;
use crate::core::lease::{Change, Condition, Counter, LeaseDeletion, LeaseUpdate};

/// The condition of a create: no row with this key.
pub const NOT_THERE: &str = "attribute_not_exists(leaseKey)";

/// The expressions of one write.
#[derive(Debug, Clone, PartialEq)]
pub struct Expressions {
    /// `UpdateExpression`; empty for a delete.
    pub update: String,
    /// `ConditionExpression`.
    pub condition: String,
    /// `ExpressionAttributeValues`.
    pub values: BTreeMap<String, AttributeValue>,
}

/// Collects the clauses of an update.
#[derive(Default)]
struct Builder {
    set: Vec<String>,
    add: Vec<String>,
    remove: Vec<&'static str>,
    values: BTreeMap<String, AttributeValue>,
}

impl Builder {
    fn value(&mut self, name: &str, value: AttributeValue) {
        self.values.insert(format!(":{name}"), value);
    }

    fn set(&mut self, attribute: &str, name: &str, value: AttributeValue) {
        self.set.push(format!("{attribute} = :{name}"));
        self.value(name, value);
    }

    /// Raises the counter by one: to the known next value, or whatever it is when the condition does
    /// not know it.
    fn raise_counter(&mut self, seen: Option<Counter>) {
        match seen {
            Some(counter) => self.set(a::COUNTER, "next", from_number(counter.next().0)),
            None => {
                self.add.push(format!("{} :one", a::COUNTER));
                self.value("one", from_number(1));
            }
        }
    }

    /// The clause that says that an attribute is this worker, or is absent.
    fn is(&mut self, attribute: &str, name: &str, worker: Option<&WorkerId>) -> String {
        match worker {
            Some(worker) => {
                self.value(name, AttributeValue::S(worker.as_str().to_owned()));
                format!("{attribute} = :{name}")
            }
            None => format!("attribute_not_exists({attribute})"),
        }
    }

    fn update(&self) -> String {
        let mut clauses = Vec::with_capacity(3);
        if !self.set.is_empty() {
            clauses.push(format!("SET {}", self.set.join(", ")));
        }
        if !self.remove.is_empty() {
            clauses.push(format!("REMOVE {}", self.remove.join(", ")));
        }
        if !self.add.is_empty() {
            clauses.push(format!("ADD {}", self.add.join(", ")));
        }
        clauses.join(" ")
    }
}

/// The expressions of an update.
#[must_use]
pub fn of_update(update: &LeaseUpdate) -> Expressions {
    let mut builder = Builder::default();
    let (condition, seen) = match &update.condition {
        Condition::Counter(counter) => {
            builder.value("seen", from_number(counter.0));
            (format!("{} = :seen", a::COUNTER), Some(*counter))
        }
        Condition::CounterAndOwner(counter, owner) => {
            builder.value("seen", from_number(counter.0));
            builder.value("holder", AttributeValue::S(owner.as_str().to_owned()));
            (
                format!("{} = :seen AND {} = :holder", a::COUNTER, a::OWNER),
                Some(*counter),
            )
        }
        Condition::CounterNoHandOff(counter) => {
            builder.value("seen", from_number(counter.0));
            (
                format!(
                    "{} = :seen AND attribute_not_exists({})",
                    a::COUNTER,
                    a::CHECKPOINT_OWNER
                ),
                Some(*counter),
            )
        }
        Condition::Owners {
            owner,
            checkpoint_owner,
            counter,
        } => {
            let mut clauses = vec![
                format!("attribute_exists({})", a::KEY),
                builder.is(a::OWNER, "holder", owner.as_ref()),
                builder.is(a::CHECKPOINT_OWNER, "leaver", checkpoint_owner.as_ref()),
            ];
            if let Some(counter) = counter {
                builder.value("seen", from_number(counter.0));
                clauses.push(format!("{} = :seen", a::COUNTER));
            }
            (clauses.join(" AND "), *counter)
        }
        Condition::Exists => (format!("attribute_exists({})", a::KEY), None),
    };
    match &update.change {
        Change::Renew => builder.raise_counter(seen),
        Change::Take {
            owner,
            switches_owner,
        }
        | Change::Assign {
            owner,
            switches_owner,
        } => {
            builder.raise_counter(seen);
            builder.set(
                a::OWNER,
                "owner",
                AttributeValue::S(owner.as_str().to_owned()),
            );
            builder.remove.push(a::CHECKPOINT_OWNER);
            if *switches_owner {
                builder.add.push(format!("{} :one", a::OWNER_SWITCHES));
                builder.value("one", from_number(1));
            }
        }
        Change::Checkpoint(checkpoint) => {
            builder.raise_counter(seen);
            builder.set(
                a::CHECKPOINT,
                "checkpoint",
                from_position(&checkpoint.position),
            );
            builder.set(a::SUB_SEQUENCE, "sub", from_number(checkpoint.sub_sequence));
            builder.set(a::OWNER_SWITCHES, "zero", from_number(0));
            builder
                .remove
                .extend([a::PENDING, a::PENDING_SUB_SEQUENCE, a::PENDING_STATE]);
        }
        Change::BeginHandOff { from, to } => {
            builder.set(a::OWNER, "owner", AttributeValue::S(to.as_str().to_owned()));
            builder.set(
                a::CHECKPOINT_OWNER,
                "from",
                AttributeValue::S(from.as_str().to_owned()),
            );
        }
        Change::Release => {
            builder.raise_counter(seen);
            builder.remove.push(a::OWNER);
        }
        Change::SetChildren(children) => match from_shards(children) {
            Some(children) => builder.set(a::CHILDREN, "children", children),
            None => builder.remove.push(a::CHILDREN),
        },
        Change::SetHashRange(range) => {
            builder.set(
                a::START_HASH,
                "start",
                AttributeValue::S(range.start.to_string()),
            );
            builder.set(a::END_HASH, "end", AttributeValue::S(range.end.to_string()));
        }
    }
    if let Some(kbps) = update.throughput_kbps {
        builder.set(a::THROUGHPUT, "throughput", from_decimal(kbps));
    }
    if let Some(counter) = update.known_next_counter().filter(|_| update.mark) {
        builder.set(a::MARK, "mark", from_number(counter.0));
    }
    Expressions {
        update: builder.update(),
        condition,
        values: builder.values,
    }
}

/// The expressions of a delete. The counter alone would do, as every checkpoint raises it; the
/// checkpoint says so again in case somebody writes without raising it. The sub-sequence is left out
/// when it is 0, because rows of old versions may not have it.
#[must_use]
pub fn of_deletion(deletion: &LeaseDeletion) -> Expressions {
    let mut builder = Builder::default();
    builder.value("seen", from_number(deletion.counter.0));
    builder.value("checkpoint", from_position(&deletion.checkpoint.position));
    let mut condition = format!("{} = :seen AND {} = :checkpoint", a::COUNTER, a::CHECKPOINT);
    if deletion.checkpoint.sub_sequence != 0 {
        builder.value("sub", from_number(deletion.checkpoint.sub_sequence));
        condition.push_str(&format!(" AND {} = :sub", a::SUB_SEQUENCE));
    }
    Expressions {
        update: String::new(),
        condition,
        values: builder.values,
    }
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;

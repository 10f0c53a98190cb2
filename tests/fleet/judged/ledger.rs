//! What processors wrote down, and what the service tells of shards and records, as events.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::{LeaseKey, ShardId};

use super::super::support::{Ledger, Put};
use super::super::trace::{Event, ProcessNumber, ShardTruth, Told, What};
use super::super::world::{EPOCH_MS, Time};
use super::recording::Recording;
use super::rows::place;

fn by_nobody(at: Time, what: What) -> Event {
    Event {
        at,
        local: at,
        by: None,
        what,
    }
}

/// The shards of the beginning, and all records. When a record was put matters to nobody here.
pub fn shards_and_records(shards: &[ShardTruth], puts: &[Put]) -> Vec<Event> {
    let first = shards.iter().filter(|shard| shard.parents.is_empty());
    let mut events = vec![by_nobody(0, What::Opened(first.cloned().collect()))];
    let mut of_shard: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for put in puts {
        let places = of_shard.entry(&put.shard).or_default();
        places.push(place(&put.sequence, 0));
    }
    for (shard, mut places) in of_shard {
        places.sort();
        let what = What::Put {
            shard: ShardId::new(shard),
            places,
            at_ms: EPOCH_MS,
        };
        events.push(by_nobody(0, what));
    }
    events
}

/// Reshards: nobody saw when they happened, but it was before anybody heard of them.
pub fn add_reshards(events: &mut Vec<Event>, shards: &[ShardTruth]) {
    for child in shards.iter().filter(|shard| !shard.parents.is_empty()) {
        let key = LeaseKey::of_shard(&child.id);
        let heard = events.iter().filter(|event| match &event.what {
            What::Sent {
                op: super::super::trace::Op::Create(row),
                ..
            } => *row.key() == key,
            _ => false,
        });
        let ended = events.iter().filter_map(|event| match &event.what {
            What::Told {
                child: number,
                told: Told::ShardEnded,
            } => Some((*number, event.at)),
            _ => None,
        });
        let of_parent = |number: u32| {
            events.iter().any(|event| {
                matches!(&event.what, What::ChildStarted { child, shard }
                    if *child == number && child_of(child_truth(shards, &key), shard))
            })
        };
        let told = ended
            .filter(|(number, _)| of_parent(*number))
            .map(|(_, at)| at);
        let Some(first) = heard.map(|event| event.at).chain(told).min() else {
            continue;
        };
        let at = first.saturating_sub(1);
        let at_ms = EPOCH_MS;
        let closed = child.parents.iter().cloned();
        let closed = closed.map(|shard| by_nobody(at, What::Closed { shard, at_ms }));
        let opened = by_nobody(at, What::Opened(vec![child.clone()]));
        let new: Vec<Event> = closed.chain([opened]).collect();
        events.splice(0..0, new);
    }
}

fn child_truth<'a>(shards: &'a [ShardTruth], key: &LeaseKey) -> Option<&'a ShardTruth> {
    shards
        .iter()
        .find(|shard| LeaseKey::of_shard(&shard.id) == *key)
}

fn child_of(child: Option<&ShardTruth>, parent: &ShardId) -> bool {
    child.is_some_and(|child| child.parents.contains(parent))
}

/// What processors were told and asked for. A processor notes a checkpoint when it has its reply; it asked
/// for it after what it noted before.
pub fn events(ledger: &Ledger, recording: &Recording) -> Vec<Event> {
    let mut events = Vec::new();
    let mut last: BTreeMap<u32, Time> = BTreeMap::new();
    for event in &ledger.events {
        let Some(by) = recording.of_pid(event.daemon) else {
            continue;
        };
        let (child, at) = (event.pid, recording.time(event.t));
        let before = last.insert(child, at).unwrap_or(at);
        let mut note = |at: Time, what: What| events.push(of(by, at, what));
        let told = match event.event.as_str() {
            "initialize" => {
                let shard = ShardId::new(&event.shard);
                note(at, What::ChildStarted { child, shard });
                let sequence = event.sequence.as_deref().unwrap_or("TRIM_HORIZON");
                Some(Told::Initialize(place(sequence, event.sub.unwrap_or(0))))
            }
            "processRecords" => {
                let records = event.records.iter();
                Some(Told::Records(records.map(|r| place(&r.0, r.1)).collect()))
            }
            "shutdownRequested" => Some(Told::ShutdownRequested),
            "leaseLost" => Some(Told::LeaseLost),
            "shardEnded" => Some(Told::ShardEnded),
            "done" => {
                note(at, What::Did { child });
                None
            }
            "checkpoint" => {
                let sequence = event.sequence.as_deref();
                let place = sequence.map(|s| place(s, event.sub.unwrap_or(0)));
                note(before, What::Asked { child, place });
                let error = event.error.clone();
                note(at, What::Replied { child, error });
                None
            }
            "crash" | "end" => {
                let how = "it ended";
                note(at, What::ChildGone { child, how });
                None
            }
            _ => None,
        };
        if let Some(told) = told {
            note(at, What::Told { child, told });
        }
    }
    events
}

fn of(by: ProcessNumber, at: Time, what: What) -> Event {
    Event {
        at,
        local: at,
        by: Some(by),
        what,
    }
}

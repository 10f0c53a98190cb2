//! A trace as text: for people, and for comparing two runs of a seed byte for byte.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::leader_lock::LockChange;
use kcl_daemon::core::sequence::ExtendedSequenceNumber;

use super::{Answer, Event, Item, Op, Row, Told, Trace, What};

impl Trace {
    /// All of it.
    pub fn render(&self) -> String {
        self.render_range(0..self.events.len())
    }

    /// The events around one, and all of `shard` or `process` names that people look for.
    pub fn around(&self, index: usize, before: usize, after: usize) -> String {
        let start = index.saturating_sub(before);
        let end = (index + after + 1).min(self.events.len());
        self.render_range(start..end)
    }

    /// The last events before one, and a few after it, that have to do with a lease: its writes, its
    /// children, and what befell processes.
    pub fn about(&self, key: &LeaseKey, index: usize, before: usize) -> String {
        let mut children = BTreeSet::new();
        let mut calls = BTreeSet::new();
        let mut lines: Vec<String> = Vec::new();
        for (at, event) in self.events.iter().enumerate().take(index + 10) {
            let concerns = match &event.what {
                What::Sent { call, op } => {
                    let concerns = match op {
                        Op::Get(of, _) => of == key,
                        Op::Create(row) => row.key() == key,
                        Op::Update(update) => update.key == *key,
                        Op::Delete(deletion) => deletion.key == *key,
                        Op::WriteLeader(_) => true,
                        _ => false,
                    };
                    concerns && calls.insert(*call)
                }
                What::Applied { call, .. }
                | What::Refused { call }
                | What::Answered { call, .. } => calls.contains(call),
                What::Edited { before, after } => {
                    let row = before.as_ref().or(after.as_ref());
                    row.is_some_and(|row| row.key() == key)
                }
                What::ChildStarted { child, shard } => {
                    *shard == key.shard_id() && children.insert(*child)
                }
                What::Told { child, .. }
                | What::Did { child }
                | What::Asked { child, .. }
                | What::Replied { child, .. }
                | What::ChildGone { child, .. } => children.contains(child),
                What::Put { shard, .. } | What::ReadsFromLatest { shard } => {
                    *shard == key.shard_id()
                }
                _ => true,
            };
            if concerns || at == index {
                let mut line = String::new();
                self.render_event(at, event, &mut line);
                lines.push(line);
            }
        }
        lines[lines.len().saturating_sub(before)..].concat()
    }

    fn render_range(&self, range: std::ops::Range<usize>) -> String {
        let mut out = String::new();
        for index in range {
            self.render_event(index, &self.events[index], &mut out);
        }
        out
    }

    /// One line.
    pub fn render_event(&self, index: usize, event: &Event, out: &mut String) {
        let _ = write!(
            out,
            "{index:6} {:11.6} {:12.6} ",
            event.at as f64 / 1e6,
            event.local as f64 / 1e6
        );
        let who = |number: u32| {
            self.processes
                .get(number as usize)
                .map_or_else(|| "?".to_owned(), |p| format!("{}#{number}", p.name))
        };
        let by = event.by.map_or_else(|| "-".to_owned(), who);
        let _ = write!(out, "{by:8} ");
        let _ = match &event.what {
            What::Started => write!(out, "starts"),
            What::StopAsked { process } => write!(out, "{} is asked to stop", who(*process)),
            What::Ended(how) => write!(out, "ends: {how}"),
            What::Killed { process } => write!(out, "{} is killed", who(*process)),
            What::Frozen {
                process,
                stillness,
                length,
            } => {
                let length = *length as f64 / 1e6;
                write!(
                    out,
                    "{} freezes ({stillness:?}) for {length} s",
                    who(*process)
                )
            }
            What::Thawed { process } => write!(out, "{} goes on", who(*process)),
            What::Calm => write!(out, "=== calm ==="),
            What::Unsettled(why) => write!(out, "not well: {why}"),
            What::Mishap(mishap) => write!(out, "mishap: {}", mishap.text()),
            What::Fault(what) => write!(out, "fault: {what}"),
            What::Sent { call, op } => write!(out, "#{call} -> {}", op_text(op)),
            What::Applied { call, after, .. } => {
                write!(out, "#{call} == {}", row_text(after.as_deref()))
            }
            What::Refused { call } => write!(out, "#{call} == condition does not hold"),
            What::Answered { call, answer } => write!(out, "#{call} <- {}", answer_text(answer)),
            What::Edited { before, after } => write!(
                out,
                "by hand: {} becomes {}",
                row_text(before.as_deref()),
                row_text(after.as_deref())
            ),
            What::Opened(shards) => {
                let _ = write!(out, "shards open:");
                for shard in shards {
                    let _ = write!(out, " {} (of {:?})", shard.id, shard.parents);
                }
                Ok(())
            }
            What::Closed { shard, .. } => write!(out, "{shard} is closed"),
            What::Put { shard, places, .. } => write!(out, "{shard}: put {}", places_text(places)),
            What::Listed { shards, wrong } => write!(out, "lists {shards} shards {wrong:?}"),
            What::ReadsFromLatest { shard } => write!(out, "{shard}: reads from LATEST"),
            What::ChildStarted { child, shard } => write!(out, "child {child} starts for {shard}"),
            What::Told { child, told } => write!(out, "child {child} is told {}", told_text(told)),
            What::Did { child } => write!(out, "child {child} did it"),
            What::Asked { child, place } => {
                let place = place.as_ref().map_or_else(|| "all".to_owned(), place_text);
                write!(out, "child {child} asks to checkpoint {place}")
            }
            What::Replied { child, error } => write!(out, "child {child} is replied {error:?}"),
            What::ChildGone { child, how } => write!(out, "child {child} is gone: {how}"),
        };
        out.push('\n');
    }
}

/// Sequence numbers of the engine are long; what tells them apart is in the middle.
fn place_text(place: &ExtendedSequenceNumber) -> String {
    let text = place.to_string();
    match (text.get(2..16), text.get(16..36)) {
        (Some(epoch), Some(serial)) => {
            let rest = text.get(56..).unwrap_or_default();
            format!("{epoch}.{}{rest}", serial.trim_start_matches('0'))
        }
        _ => text,
    }
}

fn places_text(places: &[ExtendedSequenceNumber]) -> String {
    match places {
        [] => "nothing".to_owned(),
        [one] => place_text(one),
        [first, .., last] => {
            format!(
                "{} … {} ({})",
                place_text(first),
                place_text(last),
                places.len()
            )
        }
    }
}

fn told_text(told: &Told) -> String {
    match told {
        Told::Initialize(from) => format!("initialize at {}", place_text(from)),
        Told::Records(places) => format!("records {}", places_text(places)),
        Told::ShutdownRequested => "shutdownRequested".to_owned(),
        Told::LeaseLost => "leaseLost".to_owned(),
        Told::ShardEnded => "shardEnded".to_owned(),
    }
}

fn op_text(op: &Op) -> String {
    match op {
        Op::Scan => "scan".to_owned(),
        Op::Get(key, strong) => format!("get {key}{}", if *strong { "" } else { " (eventual)" }),
        Op::Create(row) => format!("create {}", row_text(Some(row))),
        Op::Update(update) => format!(
            "update {} if {:?}: {:?}",
            update.key, update.condition, update.change
        ),
        Op::Delete(deletion) => format!("delete {} at {:?}", deletion.key, deletion.counter),
        Op::Open(index) => format!("open the table{}", if *index { " with index" } else { "" }),
        Op::Index => "how is the index".to_owned(),
        Op::CreateIndex => "create the index".to_owned(),
        Op::Query(owner) => format!("query leases of {owner}"),
        Op::Leader => "get the leader".to_owned(),
        Op::WriteLeader(write) => match &write.change {
            LockChange::Put(item) => format!("lead as {} if {:?}", item.owner, write.condition),
            LockChange::Heartbeat { .. } => "heartbeat of the leader".to_owned(),
            LockChange::Delete => "lead no more".to_owned(),
        },
        Op::ClientVersion => "get the client version".to_owned(),
        Op::WriteClientVersion(write) => format!(
            "client version {:?} if {:?}",
            write.item.now.state, write.condition
        ),
        Op::PutMetrics(stats) => format!("put metrics {:?}", stats.stats),
        Op::DeleteMetrics(stats) => format!("delete metrics of {}", stats.worker),
        Op::Legacy(op) => format!("of the old tables: {op:?}"),
    }
}

fn row_text(row: Option<&Row>) -> String {
    match row {
        None => "no row".to_owned(),
        Some(Row::Item { key, item }) => match item {
            Item::Leader(lock) => {
                format!("[Leader is {} {}]", lock.owner, &lock.version.as_str()[..8])
            }
            Item::ClientVersion(item) => format!("[client version {:?}]", item.now.state),
            Item::Metrics(stats) => format!("[metrics of {key} at {:?}]", stats.last_update),
            Item::TableStatus(item) => format!("[{key} {:?}]", item.now.state),
            Item::Foreign(kind) => format!("[{kind} {key}]"),
            Item::Garbage => format!("[garbage {key}]"),
        },
        Some(Row::Lease { lease, extra }) => {
            let mut text = format!(
                "[{} c{} {} @{}",
                lease.key,
                lease.counter.0,
                lease.owner.as_ref().map_or("-", |owner| owner.as_str()),
                place_text(&lease.checkpoint)
            );
            if let Some(owner) = &lease.checkpoint_owner {
                let _ = write!(text, " from {owner}");
            }
            if let Some(pending) = &lease.pending {
                let _ = write!(text, " pending {}", place_text(&pending.checkpoint));
            }
            if !lease.children.is_empty() {
                let _ = write!(text, " children {:?}", lease.children);
            }
            if !extra.is_empty() {
                let _ = write!(text, " {extra:?}");
            }
            text.push(']');
            text
        }
    }
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Rows(rows) => {
            let mut text = format!("{} rows:", rows.len());
            for row in rows {
                let _ = write!(text, " {}", row_text(Some(row)));
            }
            text
        }
        Answer::Row(row) => row_text(row.as_deref()),
        Answer::Applied(row) => format!("applied {}", row_text(Some(row))),
        Answer::Lost(row) => format!("lost {}", row_text(row.as_deref())),
        Answer::Created(new) => format!("created: {new}"),
        Answer::Deleted(done) => format!("deleted: {done}"),
        Answer::Index(state) => format!("{state:?}"),
        Answer::Keys(keys) => format!("{keys:?}"),
        Answer::Done => "done".to_owned(),
        Answer::Unknown => "no answer".to_owned(),
        Answer::Throttled => "throttled".to_owned(),
        Answer::Unavailable => "unavailable".to_owned(),
    }
}

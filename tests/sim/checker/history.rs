//! A trace, with what is looked up in it again and again.

use std::collections::BTreeMap;
use std::sync::Arc;

use kcl_daemon::core::ids::{LeaseKey, ShardId, WorkerId};
use kcl_daemon::core::lease::{Change, Lease, LeaseUpdate};
use kcl_daemon::core::sequence::ExtendedSequenceNumber;

use super::{Rules, Violation};
use crate::trace::{ChildNumber, Op, ProcessNumber, Row, ShardTruth, Trace, What};
use crate::world::{EPOCH_MS, Kind, MS, Stillness, Time};

/// A request to the table.
pub struct Call<'a> {
    pub process: ProcessNumber,
    pub op: &'a Op,
    pub sent_local: Time,
}

/// A write that the table carried out.
pub struct Write<'a> {
    /// The event.
    pub index: usize,
    pub at: Time,
    /// Who sent it; nobody for an edit by hand.
    pub call: Option<&'a Call<'a>>,
    pub key: &'a LeaseKey,
    pub before: Option<&'a Arc<Row>>,
    pub after: Option<&'a Arc<Row>>,
}

impl Write<'_> {
    pub fn before_lease(&self) -> Option<&Lease> {
        self.before.and_then(|row| row.as_lease())
    }

    pub fn after_lease(&self) -> Option<&Lease> {
        self.after.and_then(|row| row.as_lease())
    }

    /// What it changed, if it is a change of a lease.
    pub fn change(&self) -> Option<&Change> {
        match self.call.map(|call| call.op) {
            Some(Op::Update(update)) => Some(&update.change),
            _ => None,
        }
    }

    pub fn process(&self) -> Option<ProcessNumber> {
        self.call.map(|call| call.process)
    }
}

/// A child.
pub struct Child {
    pub process: ProcessNumber,
    pub shard: ShardId,
    /// The event that started it.
    pub started: usize,
}

/// A shard, as the truth has it.
#[derive(Default)]
pub struct ShardHistory<'a> {
    pub truth: Option<&'a ShardTruth>,
    /// All its records in order, with their times.
    pub records: Vec<(&'a ExtendedSequenceNumber, i64)>,
    pub children: Vec<&'a ShardId>,
    /// The event that closed it.
    pub closed: Option<usize>,
}

/// The trace.
pub struct History<'a> {
    pub trace: &'a Trace,
    pub rules: Rules,
    /// The worker ids of processes.
    names: Vec<WorkerId>,
    calls: Vec<Option<Call<'a>>>,
    pub children: BTreeMap<ChildNumber, Child>,
    pub shards: BTreeMap<&'a ShardId, ShardHistory<'a>>,
    /// Per process, the times in which its clock stood still.
    suspensions: BTreeMap<ProcessNumber, Vec<(Time, Time)>>,
    /// When it became calm.
    pub calm: Option<usize>,
}

impl<'a> History<'a> {
    pub fn of(trace: &'a Trace, rules: Rules) -> Self {
        let mut history = Self {
            trace,
            rules,
            names: trace
                .processes
                .iter()
                .map(|info| WorkerId::new(&info.name))
                .collect(),
            calls: Vec::new(),
            children: BTreeMap::new(),
            shards: BTreeMap::new(),
            suspensions: BTreeMap::new(),
            calm: None,
        };
        for (index, event) in trace.events.iter().enumerate() {
            match &event.what {
                What::Sent { call, op } => {
                    let number = usize::try_from(*call).unwrap_or(0);
                    while history.calls.len() <= number {
                        history.calls.push(None);
                    }
                    history.calls[number] = Some(Call {
                        process: event.by.unwrap_or(0),
                        op,
                        sent_local: event.local,
                    });
                }
                What::ChildStarted { child, shard } => {
                    let child_is = Child {
                        process: event.by.unwrap_or(0),
                        shard: shard.clone(),
                        started: index,
                    };
                    history.children.insert(*child, child_is);
                }
                What::Opened(shards) => {
                    for shard in shards {
                        history.shards.entry(&shard.id).or_default().truth = Some(shard);
                        for parent in &shard.parents {
                            let parent = history.shards.entry(parent).or_default();
                            parent.children.push(&shard.id);
                        }
                    }
                }
                What::Closed { shard, .. } => {
                    history.shards.entry(shard).or_default().closed = Some(index);
                }
                What::Put {
                    shard,
                    places,
                    at_ms,
                } => {
                    let records = &mut history.shards.entry(shard).or_default().records;
                    records.extend(places.iter().map(|place| (place, *at_ms)));
                }
                What::Frozen {
                    process,
                    stillness: Stillness::Suspended,
                    ..
                } => {
                    let suspensions = history.suspensions.entry(*process).or_default();
                    suspensions.push((event.at, Time::MAX));
                }
                What::Thawed { process } => {
                    let suspensions = history.suspensions.get_mut(process);
                    if let Some((_, end)) = suspensions.and_then(|list| list.last_mut()) {
                        *end = (*end).min(event.at);
                    }
                }
                What::Calm => history.calm = Some(index),
                _ => {}
            }
        }
        history
    }

    /// Whether a worker of this name was never anything but a kcl-daemon. (Where all owners are, finished
    /// leases weigh nothing.)
    pub fn is_named_as_ours(&self, worker: &WorkerId) -> bool {
        let mut others = self.trace.processes.iter().zip(&self.names);
        !others.any(|(info, name)| info.kind != Kind::Ours && name == worker)
    }

    /// Whether a process runs the code under test, or what is judged in its place.
    pub fn is_ours(&self, process: ProcessNumber) -> bool {
        self.trace
            .processes
            .get(process as usize)
            .is_some_and(|info| self.rules.judges_models || info.kind == Kind::Ours)
    }

    /// Whether a worker runs the code under test; of somebody who never was nothing is known.
    pub fn is_worker_of_ours(&self, worker: &WorkerId) -> bool {
        let mut known = (0..).zip(&self.trace.processes);
        known.all(|(number, info)| info.name != worker.as_str() || self.is_ours(number))
    }

    pub fn name(&self, process: ProcessNumber) -> WorkerId {
        let name = self.names.get(process as usize);
        name.cloned().unwrap_or_else(|| WorkerId::new("?"))
    }

    pub fn call(&self, number: u64) -> Option<&Call<'a>> {
        let number = usize::try_from(number).ok()?;
        self.calls.get(number).and_then(Option::as_ref)
    }

    /// The update that a request was.
    pub fn update(&self, number: u64) -> Option<(&Call<'a>, &'a LeaseUpdate)> {
        let call = self.call(number)?;
        match call.op {
            Op::Update(update) => Some((call, update)),
            _ => None,
        }
    }

    /// The write that an event is.
    pub fn write(&'a self, index: usize) -> Option<Write<'a>> {
        let event = &self.trace.events[index];
        let (call, before, after) = match &event.what {
            What::Applied {
                call,
                before,
                after,
            } => (self.call(*call), before, after),
            What::Edited { before, after } => (None, before, after),
            _ => return None,
        };
        let key = after.as_ref().or(before.as_ref())?.key();
        Some(Write {
            index,
            at: event.at,
            call,
            key,
            before: before.as_ref(),
            after: after.as_ref(),
        })
    }

    /// All writes, in order.
    pub fn writes(&'a self) -> impl Iterator<Item = Write<'a>> {
        (0..self.trace.events.len()).filter_map(|index| self.write(index))
    }

    /// How long a process's clock stood still between two moments.
    pub fn suspended(&self, process: ProcessNumber, from: Time, to: Time) -> Time {
        let list = self.suspensions.get(&process);
        list.into_iter()
            .flatten()
            .map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from)))
            .sum()
    }

    /// Whether the process's clock stood still not long ago: it may go on for a failover time of its own
    /// with what others took meanwhile (I.1).
    pub fn has_slept(&self, process: ProcessNumber, at: Time) -> bool {
        let lately = at.saturating_sub(self.rules.failover * 5);
        self.suspended(process, lately, at) > 0
    }

    /// The shard's ancestors, nearest first.
    pub fn ancestors(&self, shard: &ShardId) -> Vec<&'a ShardId> {
        let mut found: Vec<&'a ShardId> = Vec::new();
        let mut queue: Vec<&ShardId> = vec![shard];
        while let Some(next) = queue.pop() {
            let truth = self.shards.get(next).and_then(|shard| shard.truth);
            for parent in truth.iter().flat_map(|truth| &truth.parents) {
                if !found.contains(&parent) {
                    found.push(parent);
                    queue.push(parent);
                }
            }
        }
        found
    }

    /// The oldest time that retention keeps at a moment, milliseconds since the epoch.
    pub fn horizon_ms(&self, at: Time) -> i64 {
        EPOCH_MS + i64::try_from(at / MS).unwrap_or(0) - self.rules.retention_ms
    }

    pub fn violation(
        &self,
        invariant: &'static str,
        index: usize,
        key: Option<&LeaseKey>,
        text: impl Into<String>,
    ) -> Violation {
        Violation {
            invariant,
            index,
            key: key.cloned(),
            text: text.into(),
        }
    }
}

/// Who is made the actual owner of a lease by a write: somebody new, or the same one by taking it
/// anew, or by assigning to itself what was to be handed from itself to itself.
pub fn new_owner<'a>(history: &'a History<'a>, index: usize) -> Option<(WorkerId, &'a LeaseKey)> {
    let write = history.write(index)?;
    let before = write.before.and_then(|row| row.actual_owner());
    let after = write.after.and_then(|row| row.actual_owner())?;
    let knotted = write.before_lease().is_some_and(|lease| {
        lease.checkpoint_owner.is_some() && lease.owner == lease.checkpoint_owner
    });
    let anew = match write.change() {
        Some(Change::Take { .. }) => true,
        Some(Change::Assign { .. }) if knotted => true,
        _ => before != Some(after),
    };
    anew.then(|| (after.clone(), write.key))
}

/// The rows of the table while one goes through a trace.
#[derive(Default)]
pub struct Rows<'a> {
    rows: BTreeMap<&'a LeaseKey, &'a Arc<Row>>,
}

impl<'a> Rows<'a> {
    pub fn after(&mut self, write: &Write<'a>) {
        match write.after {
            Some(row) => self.rows.insert(write.key, row),
            None => self.rows.remove(write.key),
        };
    }

    pub fn get(&self, key: &LeaseKey) -> Option<&'a Row> {
        self.rows.get(key).map(|row| &***row)
    }

    pub fn lease(&self, key: &LeaseKey) -> Option<&'a Lease> {
        self.get(key).and_then(Row::as_lease)
    }

    pub fn leases(&self) -> impl Iterator<Item = &'a Lease> {
        self.rows.values().filter_map(|row| row.as_lease())
    }
}

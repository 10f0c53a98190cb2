//! What a worker of the model knows: what it saw, what it holds, what it waits for. The decisions are
//! the product's: [`Tenure`] for each held lease, [`Consumer`] for each shard it processes.

use std::hash::Hash;
use std::sync::Arc;

use kcl_daemon::core::consumer::{Consumer, FailurePolicy};
use kcl_daemon::core::expiry::Observations;
use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::lease::{Lease, LeaseUpdate};
use kcl_daemon::core::sequence::ExtendedSequenceNumber;
use kcl_daemon::core::tenure::{Attempts, Tenure};
use multilang_protocol::ActionKind;

use crate::world::{F, Holder, NAMES, SHARDS, Scribe, Tick, moment, place_number};

/// A row as a worker saw it last.
#[derive(Debug, Clone)]
pub struct Sight {
    pub row: Arc<Lease>,
    /// When it saw this counter first.
    pub since: Tick,
    pub last: Tick,
}

impl Sight {
    /// Whether it saw the owner silent for longer than the failover time.
    fn is_silent(&self) -> bool {
        self.last > self.since + F
    }

    pub fn observations(&self) -> Observations {
        let mut seen = Observations::default();
        seen.record(&self.row, moment(self.since));
        seen.record(&self.row, moment(self.last));
        seen
    }
}

/// What the table answered.
#[derive(Debug, Clone)]
pub enum Answer {
    Applied(Arc<Lease>),
    Refused(Option<Arc<Lease>>),
}

/// A write whose answer is awaited.
#[derive(Debug, Clone)]
pub struct Slow {
    pub update: LeaseUpdate,
    pub sent: Tick,
    pub answer: Option<Answer>,
}

/// A lease that is being acquired by a slow write.
#[derive(Debug, Clone)]
pub struct Taking {
    pub id: Holder,
    pub before: Arc<Lease>,
    /// It was assigned to this worker: a read would prove nothing.
    pub assigned: bool,
    pub slow: Slow,
}

/// The driver of a shard consumer: what `worker::consumer` keeps beside the state machine.
#[derive(Debug, Clone, Hash)]
pub struct Shell {
    pub machine: Consumer<u8, ()>,
    /// What the child works on.
    pub asked: Option<ActionKind>,
    pub has_child: bool,
    /// The record that is read next.
    pub reading: Option<u8>,
    /// How far the leases of child shards are made.
    pub family: Option<u8>,
    pub waits_for_parents: bool,
    pub pauses: bool,
    /// The checkpoint that the keeper has to write.
    pub writing: Option<ExtendedSequenceNumber>,
}

impl Shell {
    pub fn new(checkpoint: ExtendedSequenceNumber) -> Self {
        let pause = std::time::Duration::from_secs(1);
        Self {
            machine: Consumer::new(checkpoint, FailurePolicy::RESTART, pause),
            asked: None,
            has_child: false,
            reading: None,
            family: None,
            waits_for_parents: true,
            pauses: false,
            writing: None,
        }
    }
}

/// A held lease.
#[derive(Debug, Clone)]
pub struct Hold {
    pub id: Holder,
    pub tenure: Tenure,
    pub slow: Option<Slow>,
    pub consumer: Option<Shell>,
    pub releasing: bool,
    /// The truth: when the last write of it that really happened was sent.
    pub sent_ok: Tick,
}

/// A running worker.
#[derive(Debug, Clone)]
pub struct Mind {
    pub number: u8,
    pub life: u8,
    pub seen: [Option<Sight>; SHARDS],
    pub held: [Option<Arc<Hold>>; SHARDS],
    pub taking: [Option<Arc<Taking>>; SHARDS],
    pub looked: bool,
    /// Leases that carried its id when it first looked.
    pub former: [bool; SHARDS],
    pub may_steal: bool,
    pub stopping: bool,
    /// Takes of which it learnt nothing.
    pub attempts: Attempts,
    serial: u8,
}

impl Mind {
    pub fn new(number: u8, life: u8) -> Self {
        Self {
            number,
            life,
            seen: Default::default(),
            held: Default::default(),
            taking: Default::default(),
            looked: false,
            former: [false; SHARDS],
            may_steal: false,
            stopping: false,
            attempts: Attempts::default(),
            serial: 0,
        }
    }

    pub fn me(&self) -> &'static WorkerId {
        &NAMES.workers[usize::from(self.number)]
    }

    pub fn next_id(&mut self) -> Holder {
        self.serial += 1;
        Holder {
            worker: self.number,
            life: self.life,
            serial: self.serial,
        }
    }

    pub fn has(&self, shard: usize) -> bool {
        self.held[shard].is_some() || self.taking[shard].is_some()
    }

    pub fn is_idle(&self) -> bool {
        (0..SHARDS).all(|shard| !self.has(shard))
    }

    /// Whether it holds a lease, or is about to, under this number.
    pub fn knows(&self, id: Holder, shard: usize) -> bool {
        let held = self.held[shard].as_ref().is_some_and(|hold| hold.id == id);
        held || self.taking[shard]
            .as_ref()
            .is_some_and(|taking| taking.id == id)
    }

    /// Whether it waits for the answer to a write.
    pub fn awaits(&self, id: Holder, shard: usize) -> bool {
        let held = self.held[shard].as_ref().filter(|hold| hold.id == id);
        let slow = held.and_then(|hold| hold.slow.as_ref());
        let taking = self.taking[shard].as_ref().filter(|taking| taking.id == id);
        let slow = slow.or(taking.map(|taking| &taking.slow));
        slow.is_some_and(|slow| slow.answer.is_none())
    }

    pub fn write_down(&self, scribe: &mut Scribe<'_>) {
        scribe.small([
            1,
            self.life.min(1),
            u8::from(self.looked),
            u8::from(self.may_steal),
            u8::from(self.stopping),
        ]);
        for shard in 0..SHARDS {
            scribe.small([u8::from(self.former[shard])]);
            match &self.seen[shard] {
                Some(sight) => {
                    scribe.row(Some(&sight.row));
                    scribe.small([u8::from(sight.is_silent())]);
                    if scribe.is_current(&sight.row) {
                        scribe.age(sight.since);
                        match self.attempts.sent_first(&sight.row.taken_by(self.me())) {
                            Some(sent) => scribe.moment(sent),
                            None => scribe.small([9]),
                        }
                    }
                }
                None => scribe.small([7]),
            }
            match &self.taking[shard] {
                Some(taking) => {
                    scribe.holder(shard, taking.id);
                    scribe.row(Some(&taking.before));
                    scribe.small([u8::from(taking.assigned)]);
                    slow(&taking.slow, scribe);
                }
                None => scribe.small([8]),
            }
            match &self.held[shard] {
                Some(hold) => hold.write_down(shard, scribe),
                None => scribe.small([9]),
            }
        }
    }
}

impl Hold {
    fn write_down(&self, shard: usize, scribe: &mut Scribe<'_>) {
        scribe.holder(shard, self.id);
        scribe.row(Some(self.tenure.lease()));
        scribe.moment(self.tenure.last_sent());
        scribe.small([
            u8::from(self.tenure.is_over()),
            u8::from(self.releasing),
            u8::from(self.consumer.is_some()),
        ]);
        scribe.age(self.sent_ok);
        for (update, sent) in self.tenure.in_doubt() {
            scribe.update(update);
            scribe.moment(*sent);
        }
        if let Some(one) = &self.slow {
            slow(one, scribe);
        }
        if let Some(shell) = &self.consumer {
            shell.hash(&mut scribe.hasher);
        }
    }
}

fn slow(slow: &Slow, scribe: &mut Scribe<'_>) {
    scribe.update(&slow.update);
    scribe.age(slow.sent);
    match &slow.answer {
        None => scribe.small([0]),
        Some(Answer::Applied(row)) => {
            scribe.small([1]);
            scribe.row(Some(row));
        }
        Some(Answer::Refused(row)) => {
            scribe.small([2]);
            scribe.row(row.as_deref());
        }
    }
}

/// The index of the first record behind a place.
pub fn first_behind(place: &ExtendedSequenceNumber) -> u8 {
    place_number(place)
}

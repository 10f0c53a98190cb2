//! The world of the small model: two workers, two shards, one of which is split; a table, and writes
//! that are on their way to it.
//!
//! Shards by number: 0 is closed and became 2 and 3; 1 is open. Time is counted in ticks.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::{LeaseKey, ShardId, WorkerId};
use kcl_daemon::core::lease::{Change, Condition, Counter, Lease, LeaseDeletion, LeaseUpdate};
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, Position, SequenceNumber};
use kcl_daemon::core::stream::ChildShard;
use kcl_daemon::core::time::Moment;

use crate::worker::Mind;

pub const SHARDS: usize = 4;
pub const PARENT: usize = 0;
pub const CHILDREN: [usize; 2] = [2, 3];
/// The failover time in ticks.
pub const F: u16 = 2;
/// Records of each shard.
pub const RECORDS: u8 = 1;

pub type Tick = u16;
type Place = ExtendedSequenceNumber;

pub struct Names {
    pub workers: [WorkerId; 2],
    pub keys: [LeaseKey; SHARDS],
    /// Behind the n-th record.
    pub places: Vec<Place>,
    pub children: Vec<ChildShard>,
}

pub static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let shards: [ShardId; SHARDS] =
        std::array::from_fn(|n| ShardId::new(format!("shardId-{n:012}")));
    let mut places = vec![Place::sentinel(Position::TrimHorizon)];
    places.extend((1..=RECORDS).map(|n| {
        let number = SequenceNumber::parse(&n.to_string()).expect("digits");
        Place::record(number, 0)
    }));
    Names {
        workers: [WorkerId::new("a"), WorkerId::new("b")],
        keys: std::array::from_fn(|n| LeaseKey::of_shard(&shards[n])),
        children: CHILDREN
            .iter()
            .map(|child| ChildShard {
                id: shards[*child].clone(),
                parents: vec![shards[PARENT].clone()],
                hash_range: HashRange::FULL,
            })
            .collect(),
        places,
    }
});

/// The number of a place: 0 at the beginning, behind all records the number of records, 255 at the end.
pub fn place_number(place: &Place) -> u8 {
    match &place.position {
        Position::TrimHorizon => 0,
        Position::Number(number) => number.as_str().parse().expect("made by the model"),
        _ => u8::MAX,
    }
}

pub fn key_number(key: &LeaseKey) -> usize {
    let last = key.as_str().as_bytes().last().copied().unwrap_or(b'0');
    usize::from(last - b'0')
}

pub fn worker_number(worker: &WorkerId) -> u8 {
    u8::from(*worker == NAMES.workers[1])
}

pub fn failover() -> Duration {
    Duration::from_secs(u64::from(F))
}

pub fn moment(tick: Tick) -> Moment {
    Moment::from_origin(Duration::from_secs(u64::from(tick)))
}

pub fn tick_of(moment: Moment) -> Tick {
    u16::try_from(moment.since_origin().as_secs()).unwrap_or(Tick::MAX)
}

/// Who acquired a lease: the worker, which of its processes, and a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    pub worker: u8,
    pub life: u8,
    pub serial: u8,
}

/// A write on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// By an owner, by somebody who wants to become it, or by a leader.
    Update(LeaseUpdate),
    /// The lease of a child shard.
    Create(usize),
    Delete(LeaseDeletion),
}

/// What a write is for; decides by which laws it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aim {
    /// An owner's.
    Own,
    /// To become the owner of what nobody holds, or nobody alive.
    Take,
    /// To become the owner of what another worker has too much of.
    Steal,
    /// To adopt what was assigned to it, or to take its own back.
    Adopt,
    /// A leader's that moves a lease it thinks dead.
    AssignDead,
    /// Anything else.
    Other,
}

/// A write that is under way, or may come once more.
#[derive(Debug, Clone, PartialEq)]
pub struct Flight {
    pub write: Write,
    pub aim: Aim,
    pub by: Holder,
    pub sent: Tick,
}

/// What is true of a row, whatever anybody knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Truth {
    /// When its counter moved last.
    pub moved: Tick,
    /// When another worker became the one that may process it.
    pub changed_hands: Tick,
    pub holder: Option<Holder>,
    /// When the write that made it the holder was sent.
    pub acquired: Tick,
    /// Records that were given to some child.
    pub delivered: u8,
    pub existed: bool,
}

/// How much may still go wrong, or happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Writes that are late, come twice, or whose request or answer is lost; reads that fail.
    pub faults: u8,
    pub crashes: u8,
    pub stops: u8,
    /// Hand-offs that a leader begins.
    pub moves: u8,
}

impl Budget {
    /// Whether everything that may happen with `other` may happen with this one.
    pub const fn covers(self, other: Self) -> bool {
        self.faults >= other.faults
            && self.crashes >= other.crashes
            && self.stops >= other.stops
            && self.moves >= other.moves
    }
}

#[derive(Debug, Clone)]
pub struct State {
    pub now: Tick,
    pub rows: [Option<Arc<Lease>>; SHARDS],
    pub truth: [Truth; SHARDS],
    /// `None` for a worker that is not running.
    pub minds: [Option<Arc<Mind>>; 2],
    pub lives: [u8; 2],
    pub flights: Vec<Flight>,
    pub budget: Budget,
}

impl State {
    /// Both workers run and know nothing; the leases of shards 0 and 1 exist, or of 0 only.
    pub fn begin(budget: Budget, shards: usize) -> Self {
        let row = |shard: usize, parents: Vec<ShardId>| {
            let key = NAMES.keys[shard].clone();
            Arc::new(Lease::new(key, NAMES.places[0].clone(), parents, None))
        };
        let mut state = Self {
            now: 0,
            rows: Default::default(),
            truth: Default::default(),
            minds: [
                Some(Arc::new(Mind::new(0, 0))),
                Some(Arc::new(Mind::new(1, 0))),
            ],
            lives: [0; 2],
            flights: Vec::new(),
            budget,
        };
        for shard in 0..shards {
            state.rows[shard] = Some(row(shard, vec![]));
            state.truth[shard].existed = true;
        }
        state
    }

    pub fn row(&self, key: &LeaseKey) -> Option<&Lease> {
        self.rows[key_number(key)].as_deref()
    }

    /// A number that is the same for states that differ in nothing that matters, the budget aside: names
    /// of workers, how large counters are, how old what nobody can use any more is.
    pub fn fingerprint(&self) -> u64 {
        self.hashed([0, 1]).min(self.hashed([1, 0]))
    }

    fn hashed(&self, names: [u8; 2]) -> u64 {
        let mut scribe = Scribe {
            hasher: Fast::default(),
            names,
            state: self,
        };
        for (row, truth) in self.rows.iter().zip(&self.truth) {
            scribe.row(row.as_deref());
            scribe.age(truth.moved);
            scribe.age(truth.changed_hands);
            scribe.age(truth.acquired);
            scribe.small([
                truth.delivered,
                u8::from(truth.existed),
                u8::from(truth.holder.is_some()),
            ]);
        }
        for worker in names {
            match &self.minds[usize::from(worker)] {
                None => scribe.small([0]),
                Some(mind) => mind.write_down(&mut scribe),
            }
        }
        // Writes under way are a set.
        let mut sum = 0u64;
        for flight in &self.flights {
            let mut one = Scribe {
                hasher: Fast::default(),
                ..scribe
            };
            one.flight(flight);
            sum = sum.wrapping_add(one.hasher.finish());
        }
        scribe.hasher.write_u64(sum);
        scribe.hasher.finish()
    }

    /// Forgets writes under way that can have no effect any more, on the table or on who sent them.
    pub fn forget_dead_writes(&mut self) {
        let (rows, minds) = (&self.rows, &self.minds);
        self.flights.retain(|flight| {
            let (shard, counter) = match &flight.write {
                Write::Update(update) => (key_number(&update.key), counter_of(update)),
                Write::Delete(deletion) => (key_number(&deletion.key), Some(deletion.counter.0)),
                Write::Create(shard) => return rows[*shard].is_none(),
            };
            let row = rows[shard].as_ref();
            let dead = row.is_none_or(|row| counter.is_some_and(|counter| counter < row.counter.0));
            let mind = minds[usize::from(flight.by.worker)].as_ref();
            !dead || mind.is_some_and(|mind| mind.awaits(flight.by, shard))
        });
    }
}

fn counter_of(update: &LeaseUpdate) -> Option<u64> {
    match &update.condition {
        Condition::Counter(Counter(counter))
        | Condition::CounterAndOwner(Counter(counter), _)
        | Condition::CounterNoHandOff(Counter(counter)) => Some(*counter),
        Condition::Owners { counter, .. } => counter.map(|counter| counter.0),
        Condition::Exists => None,
    }
}

/// Writes a state down, up to what does not matter.
pub struct Scribe<'a> {
    pub hasher: Fast,
    /// The old number of each worker.
    names: [u8; 2],
    state: &'a State,
}

impl Scribe<'_> {
    pub fn small<const N: usize>(&mut self, bytes: [u8; N]) {
        for byte in bytes {
            self.hasher.write_u8(byte);
        }
    }

    /// What is longer ago than the failover time is equally long ago.
    pub fn age(&mut self, since: Tick) {
        self.hasher.write_u16((self.state.now - since).min(F + 1));
    }

    pub fn moment(&mut self, at: Moment) {
        self.age(tick_of(at));
    }

    fn named(&mut self, worker: u8) {
        let new = self.names.iter().position(|old| *old == worker);
        self.hasher.write_usize(new.unwrap_or(2));
    }

    /// Of holders it matters who is the present one, and for whom somebody waits.
    pub fn holder(&mut self, shard: usize, holder: Holder) {
        let state = self.state;
        self.named(holder.worker);
        let mind = state.minds[usize::from(holder.worker)].as_ref();
        let here = mind.is_some_and(|mind| mind.knows(holder, shard));
        let present = state.truth[shard].holder == Some(holder);
        self.small([u8::from(here), u8::from(present)]);
    }

    fn worker(&mut self, worker: Option<&WorkerId>) {
        match worker {
            Some(worker) => self.named(worker_number(worker)),
            None => self.hasher.write_usize(3),
        }
    }

    /// A counter matters only beside that of the row: it is the same, or the one before, or history.
    fn counter(&mut self, shard: usize, counter: u64) {
        let row = self.state.rows[shard].as_ref();
        let behind = row.map_or(9, |row| row.counter.0.wrapping_sub(counter).min(2));
        self.hasher.write_u64(behind);
    }

    /// Whether a row is the table's, as far as its counter tells.
    pub fn is_current(&self, row: &Lease) -> bool {
        let current = self.state.row(&row.key);
        current.is_some_and(|current| current.counter == row.counter)
    }

    pub fn row(&mut self, row: Option<&Lease>) {
        let Some(row) = row else {
            self.small([0]);
            return;
        };
        self.counter(key_number(&row.key), row.counter.0);
        self.worker(row.owner.as_ref());
        self.worker(row.checkpoint_owner.as_ref());
        self.small([
            place_number(&row.checkpoint),
            u8::from(!row.children.is_empty()),
        ]);
    }

    pub fn update(&mut self, update: &LeaseUpdate) {
        let shard = key_number(&update.key);
        self.hasher.write_usize(shard);
        std::mem::discriminant(&update.condition).hash(&mut self.hasher);
        std::mem::discriminant(&update.change).hash(&mut self.hasher);
        if let Some(counter) = counter_of(update) {
            self.counter(shard, counter);
        }
        if let Condition::Owners {
            owner,
            checkpoint_owner,
            ..
        } = &update.condition
        {
            self.worker(owner.as_ref());
            self.worker(checkpoint_owner.as_ref());
        }
        match &update.change {
            Change::Take { owner, .. } | Change::Assign { owner, .. } => self.worker(Some(owner)),
            Change::BeginHandOff { from, to } => {
                self.worker(Some(from));
                self.worker(Some(to));
            }
            Change::Checkpoint(place) => self.small([place_number(place)]),
            _ => {}
        }
    }

    fn flight(&mut self, flight: &Flight) {
        let shard = match &flight.write {
            Write::Update(update) => {
                self.update(update);
                key_number(&update.key)
            }
            Write::Create(shard) => {
                self.hasher.write_usize(100 + shard);
                *shard
            }
            Write::Delete(deletion) => {
                let shard = key_number(&deletion.key);
                self.hasher.write_usize(200 + shard);
                self.counter(shard, deletion.counter.0);
                shard
            }
        };
        flight.aim.hash(&mut self.hasher);
        self.holder(shard, flight.by);
        self.age(flight.sent);
    }
}

/// A quick hash: a state is hashed for each step, and nobody attacks this one.
#[derive(Default)]
pub struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(23) ^ value).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        self.0 ^= self.0 >> 29;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

//! What processors wrote down, and what must hold of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// One delivered record: sequence number, sub-sequence number, the test's own id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Record(pub String, pub u64, pub String);

impl Record {
    /// Its place in the shard.
    pub fn position(&self) -> Position {
        Position::new(&self.0, self.1)
    }

    /// The test's own id.
    pub fn id(&self) -> &str {
        &self.2
    }
}

/// A place in a shard, in the order of `leases.md` F.1. Sentinels other than SHARD_END come before
/// everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Sequence number, or a sentinel.
    pub sequence: String,
    /// Sub-sequence number.
    pub sub: u64,
}

impl Position {
    /// A place.
    pub fn new(sequence: &str, sub: u64) -> Self {
        Self {
            sequence: sequence.to_owned(),
            sub,
        }
    }

    fn key(&self) -> (u8, usize, &str, u64) {
        match self.sequence.as_str() {
            "SHARD_END" => (2, 0, "", 0),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (1, digits.len(), digits, self.sub)
            }
            _ => (0, 0, "", 0),
        }
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Something a processor did or was told. Members beside `event`, `t`, `pid` and `shard` depend on
/// the event; see `recorder.py`.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// An action's name, `ready`, `done`, `checkpoint`, `crash`, `hang`, `end`, `grandchild`.
    pub event: String,
    /// Microseconds since the epoch.
    pub t: i64,
    /// The processor.
    pub pid: u32,
    /// Its parent.
    #[serde(default)]
    pub daemon: u32,
    /// Empty before `initialize`.
    #[serde(default, deserialize_with = "text")]
    pub shard: String,
    /// The worker's id.
    #[serde(default, deserialize_with = "text")]
    pub worker: String,
    /// Of `processRecords`.
    #[serde(default)]
    pub records: Vec<Record>,
    /// Of `processRecords`: `millisBehindLatest`.
    #[serde(default)]
    pub behind: Option<i64>,
    /// Of `initialize` and `checkpoint`.
    #[serde(default)]
    pub sequence: Option<String>,
    /// Of `initialize` and `checkpoint`.
    #[serde(default)]
    pub sub: Option<u64>,
    /// Of `checkpoint`.
    #[serde(default)]
    pub error: Option<String>,
    /// Of `grandchild`: its process id.
    #[serde(default)]
    pub child: Option<u32>,
}

fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

impl Event {
    /// Of `initialize`: the checkpoint it was given.
    pub fn position(&self) -> Position {
        Position::new(
            self.sequence.as_deref().unwrap_or_default(),
            self.sub.unwrap_or(0),
        )
    }
}

/// A record that was delivered more than once.
#[derive(Debug, Clone)]
pub struct Duplicate {
    /// The test's own id.
    pub id: String,
    /// Its shard.
    pub shard: String,
    /// When and to which process, in order.
    pub deliveries: Vec<(i64, u32)>,
}

/// The shard of a record, and when and to which process it was delivered.
type Deliveries<'a> = (&'a str, Vec<(i64, u32)>);

/// Everything that was written down, in order of writing.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The events.
    pub events: Vec<Event>,
}

impl Ledger {
    /// Reads a ledger; a file that is not there is empty. An unfinished last line is left out.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{error} in ledger line {line}"))
            })
            .collect();
        Self { events }
    }

    /// Events of a kind.
    pub fn of<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |e| e.event == event)
    }

    /// Events of a kind in a shard.
    pub fn of_shard<'a>(
        &'a self,
        event: &'a str,
        shard: &'a str,
    ) -> impl Iterator<Item = &'a Event> {
        self.of(event).filter(move |e| e.shard == shard)
    }

    /// Ids of all records that reached a processor.
    pub fn delivered(&self) -> BTreeSet<&str> {
        self.of("processRecords")
            .flat_map(|e| e.records.iter().map(Record::id))
            .collect()
    }

    /// Ids of all records in batches that a processor answered, or checkpointed and died over: the next
    /// one started behind them. What else a processor had when it died is not among them.
    pub fn processed(&self) -> BTreeSet<&str> {
        let mut open: HashMap<u32, &Event> = HashMap::new();
        let mut ids = BTreeSet::new();
        for event in &self.events {
            match event.event.as_str() {
                "processRecords" => {
                    open.insert(event.pid, event);
                }
                "initialize" => {
                    let stored = event.position();
                    let same_shard = open.values().filter(|e| e.shard == event.shard);
                    ids.extend(
                        same_shard
                            .flat_map(|e| e.records.iter())
                            .filter(|record| record.position() <= stored)
                            .map(Record::id),
                    );
                }
                "done" => {
                    let batch = open.remove(&event.pid);
                    ids.extend(
                        batch
                            .into_iter()
                            .flat_map(|e| e.records.iter().map(Record::id)),
                    );
                }
                _ => {}
            }
        }
        ids
    }

    /// How many records reached processors, duplicates counted.
    pub fn deliveries(&self) -> usize {
        self.of("processRecords").map(|e| e.records.len()).sum()
    }

    /// Whether each of these records was processed.
    pub fn has_processed<S: AsRef<str>>(&self, ids: &[S]) -> bool {
        let processed = self.processed();
        ids.iter().all(|id| processed.contains(id.as_ref()))
    }

    /// Sees that each of these records was processed.
    #[track_caller]
    pub fn assert_nothing_lost<S: AsRef<str>>(&self, ids: &[S]) {
        let processed = self.processed();
        let lost: Vec<&str> = ids
            .iter()
            .map(AsRef::as_ref)
            .filter(|id| !processed.contains(id))
            .collect();
        assert!(
            lost.is_empty(),
            "{} of {} records were never processed, the first: {:?}",
            lost.len(),
            ids.len(),
            &lost[..lost.len().min(10)]
        );
    }

    /// Sees what holds whatever happens:
    /// * within a process records ascend strictly, and all are behind its `initialize` checkpoint
    ///   (I.18);
    /// * a process starts at or behind the last checkpoint stored before, or never stores one itself: a
    ///   worker whose lease was just stolen may start a child before it knows (I.1, I.15, I.18);
    /// * each process gets `initialize` first and once.
    #[track_caller]
    pub fn assert_sound(&self) {
        let mut last: HashMap<u32, Position> = HashMap::new();
        let mut stored: HashMap<&str, Position> = HashMap::new();
        let mut late: HashMap<u32, String> = HashMap::new();
        for event in &self.events {
            let shard = event.shard.as_str();
            match event.event.as_str() {
                "initialize" => {
                    let start = event.position();
                    if let Some(before) = stored.get(shard).filter(|before| start < **before) {
                        let what = format!(
                            "{shard} started at {start:?} although {before:?} was stored: {event:?}"
                        );
                        late.insert(event.pid, what);
                    }
                    let twice = last.insert(event.pid, start);
                    assert!(twice.is_none(), "two initialize for one process: {event:?}");
                }
                "processRecords" => {
                    let Some(last) = last.get_mut(&event.pid) else {
                        panic!("records before initialize: {event:?}");
                    };
                    for record in &event.records {
                        let position = record.position();
                        assert!(
                            position > *last,
                            "{shard}: {position:?} ({}) after {last:?} in process {}",
                            record.2,
                            event.pid
                        );
                        *last = position;
                    }
                }
                "checkpoint" if event.error.is_none() => {
                    if let Some(what) = late.get(&event.pid) {
                        panic!("{what}, and stored {event:?}");
                    }
                    let to = match &event.sequence {
                        Some(_) => event.position(),
                        None => last[&event.pid].clone(),
                    };
                    stored.insert(shard, to);
                }
                _ => {}
            }
        }
    }

    /// Records that were delivered more than once.
    pub fn duplicates(&self) -> Vec<Duplicate> {
        let mut seen: BTreeMap<&str, Deliveries<'_>> = BTreeMap::new();
        for event in self.of("processRecords") {
            for record in &event.records {
                let entry = seen
                    .entry(record.id())
                    .or_insert_with(|| (&event.shard, Vec::new()));
                entry.1.push((event.t, event.pid));
            }
        }
        seen.into_iter()
            .filter(|(_, (_, deliveries))| deliveries.len() > 1)
            .map(|(id, (shard, deliveries))| Duplicate {
                id: id.to_owned(),
                shard: shard.to_owned(),
                deliveries,
            })
            .collect()
    }

    /// Sees that nothing came twice.
    #[track_caller]
    pub fn assert_no_duplicates(&self) {
        self.assert_duplicates_explained("no fault at all", |_| false);
    }

    /// Sees that each duplicate is explained by the fault that the test made.
    #[track_caller]
    pub fn assert_duplicates_explained(&self, fault: &str, explained: impl Fn(&Duplicate) -> bool) {
        let strange: Vec<Duplicate> = self
            .duplicates()
            .into_iter()
            .filter(|d| !explained(d))
            .collect();
        assert!(
            strange.is_empty(),
            "{} records came twice, which {fault} does not explain; the first: {:#?}",
            strange.len(),
            &strange[..strange.len().min(3)]
        );
    }

    /// Deliveries to a process after a later one was initialised for the same shard: what must not be
    /// when the former worker was asleep past the failover time.
    pub fn stale_deliveries(&self) -> Vec<&Event> {
        let mut newest: HashMap<&str, u32> = HashMap::new();
        let mut stale = Vec::new();
        for event in &self.events {
            match event.event.as_str() {
                "initialize" => {
                    newest.insert(&event.shard, event.pid);
                }
                "processRecords" if newest.get(event.shard.as_str()) != Some(&event.pid) => {
                    stale.push(event)
                }
                _ => {}
            }
        }
        stale
    }

    /// Sees that no process got records after a later one was initialised for the same shard.
    #[track_caller]
    pub fn assert_nothing_stale(&self) {
        let stale = self.stale_deliveries();
        assert!(
            stale.is_empty(),
            "delivered to a process whose shard had a newer one: {stale:#?}"
        );
    }

    /// The longest time between two deliveries of each shard, counting `from` and `to` (microseconds
    /// since the epoch) as deliveries.
    pub fn silences(&self, from: i64, to: i64) -> BTreeMap<String, Duration> {
        let shards: HashSet<&str> = self
            .of("processRecords")
            .map(|e| e.shard.as_str())
            .collect();
        shards
            .into_iter()
            .map(|shard| {
                let mut last = from;
                let mut longest = 0;
                let times = self
                    .of_shard("processRecords", shard)
                    .map(|e| e.t)
                    .filter(|t| (from..=to).contains(t));
                for t in times.chain([to]) {
                    longest = longest.max(t - last);
                    last = last.max(t);
                }
                (
                    shard.to_owned(),
                    Duration::from_micros(longest.unsigned_abs()),
                )
            })
            .collect()
    }

    /// The longest silence of any shard.
    pub fn longest_silence(&self, from: i64, to: i64) -> Duration {
        self.silences(from, to)
            .into_values()
            .max()
            .unwrap_or(Duration::MAX)
    }

    /// Time from a moment (microseconds since the epoch) to the next delivery in this shard.
    pub fn next_delivery(&self, shard: &str, after: i64) -> Option<Duration> {
        self.of_shard("processRecords", shard)
            .find(|e| e.t >= after && !e.records.is_empty())
            .map(|e| Duration::from_micros((e.t - after).unsigned_abs()))
    }

    /// Processes that have a shard at the moment: initialised, neither ended nor told that it is over,
    /// and alive.
    pub fn live_processes(&self) -> BTreeMap<String, Vec<u32>> {
        let mut live: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for event in self.of("initialize") {
            live.entry(event.shard.clone()).or_default().push(event.pid);
        }
        for pids in live.values_mut() {
            pids.retain(|pid| {
                super::processes::look(*pid).is_some_and(|process| process.state != 'Z')
            });
        }
        live
    }

    /// One line per event without its records, for messages of failing tests.
    pub fn outline(&self) -> String {
        let start = self.events.first().map_or(0, |e| e.t);
        let mut out = String::new();
        for e in &self.events {
            let seconds = Duration::from_micros((e.t - start).unsigned_abs()).as_secs_f64();
            let _ = write!(out, "{seconds:8.3} {:>7} {} {}", e.pid, e.shard, e.event);
            if let (Some(first), Some(last)) = (e.records.first(), e.records.last()) {
                let _ = write!(out, " {} … {} ({})", first.2, last.2, e.records.len());
            }
            if let Some(error) = &e.error {
                let _ = write!(out, " {error}");
            }
            out.push('\n');
        }
        out
    }
}

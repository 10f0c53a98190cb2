//! The stream itself: records that are put, shards that are split and merged.

use kcl_daemon::core::aggregate::{Aggregator, NewRecord};
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, SequenceNumber};
use kcl_daemon::core::stream::{Shard, ShardFilter};
use kcl_daemon::local::kinesis::{
    self, Kinesis, KinesisError, Options, PutEntry, ShardDescription, ShardQuery, StreamMode,
};

use crate::trace::{ShardTruth, What};

/// The one stream.
pub const STREAM: &str = "orders";

/// The stream, and what is true of it.
pub struct Source {
    pub engine: Kinesis,
    /// The list of all shards before the last reshard.
    before_reshard: Vec<Shard>,
    /// The open shards.
    open: Vec<ShardTruth>,
    written: u64,
}

pub fn sequence(number: kinesis::SequenceNumber) -> SequenceNumber {
    SequenceNumber::parse(&number.to_string()).expect("the engine gives digits")
}

fn shard_id(id: kinesis::ShardId) -> ShardId {
    ShardId::new(id.to_string())
}

pub fn to_shard(shard: &ShardDescription) -> Shard {
    Shard {
        id: shard_id(shard.shard_id),
        parents: [shard.parent, shard.adjacent_parent]
            .into_iter()
            .flatten()
            .map(shard_id)
            .collect(),
        hash_range: HashRange {
            start: shard.hash_key_range.start,
            end: shard.hash_key_range.end,
        },
        starting_sequence: sequence(shard.starting_sequence_number),
        closed: shard.ending_sequence_number.is_some(),
    }
}

impl Source {
    /// A stream of so many shards, made at `now_ms`; and what is to be noted.
    pub fn new(seed: u64, shards: usize, last_records_with_end: bool, now_ms: i64) -> (Self, What) {
        let mut engine = Kinesis::new(Options {
            seed,
            last_records_with_end,
            ..Options::default()
        });
        engine
            .create_stream(STREAM, StreamMode::Provisioned, shards, now_ms)
            .expect("a fresh engine has room for a stream");
        let mut source = Self {
            engine,
            before_reshard: Vec::new(),
            open: Vec::new(),
            written: 0,
        };
        let shards = source
            .list(ShardFilter::All, now_ms)
            .expect("the stream was just made");
        source.open = shards.iter().map(truth).collect();
        source.before_reshard = shards;
        let opened = What::Opened(source.open.clone());
        (source, opened)
    }

    /// Somebody deletes the stream with all it holds; gives the shards that were open.
    pub fn delete(&mut self, now_ms: i64) -> Vec<ShardTruth> {
        let deleted = self.engine.delete_stream(STREAM, true, now_ms);
        deleted.expect("the stream is there");
        std::mem::take(&mut self.open)
    }

    /// And makes another one of that name, with so many shards. Of those that were open, the ones whose ids
    /// do not come again are closed from now on.
    pub fn make_anew(
        &mut self,
        were_open: Vec<ShardTruth>,
        shards: usize,
        now_ms: i64,
    ) -> Vec<What> {
        self.engine
            .create_stream(STREAM, StreamMode::Provisioned, shards, now_ms)
            .expect("the name is free");
        let shards = self.list(ShardFilter::All, now_ms);
        let shards = shards.expect("the stream was just made");
        self.open = shards.iter().map(truth).collect();
        self.before_reshard = shards;
        let is_open = |id: &ShardId| self.open.iter().any(|shard| shard.id == *id);
        let gone = were_open.into_iter().filter(|shard| !is_open(&shard.id));
        let mut events: Vec<What> = gone
            .map(|shard| What::Closed {
                shard: shard.id,
                at_ms: now_ms,
            })
            .collect();
        events.push(What::Opened(self.open.clone()));
        events
    }

    /// The open shards.
    pub fn open(&self) -> &[ShardTruth] {
        &self.open
    }

    /// The list of all shards before the last reshard.
    pub fn before_reshard(&self) -> &[Shard] {
        &self.before_reshard
    }

    /// The service's list.
    pub fn list(&mut self, filter: ShardFilter, now_ms: i64) -> Result<Vec<Shard>, KinesisError> {
        let filter = match filter {
            ShardFilter::All => None,
            ShardFilter::AtLatest => Some(kinesis::ShardFilter::AtLatest),
            ShardFilter::AtTrimHorizon => Some(kinesis::ShardFilter::AtTrimHorizon),
            ShardFilter::AtTimestamp(at) => Some(kinesis::ShardFilter::AtTimestamp(at)),
        };
        let query = ShardQuery::Of {
            stream: STREAM,
            exclusive_start: None,
            filter,
        };
        let page = self.engine.list_shards(query, Some(10_000), now_ms)?;
        Ok(page.shards.iter().map(to_shard).collect())
    }

    /// Puts a record at this place of the hash space; `parts` user records in one aggregate if there
    /// are more than one. There has to be a stream.
    pub fn put(&mut self, hash_key: u128, parts: u64, now_ms: i64) -> What {
        let first = self.written;
        self.written += parts;
        let texts: Vec<String> = (first..self.written).map(|n| format!("r{n}")).collect();
        let data = match &texts[..] {
            [one] => one.clone().into_bytes(),
            many => {
                let mut aggregator = Aggregator::new();
                for text in many {
                    aggregator.add(&NewRecord {
                        partition_key: "k",
                        explicit_hash_key: Some(hash_key),
                        data: text.as_bytes(),
                    });
                }
                aggregator.finish()
            }
        };
        let entry = PutEntry {
            data: &data,
            partition_key: "k",
            explicit_hash_key: Some(hash_key),
        };
        let receipt = self
            .engine
            .put_record(STREAM, entry, now_ms)
            .expect("the producer's records are in order");
        let number = sequence(receipt.sequence_number);
        What::Put {
            shard: shard_id(receipt.shard_id),
            places: (0..parts)
                .map(|sub| ExtendedSequenceNumber::record(number.clone(), sub))
                .collect(),
            at_ms: now_ms,
        }
    }

    /// Splits an open shard in the middle, if it is wide enough.
    pub fn split(&mut self, index: usize, now_ms: i64) -> Vec<What> {
        let Some(shard) = self.open.get(index).cloned() else {
            return Vec::new();
        };
        let width = shard.range.end - shard.range.start;
        if width < 2 {
            return Vec::new();
        }
        let middle = shard.range.start + width / 2 + 1;
        self.reshard(now_ms, |engine, now_ms| {
            engine.split_shard(STREAM, engine_id(&shard.id), middle, now_ms)
        })
    }

    /// Merges an open shard with its upper neighbour.
    pub fn merge(&mut self, index: usize, now_ms: i64) -> Vec<What> {
        let Some(low) = self.open.get(index).cloned() else {
            return Vec::new();
        };
        let upper = |other: &&ShardTruth| Some(other.range.start) == low.range.end.checked_add(1);
        let Some(high) = self.open.iter().find(upper).cloned() else {
            return Vec::new();
        };
        self.reshard(now_ms, |engine, now_ms| {
            engine.merge_shards(STREAM, engine_id(&low.id), engine_id(&high.id), now_ms)
        })
    }

    fn reshard(
        &mut self,
        now_ms: i64,
        change: impl FnOnce(&mut Kinesis, i64) -> Result<(), KinesisError>,
    ) -> Vec<What> {
        let before = self.list(ShardFilter::All, now_ms).unwrap_or_default();
        if change(&mut self.engine, now_ms).is_err() {
            return Vec::new();
        }
        let after = self.list(ShardFilter::All, now_ms).unwrap_or_default();
        let is_open = |id: &ShardId| after.iter().any(|shard| shard.id == *id && !shard.closed);
        let mut events: Vec<What> = self
            .open
            .iter()
            .filter(|shard| !is_open(&shard.id))
            .map(|shard| What::Closed {
                shard: shard.id.clone(),
                at_ms: now_ms,
            })
            .collect();
        let new: Vec<ShardTruth> = after
            .iter()
            .filter(|shard| before.iter().all(|old| old.id != shard.id))
            .map(truth)
            .collect();
        self.open = after
            .iter()
            .filter(|shard| !shard.closed)
            .map(truth)
            .collect();
        self.before_reshard = before;
        events.push(What::Opened(new));
        events
    }
}

fn truth(shard: &Shard) -> ShardTruth {
    ShardTruth {
        id: shard.id.clone(),
        parents: shard.parents.clone(),
        range: shard.hash_range,
    }
}

/// The engine's form of an id; one that is not of this engine names no shard.
pub fn engine_id(id: &ShardId) -> kinesis::ShardId {
    id.as_str().parse().unwrap_or(kinesis::ShardId(u64::MAX))
}

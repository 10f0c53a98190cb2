//! One shard: its records in order, reading them, and finding places among them.

use std::{collections::VecDeque, sync::Arc};

use super::{
    bucket::ShardBuckets,
    ids::{HashKeyRange, SequenceNumber, ShardId},
};

/// A record as a reader gets it; the data are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The record's place in its shard.
    pub sequence_number: SequenceNumber,
    /// When the service took it, epoch milliseconds.
    pub arrival_ms: i64,
    /// The producer's partition key.
    pub partition_key: Arc<str>,
    /// The producer's data.
    pub data: Arc<[u8]>,
}

/// A shard as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardDescription {
    /// The shard.
    pub shard_id: ShardId,
    /// The shard it was split from, or the first of the two it was merged from. It may be trimmed already.
    pub parent: Option<ShardId>,
    /// The second of the two it was merged from.
    pub adjacent_parent: Option<ShardId>,
    /// Its hash keys.
    pub hash_key_range: HashKeyRange,
    /// Below all its records.
    pub starting_sequence_number: SequenceNumber,
    /// Above all its records; a shard that has one is closed.
    pub ending_sequence_number: Option<SequenceNumber>,
}

/// A child of a closed shard, as reads at the shard's end show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildShard {
    /// The child.
    pub shard_id: ShardId,
    /// One parent after a split, two after a merge.
    pub parent_shards: Vec<ShardId>,
    /// The child's hash keys.
    pub hash_key_range: HashKeyRange,
}

#[derive(Clone, Debug)]
struct Stored {
    serial: u64,
    arrival_ms: i64,
    partition_key: Arc<str>,
    data: Arc<[u8]>,
}

impl Stored {
    fn bytes(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// Whether records may still come.
#[derive(Clone, Debug)]
pub(super) enum ShardState {
    Open,
    Closed {
        at_ms: i64,
        ending_serial: u64,
        children: Vec<ShardId>,
    },
}

/// Where a new shard comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) parent: Option<ShardId>,
    pub(super) adjacent_parent: Option<ShardId>,
}

/// What one read gives.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) records: Vec<Record>,
    /// Bytes of data and partition keys.
    pub(super) bytes: usize,
    /// Where the next read goes on.
    pub(super) next: u64,
    /// Arrival of the first record not yet read.
    pub(super) unread_since_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) origin: Origin,
    pub(super) range: HashKeyRange,
    pub(super) created_ms: i64,
    pub(super) state: ShardState,
    pub(super) buckets: ShardBuckets,
    epoch: u64,
    incarnation: u32,
    /// The last serial given away; 0 is the shard's start.
    last_serial: u64,
    /// Ascending both in serial and in arrival time.
    records: VecDeque<Stored>,
}

impl Shard {
    pub(super) fn new(
        id: ShardId,
        origin: Origin,
        range: HashKeyRange,
        epoch: u64,
        incarnation: u32,
        now_ms: i64,
    ) -> Self {
        Self {
            id,
            origin,
            range,
            created_ms: now_ms,
            state: ShardState::Open,
            buckets: ShardBuckets::new(now_ms),
            epoch,
            incarnation,
            last_serial: 0,
            records: VecDeque::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, ShardState::Open)
    }

    pub(super) fn closed_ms(&self) -> Option<i64> {
        match self.state {
            ShardState::Open => None,
            ShardState::Closed { at_ms, .. } => Some(at_ms),
        }
    }

    /// The sequence number of a serial of this shard.
    pub(super) fn sequence(&self, serial: u64) -> SequenceNumber {
        SequenceNumber {
            epoch: self.epoch,
            serial,
            incarnation: self.incarnation,
            shard: self.id,
        }
    }

    pub(super) fn append(
        &mut self,
        partition_key: Arc<str>,
        data: Arc<[u8]>,
        now_ms: i64,
    ) -> SequenceNumber {
        self.last_serial += 1;
        self.records.push_back(Stored {
            serial: self.last_serial,
            arrival_ms: now_ms,
            partition_key,
            data,
        });
        self.sequence(self.last_serial)
    }

    /// The earliest instant at which the shard may close: after it was opened and after its last record came. So a shard was
    /// open, and could be listed as open, whenever it took a record.
    pub(super) fn may_close_at(&self) -> i64 {
        self.records
            .back()
            .map_or(self.created_ms, |record| record.arrival_ms)
            + 1
    }

    pub(super) fn close(&mut self, now_ms: i64) {
        self.last_serial += 1;
        self.state = ShardState::Closed {
            at_ms: now_ms,
            ending_serial: self.last_serial,
            children: Vec::new(),
        };
    }

    pub(super) fn add_child(&mut self, child: ShardId) {
        if let ShardState::Closed { children, .. } = &mut self.state {
            children.push(child);
        }
    }

    /// Forgets records that came before `horizon_ms`.
    pub(super) fn trim(&mut self, horizon_ms: i64) {
        while self
            .records
            .front()
            .is_some_and(|record| record.arrival_ms < horizon_ms)
        {
            self.records.pop_front();
        }
    }

    /// The serial from which a reader gets only what is written from now on.
    pub(super) fn latest(&self) -> u64 {
        self.last_serial + 1
    }

    /// The serial of the first record that came at `at_ms` or later.
    pub(super) fn since(&self, at_ms: i64) -> u64 {
        let index = self
            .records
            .partition_point(|record| record.arrival_ms < at_ms);
        self.records
            .get(index)
            .map_or_else(|| self.latest(), |record| record.serial)
    }

    /// The serial within `number`, if this shard has given it away (to a record, a boundary or a continuation).
    pub(super) fn serial_of(&self, number: SequenceNumber) -> Option<u64> {
        (self.sequence(number.serial) == number && number.serial <= self.last_serial)
            .then_some(number.serial)
    }

    /// A number above all records so far and below all that come later: what an empty event of a subscription goes on from.
    pub(super) fn mark(&mut self) -> SequenceNumber {
        if self.is_open() {
            self.last_serial += 1;
        }
        self.sequence(self.last_serial)
    }

    /// Records from serial `from` on: at most `max_records`, and at most `max_bytes` unless the first alone is larger.
    pub(super) fn read(&self, from: u64, max_records: usize, max_bytes: usize) -> Slice {
        let first = self.records.partition_point(|record| record.serial < from);
        let mut slice = Slice {
            records: Vec::new(),
            bytes: 0,
            next: from,
            unread_since_ms: None,
        };
        for stored in self.records.range(first..) {
            let size = stored.bytes();
            let full = slice.records.len() >= max_records
                || (!slice.records.is_empty() && slice.bytes + size > max_bytes);
            if full {
                slice.unread_since_ms = Some(stored.arrival_ms);
                break;
            }
            slice.bytes += size;
            slice.next = stored.serial + 1;
            slice.records.push(Record {
                sequence_number: self.sequence(stored.serial),
                arrival_ms: stored.arrival_ms,
                partition_key: Arc::clone(&stored.partition_key),
                data: Arc::clone(&stored.data),
            });
        }
        slice
    }

    pub(super) fn describe(&self) -> ShardDescription {
        ShardDescription {
            shard_id: self.id,
            parent: self.origin.parent,
            adjacent_parent: self.origin.adjacent_parent,
            hash_key_range: self.range,
            starting_sequence_number: self.sequence(0),
            ending_sequence_number: match self.state {
                ShardState::Open => None,
                ShardState::Closed { ending_serial, .. } => Some(self.sequence(ending_serial)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> Shard {
        let origin = Origin {
            parent: None,
            adjacent_parent: None,
        };
        Shard::new(
            ShardId(3),
            origin,
            HashKeyRange { start: 0, end: 9 },
            100,
            5,
            1_000,
        )
    }

    fn filled(arrivals: &[i64]) -> Shard {
        let mut shard = shard();
        for &at in arrivals {
            shard.append("k".into(), vec![b'x'; 9].into(), at);
        }
        shard
    }

    fn arrivals(slice: &Slice) -> Vec<i64> {
        slice.records.iter().map(|r| r.arrival_ms).collect()
    }

    #[test]
    fn reads_stop_at_either_limit_and_go_on_after_it() {
        let shard = filled(&[10, 20, 30, 40]);
        let first = shard.read(0, 2, 1_000);
        assert_eq!(
            (arrivals(&first), first.bytes, first.unread_since_ms),
            (vec![10, 20], 20, Some(30))
        );
        let second = shard.read(first.next, 100, 10);
        assert_eq!(
            (arrivals(&second), second.unread_since_ms),
            (vec![30], Some(40))
        );
        let large = shard.read(second.next, 100, 1);
        assert_eq!(
            (arrivals(&large), large.unread_since_ms),
            (vec![40], None),
            "one record always passes"
        );
        assert!(shard.read(large.next, 100, 100).records.is_empty());
    }

    #[test]
    fn places_by_time() {
        let mut shard = filled(&[10, 20, 20, 30]);
        for (at, expected) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 4), (30, 4), (31, 5)] {
            assert_eq!(shard.since(at), expected, "{at}");
        }
        shard.trim(20);
        assert_eq!(arrivals(&shard.read(0, 10, 100)), [20, 20, 30]);
        assert_eq!(shard.since(0), 2);
    }

    #[test]
    fn only_own_numbers_are_known() {
        let mut shard = filled(&[10]);
        let own = shard.sequence(1);
        assert_eq!(shard.serial_of(own), Some(1));
        assert_eq!(
            shard.serial_of(shard.sequence(0)),
            Some(0),
            "the shard's start"
        );
        assert_eq!(
            shard.serial_of(shard.sequence(2)),
            None,
            "not given away yet"
        );
        assert_eq!(
            shard.serial_of(SequenceNumber {
                shard: ShardId(4),
                ..own
            }),
            None
        );
        assert_eq!(shard.serial_of(SequenceNumber { epoch: 101, ..own }), None);
        assert_eq!(
            shard.serial_of(SequenceNumber {
                incarnation: 6,
                ..own
            }),
            None
        );
        let mark = shard.mark();
        let next = shard.append("k".into(), Vec::new().into(), 11);
        assert!(own < mark && mark < next && shard.serial_of(mark).is_some());
    }

    #[test]
    fn a_closed_shard_ends_above_its_records() {
        assert_eq!(shard().may_close_at(), 1_001);
        let mut shard = filled(&[10]);
        assert_eq!(shard.describe().ending_sequence_number, None);
        assert_eq!(shard.may_close_at(), 11);
        shard.close(50);
        let ending = shard.describe().ending_sequence_number.unwrap();
        assert!(ending > shard.sequence(1) && shard.closed_ms() == Some(50));
        assert_eq!(shard.mark(), ending);
    }
}

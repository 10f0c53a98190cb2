//! What the service says of a stream and its shards, as plain data.

use bytes::Bytes;
use multilang_protocol::Data;

use crate::core::hash_range::HashRange;
use crate::core::ids::ShardId;
use crate::core::sequence::{Digits, SequenceNumber};

/// A shard as ListShards describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// The shard or shards it came from: one after a split, two after a merge, none for a first one.
    pub parents: Vec<ShardId>,
    /// The hash keys it covers.
    pub hash_range: HashRange,
    /// Its first sequence number.
    pub starting_sequence: SequenceNumber,
    /// Whether it takes no more records (it has an ending sequence number).
    pub closed: bool,
}

/// A child as GetRecords and SubscribeToShard name it at the end of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    /// Its id.
    pub id: ShardId,
    /// All its parents: one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// The hash keys it covers.
    pub hash_range: HashRange,
}

/// One record as it comes from the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in the shard.
    pub sequence_number: SequenceNumber,
    /// The producer's partition key.
    pub partition_key: String,
    /// The payload, decoded.
    pub data: Bytes,
    /// Approximate arrival, milliseconds since the epoch.
    pub arrival_millis: i64,
}

impl Record {
    /// The record, borrowed.
    #[must_use]
    pub fn view(&self) -> RecordView<'_> {
        RecordView {
            sequence_number: self.sequence_number.as_digits(),
            partition_key: &self.partition_key,
            data: Data::Raw(&self.data),
            arrival_millis: self.arrival_millis,
        }
    }
}

/// One record where it lies: in a [`Record`], or still in the service's answer, where its payload is
/// base64. Nothing is copied or decoded to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Position in the shard.
    pub sequence_number: Digits<'a>,
    /// The producer's partition key.
    pub partition_key: &'a str,
    /// The payload.
    pub data: Data<'a>,
    /// Approximate arrival, milliseconds since the epoch.
    pub arrival_millis: i64,
}

impl RecordView<'_> {
    /// The record with a copy of everything, its payload decoded.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record {
            sequence_number: self.sequence_number.into(),
            partition_key: self.partition_key.to_owned(),
            data: match self.data {
                Data::Raw(bytes) => Bytes::copy_from_slice(bytes),
                Data::Base64(text) => {
                    let mut bytes = Vec::new();
                    text.decode_into(&mut bytes);
                    bytes.into()
                }
            },
            arrival_millis: self.arrival_millis,
        }
    }
}

/// Which shards to list (the service's ShardFilter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFilter {
    /// All that the service still knows.
    All,
    /// Those open at this moment.
    AtLatest,
    /// Those open at the trim horizon.
    AtTrimHorizon,
    /// Those open at this instant (milliseconds since the epoch).
    AtTimestamp(i64),
}

/// Where a shard iterator starts (the service's ShardIteratorType).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IteratorStart {
    /// Behind the newest record.
    Latest,
    /// At the oldest record.
    TrimHorizon,
    /// At the first record that arrived at or after this instant (milliseconds since the epoch).
    AtTimestamp(i64),
    /// At this record.
    AtSequenceNumber(SequenceNumber),
    /// Behind this record.
    AfterSequenceNumber(SequenceNumber),
}

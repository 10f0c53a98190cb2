//! Writing and reading records.

use std::sync::Arc;

use super::{
    engine::{Kinesis, is_fresh},
    error::{ErrorKind, KinesisError},
    faults::{Operation, spend},
    ids::{SequenceNumber, ShardId, hash_of_partition_key, stream_name},
    options::{MAX_ANSWER_BYTES, MAX_ENTRIES, MAX_PARTITION_KEY, MAX_RECORDS},
    shard::{ChildShard, Record, Shard},
    stream::Stream,
    token::{self, IteratorToken},
};

/// Most bytes of data and partition keys of one `PutRecords`.
const MAX_REQUEST_BYTES: usize = 5 << 20;

/// A record to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutEntry<'a> {
    /// The data; copied once, into the shard.
    pub data: &'a [u8],
    /// 1 to 256 characters.
    pub partition_key: &'a str,
    /// Overrides the hash of the partition key.
    pub explicit_hash_key: Option<u128>,
}

/// Where a written record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The shard that took it.
    pub shard_id: ShardId,
    /// Its place there.
    pub sequence_number: SequenceNumber,
}

/// Where to begin reading a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the oldest record.
    TrimHorizon,
    /// After the newest.
    Latest,
    /// At the record with this number.
    AtSequenceNumber(String),
    /// After the record with this number.
    AfterSequenceNumber(String),
    /// At the first record that came then or later, epoch milliseconds.
    AtTimestamp(i64),
}

/// An answer to `GetRecords`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPage {
    /// The records in their order.
    pub records: Vec<Record>,
    /// Absent at the end of a closed shard.
    pub next_iterator: Option<String>,
    /// How long the first record not yet read has been waiting; 0 only if all are read.
    pub millis_behind_latest: i64,
    /// At the end of a closed shard: the shards that go on from it.
    pub child_shards: Vec<ChildShard>,
}

/// What a read finds, whoever the reader is.
pub(super) struct ShardRead {
    pub(super) records: Vec<Record>,
    pub(super) bytes: usize,
    pub(super) next: u64,
    pub(super) millis_behind_latest: i64,
    pub(super) at_end: bool,
}

impl Kinesis {
    /// `PutRecord`. Errors: ResourceNotFound, Validation, InvalidArgument (size), ProvisionedThroughputExceeded.
    pub fn put_record(
        &mut self,
        stream: &str,
        entry: PutEntry<'_>,
        now_ms: i64,
    ) -> Result<PutReceipt, KinesisError> {
        let now_ms = self.enter(Operation::PutRecord, now_ms)?;
        let enforce_limits = self.options.enforce_limits;
        check_entry(&entry, self.options.max_record_bytes)?;
        let stream = self.usable_stream(stream)?;
        put(stream, &entry, enforce_limits, now_ms)
    }

    /// `PutRecords`: 1 to 500 entries of at most 5 MiB in all, each answered for itself.
    ///
    /// Errors of the call, after which nothing has been written: ResourceNotFound, Validation, InvalidArgument (size).
    /// Errors of an entry: ProvisionedThroughputExceeded.
    pub fn put_records(
        &mut self,
        stream: &str,
        entries: &[PutEntry<'_>],
        now_ms: i64,
    ) -> Result<Vec<Result<PutReceipt, KinesisError>>, KinesisError> {
        let now_ms = self.enter(Operation::PutRecords, now_ms)?;
        let enforce_limits = self.options.enforce_limits;
        let name = self.usable_stream(stream)?.name.clone();
        if entries.is_empty() || entries.len() > MAX_ENTRIES {
            return Err(KinesisError::validation(format!(
                "PutRecords takes 1 to 500 records, not {}.",
                entries.len()
            )));
        }
        let largest = self.options.max_record_bytes;
        entries
            .iter()
            .try_for_each(|entry| check_entry(entry, largest))?;
        let bytes: usize = entries.iter().map(size).sum();
        let most = MAX_REQUEST_BYTES.max(largest);
        if bytes > most {
            return Err(KinesisError::invalid(format!(
                "PutRecords takes at most {most} bytes with partition keys, not {bytes}."
            )));
        }
        let mut throttled = self.faults.throttle_entries;
        let stream = self.stream(&name)?;
        let results = entries.iter().map(|entry| match spend(&mut throttled) {
            true => Err(KinesisError::new(
                ErrorKind::ProvisionedThroughputExceeded,
                "The entry is throttled by a test.",
            )),
            false => put(stream, entry, enforce_limits, now_ms),
        });
        let results = results.collect();
        self.faults.throttle_entries = throttled;
        Ok(results)
    }

    /// `GetShardIterator`; the iterator is good for five minutes.
    ///
    /// Errors: ResourceNotFound; InvalidArgument (a sequence number that this shard never gave, a time in the future).
    pub fn get_shard_iterator(
        &mut self,
        stream: &str,
        shard: ShardId,
        position: &Position,
        now_ms: i64,
    ) -> Result<String, KinesisError> {
        let now_ms = self.enter(Operation::GetShardIterator, now_ms)?;
        let stream = self.usable_stream(stream)?;
        let from = serial_at(stream.shard(shard)?, position, now_ms)?;
        let (stream, incarnation) = (stream.name.clone(), stream.incarnation);
        let number = self.iterator_number();
        let token = IteratorToken {
            stream,
            incarnation,
            shard,
            from,
            issued_ms: now_ms,
            number,
        };
        Ok(token::seal(self.options.seed, &token))
    }

    /// `GetRecords`: at most `limit` records (1 to 10,000, the default) and 10 MiB. `stream`, if given, must be the
    /// iterator's own.
    ///
    /// Costs O(log n) plus the records returned. Errors: ExpiredIterator; InvalidArgument (not an iterator of this
    /// engine, or of a stream deleted since); ResourceNotFound (stream deleted, shard trimmed);
    /// ProvisionedThroughputExceeded; Validation.
    pub fn get_records(
        &mut self,
        iterator: &str,
        limit: Option<usize>,
        stream: Option<&str>,
        now_ms: i64,
    ) -> Result<RecordPage, KinesisError> {
        let now_ms = self.enter(Operation::GetRecords, now_ms)?;
        let limit = super::describe::page_size("Limit", limit, MAX_RECORDS, MAX_RECORDS)?;
        let mut token: IteratorToken =
            token::open(self.options.seed, iterator).ok_or_else(|| {
                KinesisError::invalid(
                    "The ShardIterator is not one that GetShardIterator or GetRecords gave.",
                )
            })?;
        if stream.is_some_and(|stream| stream_name(stream) != Ok(&token.stream)) {
            return Err(KinesisError::invalid(
                "The ShardIterator belongs to another stream than StreamARN.",
            ));
        }
        if !is_fresh(token.issued_ms, now_ms) || token.number < self.first_valid_iterator {
            return Err(KinesisError::new(
                ErrorKind::ExpiredIterator,
                format!(
                    "The ShardIterator of {} is older than 300 seconds: get a new one.",
                    token.shard
                ),
            ));
        }
        let (enforce_limits, with_end) = (
            self.options.enforce_limits,
            self.options.last_records_with_end,
        );
        let mut empty_reads = self.faults.empty_reads;
        let stream = self.same_stream(&token.stream, token.incarnation)?;
        let shard = stream.shard(token.shard)?;
        if enforce_limits {
            let buckets = &mut shard.buckets;
            if !buckets.read_calls.allows(1, now_ms) || !buckets.read_bytes.has_some(now_ms) {
                return Err(KinesisError::new(
                    ErrorKind::ProvisionedThroughputExceeded,
                    format!(
                        "{} has been read too fast: 5 calls and 2 MiB a second.",
                        token.shard
                    ),
                ));
            }
        }
        let starved = !shard.read(token.from, 1, 0).records.is_empty() && spend(&mut empty_reads);
        let read = read(
            shard,
            token.from,
            if starved { 0 } else { limit },
            MAX_ANSWER_BYTES,
            with_end,
            now_ms,
        );
        if enforce_limits {
            shard.buckets.read_calls.take(1);
            shard
                .buckets
                .read_bytes
                .take_read(i64::try_from(read.bytes).unwrap_or(i64::MAX));
        }
        let child_shards = if read.at_end {
            stream.children(token.shard)
        } else {
            Vec::new()
        };
        self.faults.empty_reads = empty_reads;
        token.from = read.next;
        token.issued_ms = now_ms;
        token.number = self.iterator_number();
        Ok(RecordPage {
            records: read.records,
            next_iterator: (!read.at_end).then(|| token::seal(self.options.seed, &token)),
            millis_behind_latest: read.millis_behind_latest,
            child_shards: if self.faults.omit_child_shards {
                Vec::new()
            } else {
                child_shards
            },
        })
    }
}

/// Reads from serial `from` on. `with_end`: see `Options::last_records_with_end`.
pub(super) fn read(
    shard: &Shard,
    from: u64,
    max_records: usize,
    max_bytes: usize,
    with_end: bool,
    now_ms: i64,
) -> ShardRead {
    let slice = shard.read(from, max_records, max_bytes);
    let all_read = slice.unread_since_ms.is_none();
    ShardRead {
        at_end: !shard.is_open() && all_read && (with_end || slice.records.is_empty()),
        millis_behind_latest: slice
            .unread_since_ms
            .map_or(0, |since_ms| now_ms.saturating_sub(since_ms).max(1)),
        records: slice.records,
        bytes: slice.bytes,
        next: slice.next,
    }
}

/// The serial at which reading from `position` begins.
pub(super) fn serial_at(
    shard: &Shard,
    position: &Position,
    now_ms: i64,
) -> Result<u64, KinesisError> {
    let own = |text: &str| {
        SequenceNumber::parse(text).and_then(|number| shard.serial_of(number)).ok_or_else(|| {
            KinesisError::invalid(format!(
                "The sequence number {text} did not come from {}: it belongs to another shard or stream, or to one deleted since.",
                shard.id
            ))
        })
    };
    match position {
        Position::TrimHorizon => Ok(0),
        Position::Latest => Ok(shard.latest()),
        Position::AtSequenceNumber(text) => own(text),
        Position::AfterSequenceNumber(text) => Ok(own(text)? + 1),
        Position::AtTimestamp(at_ms) if *at_ms > now_ms => Err(KinesisError::invalid(format!(
            "The timestamp {at_ms} ms lies in the future: now is {now_ms} ms."
        ))),
        Position::AtTimestamp(at_ms) => Ok(shard.since(*at_ms)),
    }
}

fn size(entry: &PutEntry<'_>) -> usize {
    entry.data.len() + entry.partition_key.len()
}

fn check_entry(entry: &PutEntry<'_>, largest: usize) -> Result<(), KinesisError> {
    // Only a long key needs its characters counted.
    let key = entry.partition_key;
    if key.is_empty() || (key.len() > MAX_PARTITION_KEY && key.chars().count() > MAX_PARTITION_KEY)
    {
        return Err(KinesisError::validation(
            "A PartitionKey must have 1 to 256 characters.",
        ));
    }
    let bytes = size(entry);
    if bytes > largest {
        return Err(KinesisError::invalid(format!(
            "A record may have {largest} bytes of data and partition key, not {bytes}."
        )));
    }
    Ok(())
}

/// Writes a checked entry.
fn put(
    stream: &mut Stream,
    entry: &PutEntry<'_>,
    enforce_limits: bool,
    now_ms: i64,
) -> Result<PutReceipt, KinesisError> {
    let hash_key = entry
        .explicit_hash_key
        .unwrap_or_else(|| hash_of_partition_key(entry.partition_key));
    let shard = stream.shard_for(hash_key)?;
    if enforce_limits && !shard.buckets.take_write(size(entry), now_ms) {
        return Err(KinesisError::new(
            ErrorKind::ProvisionedThroughputExceeded,
            format!(
                "Shard {} is written to too fast: 1000 records and 1 MiB a second.",
                shard.id
            ),
        ));
    }
    let sequence_number = shard.append(
        Arc::from(entry.partition_key),
        Arc::from(entry.data),
        now_ms,
    );
    Ok(PutReceipt {
        shard_id: shard.id,
        sequence_number,
    })
}

//! A server to be checked, and the calls that checks make.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, Shard, ShardFilter, ShardFilterType, ShardIteratorType,
};

use crate::support::Aws;

/// How a check ended; the text says what the server did wrong.
pub type Outcome = Result<(), String>;

/// A call that the service refused.
#[derive(Debug)]
pub struct Refused {
    /// The error's name, empty when there was no answer.
    pub code: String,
    message: String,
}

impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        format!("{}: {}", refused.code, refused.message)
    }
}

/// Where reading begins.
#[derive(Debug, Clone)]
pub enum Begin {
    /// TRIM_HORIZON
    Start,
    /// LATEST
    Latest,
    /// AT_SEQUENCE_NUMBER
    At(String),
    /// AFTER_SEQUENCE_NUMBER
    After(String),
    /// AT_TIMESTAMP, in milliseconds since the epoch
    Time(i64),
}

/// A server to be checked.
pub struct Place {
    aws: Aws,
    streams: AtomicU32,
}

impl Place {
    /// The server behind this endpoint.
    pub fn new(endpoint: &str) -> Self {
        Self {
            aws: Aws::new(endpoint, endpoint),
            streams: AtomicU32::new(0),
        }
    }

    /// The client; [`Self::ask`] runs its calls.
    pub fn client(&self) -> &aws_sdk_kinesis::Client {
        self.aws.kinesis()
    }

    /// The helper that other tests use too.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Runs a call.
    pub fn ask<T, E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
        &self,
        call: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<T, Refused> {
        self.aws.run(call).map_err(|error| Refused {
            code: error.code().unwrap_or_default().to_owned(),
            message: match error.message() {
                Some(message) => message.to_owned(),
                None => format!("{error:?}"),
            },
        })
    }

    /// A new stream of so many shards.
    pub fn stream(&self, shards: i32) -> String {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let name = format!("check-{number}");
        self.aws.create_stream(&name, shards);
        name
    }

    /// The stream's ARN.
    pub fn arn(&self, stream: &str) -> Result<String, Refused> {
        let answer = self.ask(
            self.client()
                .describe_stream_summary()
                .stream_name(stream)
                .send(),
        )?;
        Ok(answer
            .stream_description_summary
            .map(|summary| summary.stream_arn)
            .unwrap_or_default())
    }

    /// All shards by id.
    pub fn shards(&self, stream: &str) -> Result<Vec<Shard>, Refused> {
        let answer = self.ask(self.client().list_shards().stream_name(stream).send())?;
        let mut shards = answer.shards.unwrap_or_default();
        shards.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
        Ok(shards)
    }

    /// Ids of the shards that a filter lets through, sorted.
    pub fn filtered(
        &self,
        stream: &str,
        kind: ShardFilterType,
        after: Option<&str>,
        at: Option<i64>,
    ) -> Result<Vec<String>, Refused> {
        let filter = ShardFilter::builder()
            .r#type(kind)
            .set_shard_id(after.map(str::to_owned))
            .set_timestamp(at.map(DateTime::from_millis))
            .build()
            .expect("complete");
        let answer = self.ask(
            self.client()
                .list_shards()
                .stream_name(stream)
                .shard_filter(filter)
                .send(),
        )?;
        let mut ids: Vec<String> = answer
            .shards
            .unwrap_or_default()
            .into_iter()
            .map(|shard| shard.shard_id)
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Puts one record at a place of the hash space; gives its shard and sequence number.
    pub fn put(&self, stream: &str, hash: u128, data: &[u8]) -> Result<(String, String), Refused> {
        let call = self
            .client()
            .put_record()
            .stream_name(stream)
            .partition_key("k")
            .explicit_hash_key(hash.to_string())
            .data(Blob::new(data));
        let answer = self.ask(call.send())?;
        Ok((answer.shard_id, answer.sequence_number))
    }

    /// Puts records by partition key in one PutRecords; how many of them were refused.
    pub fn put_many(&self, stream: &str, records: &[(String, Vec<u8>)]) -> Result<usize, Refused> {
        let entries = records.iter().map(|(key, data)| {
            PutRecordsRequestEntry::builder()
                .partition_key(key)
                .data(Blob::new(data.as_slice()))
                .build()
                .expect("complete")
        });
        let call = self
            .client()
            .put_records()
            .stream_name(stream)
            .set_records(Some(entries.collect()));
        let answer = self.ask(call.send())?;
        Ok(answer
            .records
            .iter()
            .filter(|record| record.error_code.is_some())
            .count())
    }

    /// An iterator.
    pub fn iterator(&self, stream: &str, shard: &str, from: &Begin) -> Result<String, Refused> {
        let call = self
            .client()
            .get_shard_iterator()
            .stream_name(stream)
            .shard_id(shard);
        let call = match from {
            Begin::Start => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Begin::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            Begin::At(number) => call
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(number),
            Begin::After(number) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number),
            Begin::Time(millis) => call
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*millis)),
        };
        Ok(self.ask(call.send())?.shard_iterator.unwrap_or_default())
    }

    /// One GetRecords.
    pub fn get(&self, iterator: &str, limit: Option<i32>) -> Result<GetRecordsOutput, Refused> {
        self.ask(
            self.client()
                .get_records()
                .shard_iterator(iterator)
                .set_limit(limit)
                .send(),
        )
    }

    /// Reads from a position to the tip, or to the end of a closed shard.
    pub fn read(&self, stream: &str, shard: &str, from: &Begin) -> Result<Read, Refused> {
        let iterator = self.iterator(stream, shard, from)?;
        self.read_on(iterator)
    }

    /// Reads from an iterator on. The tip is two answers in a row that are empty and not behind: some
    /// servers need an empty call or two before they tell the end.
    pub fn read_on(&self, iterator: String) -> Result<Read, Refused> {
        let mut next = Some(iterator);
        let mut read = Read {
            texts: Vec::new(),
            numbers: Vec::new(),
            end: None,
        };
        let (mut quiet, start) = (0, Instant::now());
        while let Some(iterator) = next {
            let answer = self.get(&iterator, None)?;
            for record in &answer.records {
                read.texts
                    .push(String::from_utf8_lossy(record.data.as_ref()).into_owned());
                read.numbers.push(record.sequence_number.clone());
            }
            quiet = if answer.records.is_empty() && answer.millis_behind_latest.unwrap_or(0) == 0 {
                quiet + 1
            } else {
                0
            };
            next = answer.next_shard_iterator.clone();
            if next.is_none() {
                read.end = Some(answer);
            } else if quiet == 3 || start.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        Ok(read)
    }
}

/// What a reading gave.
#[derive(Debug)]
pub struct Read {
    /// The records' data.
    pub texts: Vec<String>,
    /// Their sequence numbers.
    pub numbers: Vec<String>,
    /// The last answer, when it came without a next iterator.
    pub end: Option<GetRecordsOutput>,
}

/// The range of hash keys of a shard.
pub fn range(shard: &Shard) -> Result<(u128, u128), String> {
    let range = shard
        .hash_key_range()
        .ok_or("a shard without a range of hash keys")?;
    let number = |text: &str| {
        text.parse::<u128>()
            .map_err(|_| format!("hash key {text:?}"))
    };
    Ok((
        number(range.starting_hash_key())?,
        number(range.ending_hash_key())?,
    ))
}

/// Whether a shard no longer takes records.
pub fn closed(shard: &Shard) -> bool {
    shard
        .sequence_number_range()
        .is_some_and(|range| range.ending_sequence_number().is_some())
}

/// A sequence number, for comparing.
pub fn sequence(text: &str) -> (usize, &str) {
    let digits = text.trim_start_matches('0');
    (digits.len(), digits)
}

/// Milliseconds since the epoch.
pub fn now_millis() -> i64 {
    crate::support::now_micros() / 1000
}

/// Sees that a call was refused, with this error.
pub fn refused<T>(what: &str, code: &str, answer: Result<T, Refused>) -> Outcome {
    match answer {
        Ok(_) => Err(format!("{what} was accepted")),
        Err(refused) if refused.code == code => Ok(()),
        Err(refused) => Err(format!(
            "{what} was refused by {}, not by {code}",
            String::from(refused)
        )),
    }
}

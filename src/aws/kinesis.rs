//! The stream: [`Stream`] over Kinesis (`retrieval.md` A.2, A.6, F; `leases.md` E.2).
//!
//! Backing off is the callers' business. What is repeated here, once and at once, is a call that met a
//! connection which the other side had closed, or a server that stumbled.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_records::builders::GetRecordsFluentBuilder;
use aws_sdk_kinesis::types::{self, ShardFilterType, ShardIteratorType, StreamStatus};
use aws_smithy_async::rt::sleep::SharedAsyncSleep;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;

use crate::aws::clients::twice_after_hiccup;
use crate::aws::errors::{self, Call};
use crate::aws::service_clock::ServiceClock;
use crate::core::hash_range::HashRange;
use crate::core::ids::ShardId;
use crate::core::sequence::SequenceNumber;
use crate::core::stream::{ChildShard, IteratorStart, Record, Shard, ShardFilter};
use crate::ports::{
    Clock, PageEnd, RecordSink, RecordsPage, ShardIterator, Stream, StreamError, StreamErrorKind,
    StreamSummary,
};

/// The most records that one GetRecords may ask for.
const MOST_RECORDS: u32 = 10_000;

/// How the stream is named in calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamRef {
    /// Configured by name (`streamName`).
    Name(String),
    /// Configured by ARN (`streamArn`); the ARN is what is sent, so that streams of other accounts work.
    Arn {
        /// The ARN.
        arn: String,
        /// The name in it, for messages.
        name: String,
    },
}

impl StreamRef {
    pub(super) fn display_name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Arn { name, .. } => name,
        }
    }

    /// StreamName of a call.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.clone()),
            Self::Arn { .. } => None,
        }
    }

    /// StreamARN of a call.
    pub(super) fn arn(&self) -> Option<String> {
        match self {
            Self::Name(_) => None,
            Self::Arn { arn, .. } => Some(arn.clone()),
        }
    }
}

/// A stream of Kinesis.
#[derive(Debug, Clone)]
pub struct KinesisStream {
    pub(super) client: Client,
    pub(super) stream: StreamRef,
    /// How long a call may take, and what measures it.
    pub(super) limit: Option<(Duration, SharedAsyncSleep)>,
    /// Answers in a row that only the SDK could read.
    pub(super) strange: Arc<AtomicUsize>,
    service_clock: Option<ServiceClock>,
}

impl KinesisStream {
    /// A stream reached through a client, whose settings limit how long a call may take.
    #[must_use]
    pub fn new(client: Client, stream: StreamRef) -> Self {
        let config = client.config();
        let timeout = config
            .timeout_config()
            .and_then(|timeouts| timeouts.operation_timeout());
        Self {
            limit: timeout.zip(config.sleep_impl()),
            strange: Arc::default(),
            service_clock: None,
            client,
            stream,
        }
    }

    /// Learns from its answers how far the service's clock is ahead of this one.
    #[must_use]
    pub fn compare_clocks(self, clock: Arc<dyn Clock>) -> Self {
        let service_clock = ServiceClock::new(clock);
        let config = self
            .client
            .config()
            .to_builder()
            .interceptor(service_clock.clone())
            .build();
        Self {
            client: Client::from_conf(config),
            service_clock: Some(service_clock),
            ..self
        }
    }

    fn on_stream(&self) -> String {
        format!("stream {}", self.stream.display_name())
    }

    pub(super) fn on_shard(&self, shard: &ShardId) -> String {
        format!("shard {shard} of stream {}", self.stream.display_name())
    }

    pub(super) fn records_request(
        &self,
        iterator: &ShardIterator,
        limit: u32,
    ) -> GetRecordsFluentBuilder {
        self.client
            .get_records()
            .set_stream_arn(self.stream.arn())
            .shard_iterator(&iterator.0)
            .limit(i32::try_from(limit.clamp(1, MOST_RECORDS)).unwrap_or(i32::MAX))
    }

    async fn list_page(
        &self,
        filter: ShardFilter,
        token: Option<String>,
    ) -> Result<(Vec<types::Shard>, Option<String>), StreamError> {
        // A token stands for the stream and the filter; the service refuses it beside them.
        let first = token.is_none();
        let output = calling("ListShards", &self.on_stream(), || {
            let request = self.client.list_shards();
            if first {
                request
                    .set_stream_name(self.stream.name())
                    .set_stream_arn(self.stream.arn())
                    .set_shard_filter(to_filter(filter))
            } else {
                request.set_next_token(token.clone())
            }
            .send()
        })
        .await?;
        Ok((
            output.shards.unwrap_or_default(),
            output.next_token.filter(|token| !token.is_empty()),
        ))
    }
}

#[async_trait]
impl Stream for KinesisStream {
    fn name(&self) -> &str {
        self.stream.display_name()
    }

    async fn describe(&self) -> Result<StreamSummary, StreamError> {
        let subject = self.on_stream();
        let output = calling("DescribeStreamSummary", &subject, || {
            self.client
                .describe_stream_summary()
                .set_stream_name(self.stream.name())
                .set_stream_arn(self.stream.arn())
                .send()
        })
        .await?;
        let Some(summary) = output.stream_description_summary else {
            return Err(strange(
                "DescribeStreamSummary",
                &subject,
                "it has no summary",
            ));
        };
        Ok(StreamSummary {
            arn: summary.stream_arn,
            readable: matches!(
                summary.stream_status,
                StreamStatus::Active | StreamStatus::Updating
            ),
            status: summary.stream_status.as_str().to_owned(),
        })
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        let subject = self.on_stream();
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let (page, next) = self.list_page(filter, token.clone()).await?;
            for shard in page {
                shards.push(
                    from_shard(shard).map_err(|what| strange("ListShards", &subject, &what))?,
                );
            }
            match next {
                None => return Ok(shards),
                // Would go round for ever.
                Some(next) if token.as_ref() == Some(&next) => {
                    return Err(strange(
                        "ListShards",
                        &subject,
                        "a page names itself as the next one",
                    ));
                }
                next => token = next,
            }
        }
    }

    async fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError> {
        let (kind, sequence, timestamp) = to_start(start);
        let output = calling("GetShardIterator", &self.on_shard(shard), || {
            self.client
                .get_shard_iterator()
                .set_stream_name(self.stream.name())
                .set_stream_arn(self.stream.arn())
                .shard_id(shard.as_str())
                .shard_iterator_type(kind.clone())
                .set_starting_sequence_number(sequence.clone())
                .set_timestamp(timestamp)
                .send()
        })
        .await?;
        Ok(to_iterator(output.shard_iterator))
    }

    async fn get_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
    ) -> Result<RecordsPage, StreamError> {
        let subject = self.on_shard(shard);
        let request = self.records_request(iterator, limit);
        let output = calling("GetRecords", &subject, || request.clone().send()).await?;
        from_output(output).map_err(|what| strange("GetRecords", &subject, &what))
    }

    async fn read_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
        sink: &mut dyn RecordSink,
    ) -> Result<PageEnd, StreamError> {
        match self.scan_records(shard, iterator, limit, sink).await? {
            Some(end) => Ok(end),
            None => {
                let page = self.get_records(shard, iterator, limit).await?;
                Ok(page.pour_into(sink))
            }
        }
    }

    fn service_clock_ahead(&self) -> i64 {
        self.service_clock
            .as_ref()
            .map_or(0, ServiceClock::ahead_millis)
    }
}

pub(super) fn from_output(output: GetRecordsOutput) -> Result<RecordsPage, String> {
    Ok(RecordsPage {
        next: to_iterator(output.next_shard_iterator),
        millis_behind_latest: output.millis_behind_latest,
        children: output
            .child_shards
            .unwrap_or_default()
            .into_iter()
            .map(from_child)
            .collect::<Result<_, _>>()?,
        records: output
            .records
            .into_iter()
            .map(from_record)
            .collect::<Result<_, _>>()?,
    })
}

/// Calls, and once more after a hiccup.
pub(super) async fn calling<T, E, F, Fut>(
    operation: &'static str,
    subject: &str,
    send: F,
) -> Result<T, StreamError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let call = Call {
        service: "kinesis",
        operation,
        subject,
    };
    twice_after_hiccup(send)
        .await
        .map_err(|cause| errors::stream_error(call, &cause))
}

/// An answer that breaks the service's own rules. It would be the same the next time.
pub(super) fn strange(operation: &str, subject: &str, what: &str) -> StreamError {
    StreamError {
        kind: StreamErrorKind::Fatal,
        message: format!("{operation} on {subject} gave an answer that cannot be used: {what}"),
    }
}

// ---------------------------------------------------------------------------------------- conversions

fn to_filter(filter: ShardFilter) -> Option<types::ShardFilter> {
    let (kind, timestamp) = match filter {
        // All is what the service does without a filter, and emulators know no filters.
        ShardFilter::All => return None,
        ShardFilter::AtLatest => (ShardFilterType::AtLatest, None),
        ShardFilter::AtTrimHorizon => (ShardFilterType::AtTrimHorizon, None),
        ShardFilter::AtTimestamp(millis) => (
            ShardFilterType::AtTimestamp,
            Some(DateTime::from_millis(millis)),
        ),
    };
    // proven: the only required field is set.
    types::ShardFilter::builder()
        .r#type(kind)
        .set_timestamp(timestamp)
        .build()
        .ok()
}

pub(super) fn to_start(
    start: &IteratorStart,
) -> (ShardIteratorType, Option<String>, Option<DateTime>) {
    let digits = |number: &SequenceNumber| Some(number.as_str().to_owned());
    match start {
        IteratorStart::Latest => (ShardIteratorType::Latest, None, None),
        IteratorStart::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
        IteratorStart::AtTimestamp(millis) => (
            ShardIteratorType::AtTimestamp,
            None,
            Some(DateTime::from_millis(*millis)),
        ),
        IteratorStart::AtSequenceNumber(number) => {
            (ShardIteratorType::AtSequenceNumber, digits(number), None)
        }
        IteratorStart::AfterSequenceNumber(number) => {
            (ShardIteratorType::AfterSequenceNumber, digits(number), None)
        }
    }
}

pub(super) fn to_iterator(iterator: Option<String>) -> Option<ShardIterator> {
    iterator
        .filter(|iterator| !iterator.is_empty())
        .map(ShardIterator)
}

fn from_range(shard: &str, range: Option<types::HashKeyRange>) -> Result<HashRange, String> {
    let Some(range) = range else {
        return Err(format!(
            "shard '{shard}' has no hash key range, without which a lease cannot be made"
        ));
    };
    HashRange::parse(&range.starting_hash_key, &range.ending_hash_key).ok_or_else(|| {
        format!(
            "shard '{shard}' has the hash key range '{}' to '{}'",
            range.starting_hash_key, range.ending_hash_key
        )
    })
}

fn from_shard(shard: types::Shard) -> Result<Shard, String> {
    if shard.shard_id.is_empty() {
        return Err("a shard has no id".to_owned());
    }
    let Some(sequence) = shard.sequence_number_range else {
        return Err(format!(
            "shard '{}' has no sequence number range",
            shard.shard_id
        ));
    };
    let starting_sequence =
        SequenceNumber::parse(&sequence.starting_sequence_number).map_err(|_| {
            format!(
                "shard '{}' starts at '{}', which is no sequence number",
                shard.shard_id, sequence.starting_sequence_number
            )
        })?;
    Ok(Shard {
        parents: [shard.parent_shard_id, shard.adjacent_parent_shard_id]
            .into_iter()
            .flatten()
            .filter(|id| !id.is_empty())
            .map(ShardId::new)
            .collect(),
        hash_range: from_range(&shard.shard_id, shard.hash_key_range)?,
        starting_sequence,
        closed: sequence.ending_sequence_number.is_some(),
        id: ShardId::new(shard.shard_id),
    })
}

pub(super) fn from_child(child: types::ChildShard) -> Result<ChildShard, String> {
    if child.shard_id.is_empty() {
        return Err("a child shard has no id".to_owned());
    }
    Ok(ChildShard {
        hash_range: from_range(&child.shard_id, child.hash_key_range)?,
        id: ShardId::new(child.shard_id),
        parents: child.parent_shards.into_iter().map(ShardId::new).collect(),
    })
}

pub(super) fn from_record(record: types::Record) -> Result<Record, String> {
    let sequence_number = SequenceNumber::parse(&record.sequence_number).map_err(|_| {
        format!(
            "a record has the sequence number '{}'",
            record.sequence_number
        )
    })?;
    Ok(Record {
        sequence_number,
        // Absent where the service distributes records by itself and the producer gave none.
        partition_key: record.partition_key.unwrap_or_default(),
        data: Bytes::from(record.data.into_inner()),
        arrival_millis: record
            .approximate_arrival_timestamp
            .map_or(0, |time| millis(&time)),
    })
}

/// Milliseconds of a time, to the nearest. The service sends seconds with a fraction, which as a float
/// mostly lie a few nanoseconds below the millisecond that was meant; cutting off would lose one.
pub(super) fn millis(time: &DateTime) -> i64 {
    let fraction = (i64::from(time.subsec_nanos()) + 500_000) / 1_000_000;
    time.secs().saturating_mul(1000).saturating_add(fraction)
}

#[cfg(test)]
#[path = "kinesis_tests.rs"]
mod tests;

//! A stream of the engine without HTTP and SDK: [`Stream`] and [`EnhancedFanOut`] on any clock.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::core::hash_range::HashRange;
use crate::core::ids::ShardId;
use crate::core::sequence::SequenceNumber;
use crate::core::stream::{ChildShard, IteratorStart, Record, Shard, ShardFilter};
use crate::local::kinesis::{
    self, ConsumerDescription, ConsumerStatus, ErrorKind, KinesisError, Position, ShardQuery,
};
use crate::local::shared::{SharedKinesis, SharedSubscription};
use crate::ports::{
    ConsumerName, EnhancedFanOut, RecordsPage, ShardIterator, Stream, StreamConsumer, StreamError,
    StreamErrorKind, StreamSummary, Subscription, SubscriptionEvent,
};

/// A stream of an engine in this process.
#[derive(Clone)]
pub struct LocalStream {
    kinesis: Arc<SharedKinesis>,
    name: String,
}

impl LocalStream {
    /// The stream of this name, whether it exists or not.
    #[must_use]
    pub fn new(kinesis: Arc<SharedKinesis>, name: &str) -> Self {
        Self {
            kinesis,
            name: name.to_owned(),
        }
    }
}

#[async_trait]
impl Stream for LocalStream {
    fn name(&self) -> &str {
        &self.name
    }

    async fn describe(&self) -> Result<StreamSummary, StreamError> {
        let description = self
            .kinesis
            .look(|engine, now| engine.describe_stream_summary(&self.name, now))
            .map_err(error_of("DescribeStreamSummary"))?;
        let status = description.status.name();
        Ok(StreamSummary {
            arn: description.arn,
            readable: matches!(status, "ACTIVE" | "UPDATING"),
            status: status.to_owned(),
        })
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let query = match &token {
                Some(token) => ShardQuery::Next(token),
                None => ShardQuery::Of {
                    stream: &self.name,
                    exclusive_start: None,
                    filter: filter_of(filter),
                },
            };
            let page = self
                .kinesis
                .look(|engine, now| engine.list_shards(query, None, now))
                .map_err(error_of("ListShards"))?;
            for shard in page.shards {
                shards.push(shard_of(&shard)?);
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    async fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError> {
        let id = id_of("GetShardIterator", shard)?;
        let position = position_of(start);
        self.kinesis
            .look(|engine, now| engine.get_shard_iterator(&self.name, id, &position, now))
            .map(|iterator| Some(ShardIterator(iterator)))
            .map_err(error_of("GetShardIterator"))
    }

    async fn get_records(
        &self,
        _: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
    ) -> Result<RecordsPage, StreamError> {
        let page = self
            .kinesis
            .look(|engine, now| engine.get_records(&iterator.0, Some(limit as usize), None, now))
            .map_err(error_of("GetRecords"))?;
        Ok(RecordsPage {
            records: records_of(page.records)?,
            next: page.next_iterator.map(ShardIterator),
            millis_behind_latest: Some(page.millis_behind_latest),
            children: page.child_shards.iter().map(child_of).collect(),
        })
    }
}

#[async_trait]
impl EnhancedFanOut for LocalStream {
    async fn describe_consumer(
        &self,
        consumer: ConsumerName<'_>,
    ) -> Result<StreamConsumer, StreamError> {
        self.kinesis
            .look(|engine, now| match consumer {
                ConsumerName::Arn(arn) => engine.describe_stream_consumer_arn(arn, now),
                ConsumerName::InStream { stream_arn, name } => {
                    engine.describe_stream_consumer(stream_arn, name, now)
                }
            })
            .map(consumer_of)
            .map_err(error_of("DescribeStreamConsumer"))
    }

    async fn register_consumer(
        &self,
        stream_arn: &str,
        name: &str,
    ) -> Result<StreamConsumer, StreamError> {
        self.kinesis
            .look(|engine, now| engine.register_stream_consumer(stream_arn, name, now))
            .map(consumer_of)
            .map_err(error_of("RegisterStreamConsumer"))
    }

    async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Box<dyn Subscription>, StreamError> {
        let id = id_of("SubscribeToShard", shard)?;
        let position = position_of(start);
        // A change: a subscription that is taken over is told so.
        let subscription = self
            .kinesis
            .change(|engine, now| engine.subscribe(consumer_arn, id, &position, now))
            .map_err(error_of("SubscribeToShard"))?;
        Ok(Box::new(LocalSubscription(
            self.kinesis.subscription(subscription),
        )))
    }
}

struct LocalSubscription(SharedSubscription);

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Result<Option<SubscriptionEvent>, StreamError> {
        let event = self.0.next().await.map_err(error_of("SubscribeToShard"))?;
        event
            .map(|event| {
                Ok(SubscriptionEvent {
                    records: records_of(event.records)?,
                    continuation: event.continuation.map(number_of).transpose()?,
                    millis_behind_latest: Some(event.millis_behind_latest),
                    children: event.child_shards.iter().map(child_of).collect(),
                })
            })
            .transpose()
    }
}

// ---------------------------------------------------------------------------------------- conversions

/// As `aws::errors` sorts the same errors.
fn error_of(operation: &'static str) -> impl Fn(KinesisError) -> StreamError {
    move |error| {
        let kind = match error.kind {
            ErrorKind::LimitExceeded | ErrorKind::ProvisionedThroughputExceeded => {
                StreamErrorKind::SlowDown
            }
            ErrorKind::ResourceNotFound => StreamErrorKind::Gone,
            ErrorKind::ResourceInUse => StreamErrorKind::InUse,
            ErrorKind::ExpiredIterator => StreamErrorKind::Expired,
            ErrorKind::InternalFailure | ErrorKind::ExpiredNextToken => StreamErrorKind::Retry,
            ErrorKind::InvalidArgument => match operation {
                "GetShardIterator" | "SubscribeToShard" => StreamErrorKind::InvalidPosition,
                "GetRecords" => StreamErrorKind::Expired,
                _ => StreamErrorKind::Fatal,
            },
            ErrorKind::Validation | ErrorKind::Serialization | ErrorKind::UnknownOperation => {
                StreamErrorKind::Fatal
            }
        };
        StreamError {
            kind,
            message: format!("{operation} failed: {error}"),
        }
    }
}

fn id_of(operation: &'static str, shard: &ShardId) -> Result<kinesis::ShardId, StreamError> {
    shard.as_str().parse().map_err(error_of(operation))
}

fn number_of(number: kinesis::SequenceNumber) -> Result<SequenceNumber, StreamError> {
    SequenceNumber::parse(&number.to_string()).map_err(|error| StreamError {
        kind: StreamErrorKind::Fatal,
        message: error.to_string(),
    })
}

fn records_of(records: Vec<kinesis::Record>) -> Result<Vec<Record>, StreamError> {
    records
        .into_iter()
        .map(|record| {
            Ok(Record {
                sequence_number: number_of(record.sequence_number)?,
                partition_key: record.partition_key.to_string(),
                data: Bytes::from_owner(record.data),
                arrival_millis: record.arrival_ms,
            })
        })
        .collect()
}

const fn range_of(range: kinesis::HashKeyRange) -> HashRange {
    HashRange {
        start: range.start,
        end: range.end,
    }
}

fn shard_of(shard: &kinesis::ShardDescription) -> Result<Shard, StreamError> {
    Ok(Shard {
        id: ShardId::new(shard.shard_id.to_string()),
        parents: [shard.parent, shard.adjacent_parent]
            .into_iter()
            .flatten()
            .map(|id| ShardId::new(id.to_string()))
            .collect(),
        hash_range: range_of(shard.hash_key_range),
        starting_sequence: number_of(shard.starting_sequence_number)?,
        closed: shard.ending_sequence_number.is_some(),
    })
}

fn child_of(child: &kinesis::ChildShard) -> ChildShard {
    ChildShard {
        id: ShardId::new(child.shard_id.to_string()),
        parents: child
            .parent_shards
            .iter()
            .map(|id| ShardId::new(id.to_string()))
            .collect(),
        hash_range: range_of(child.hash_key_range),
    }
}

fn consumer_of(consumer: ConsumerDescription) -> StreamConsumer {
    StreamConsumer {
        arn: consumer.arn,
        active: consumer.status == ConsumerStatus::Active,
        status: consumer.status.name().to_owned(),
    }
}

const fn filter_of(filter: ShardFilter) -> Option<kinesis::ShardFilter> {
    match filter {
        ShardFilter::All => None,
        ShardFilter::AtLatest => Some(kinesis::ShardFilter::AtLatest),
        ShardFilter::AtTrimHorizon => Some(kinesis::ShardFilter::AtTrimHorizon),
        ShardFilter::AtTimestamp(millis) => Some(kinesis::ShardFilter::AtTimestamp(millis)),
    }
}

fn position_of(start: &IteratorStart) -> Position {
    match start {
        IteratorStart::Latest => Position::Latest,
        IteratorStart::TrimHorizon => Position::TrimHorizon,
        IteratorStart::AtTimestamp(millis) => Position::AtTimestamp(*millis),
        IteratorStart::AtSequenceNumber(number) => {
            Position::AtSequenceNumber(number.as_str().to_owned())
        }
        IteratorStart::AfterSequenceNumber(number) => {
            Position::AfterSequenceNumber(number.as_str().to_owned())
        }
    }
}

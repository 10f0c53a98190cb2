//! The stream, and its enhanced fan-out.

use async_trait::async_trait;

use crate::core::ids::ShardId;
use crate::core::sequence::SequenceNumber;
use crate::core::stream::{ChildShard, IteratorStart, Record, RecordView, Shard, ShardFilter};

/// What to do about a failed call to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamErrorKind {
    /// Throttled: back off.
    SlowDown,
    /// The shard iterator is too old: get another.
    Expired,
    /// The stream or the shard does not exist; to be confirmed before anything is ended.
    Gone,
    /// The network or the service failed: try again.
    Retry,
    /// Somebody else uses it, or it is between two states (ResourceInUse): wait a little.
    InUse,
    /// Credentials or keys do not allow it; a person has to act, slow retries meanwhile.
    Denied,
    /// The position is not one of this shard (a re-created stream, another shard's checkpoint).
    InvalidPosition,
    /// Trying again will not help.
    Fatal,
}

/// A failed call to the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    /// What to do.
    pub kind: StreamErrorKind,
    /// Operation, shard or stream, what the service said.
    pub message: String,
}

/// The stream as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its ARN.
    pub arn: String,
    /// Whether it can be read (ACTIVE or UPDATING).
    pub readable: bool,
    /// The service's word for its state.
    pub status: String,
}

/// An opaque shard iterator; lives five minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator(pub String);

/// The answer to one GetRecords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsPage {
    /// Records in order.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end of the shard.
    pub next: Option<ShardIterator>,
    /// How far behind the tip the page ends, milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// The shards this one became; at its end only.
    pub children: Vec<ChildShard>,
}

impl RecordsPage {
    /// Gives the records to `sink`, in order; what is left is the rest of the answer.
    pub fn pour_into(self, sink: &mut dyn RecordSink) -> PageEnd {
        sink.restart();
        for record in &self.records {
            sink.record(record.view());
        }
        PageEnd {
            next: self.next,
            millis_behind_latest: self.millis_behind_latest,
            children: self.children,
        }
    }
}

/// An answer to GetRecords without its records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageEnd {
    /// As [`RecordsPage::next`].
    pub next: Option<ShardIterator>,
    /// As [`RecordsPage::millis_behind_latest`].
    pub millis_behind_latest: Option<i64>,
    /// As [`RecordsPage::children`].
    pub children: Vec<ChildShard>,
}

/// Takes the records of an answer while it comes in, so that nobody has to hold them all.
pub trait RecordSink: Send {
    /// An answer begins. Whatever was taken before was part of an answer that broke off and is
    /// forgotten.
    fn restart(&mut self);

    /// The answer is so many bytes long, as the service says before the first record: room can be made at once.
    fn expect(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// The next record.
    fn record(&mut self, record: RecordView<'_>);
}

impl RecordSink for Vec<Record> {
    fn restart(&mut self) {
        self.clear();
    }

    fn record(&mut self, record: RecordView<'_>) {
        self.push(record.to_record());
    }
}

/// The stream.
#[async_trait]
pub trait Stream: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Whether it exists and can be read.
    async fn describe(&self) -> Result<StreamSummary, StreamError>;

    /// Its shards, all pages.
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError>;

    /// An iterator into a shard; `None` when the service gives none, as at the end of a shard.
    async fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError>;

    /// One page of at most `limit` records.
    async fn get_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
    ) -> Result<RecordsPage, StreamError>;

    /// [`Stream::get_records`] for the hot path: the same answer, but its records go to `sink` one by
    /// one, without a copy of each being made. What the sink has taken counts only when this succeeds.
    async fn read_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
        sink: &mut dyn RecordSink,
    ) -> Result<PageEnd, StreamError> {
        let page = self.get_records(shard, iterator, limit).await?;
        Ok(page.pour_into(sink))
    }

    /// How far the service's wall clock is ahead of [`Clock::wall_millis`], milliseconds, as far as its
    /// answers have told; never too large. Needed where this host names an instant to the service.
    fn service_clock_ahead(&self) -> i64 {
        0
    }
}

/// A registered consumer of enhanced fan-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConsumer {
    /// Its ARN.
    pub arn: String,
    /// Whether it may subscribe (ACTIVE).
    pub active: bool,
    /// The service's word for its state.
    pub status: String,
}

/// How a consumer of enhanced fan-out is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerName<'a> {
    /// By its own ARN.
    Arn(&'a str),
    /// By its name in the stream with this ARN.
    InStream {
        /// The stream's ARN.
        stream_arn: &'a str,
        /// The consumer's name.
        name: &'a str,
    },
}

/// One event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionEvent {
    /// Records in order; none in a mere sign of life.
    pub records: Vec<Record>,
    /// Behind what number to subscribe again; advances without records, too. `None` at the end of the
    /// shard.
    pub continuation: Option<SequenceNumber>,
    /// How far behind the tip the event ends, milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// The shards this one became; at its end only.
    pub children: Vec<ChildShard>,
}

impl SubscriptionEvent {
    /// Gives the records to `sink`, in order; what is left is the rest of the event.
    pub fn pour_into(self, sink: &mut dyn RecordSink) -> EventEnd {
        sink.restart();
        for record in &self.records {
            sink.record(record.view());
        }
        EventEnd {
            continuation: self.continuation,
            millis_behind_latest: self.millis_behind_latest,
            children: self.children,
        }
    }
}

/// An event without its records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventEnd {
    /// As [`SubscriptionEvent::continuation`].
    pub continuation: Option<SequenceNumber>,
    /// As [`SubscriptionEvent::millis_behind_latest`].
    pub millis_behind_latest: Option<i64>,
    /// As [`SubscriptionEvent::children`].
    pub children: Vec<ChildShard>,
}

/// An open subscription to a shard. Dropping it ends it. What is not asked for is not read: the
/// service's flow control then holds further events back.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; `None` when the service has completed the subscription. May be dropped and
    /// called again without losing anything. After `None` or an error nothing follows.
    async fn next(&mut self) -> Result<Option<SubscriptionEvent>, StreamError>;

    /// [`Subscription::next`] for the hot path: the same event, but its records go to `sink` one by one,
    /// without a copy of each being made. While it waits, and when it is dropped, the sink has nothing.
    async fn next_into(
        &mut self,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<EventEnd>, StreamError> {
        let event = self.next().await?;
        Ok(event.map(|event| event.pour_into(sink)))
    }

    /// It was silent for too long: what carries it should not carry another one.
    fn distrust(&self) {}
}

/// Enhanced fan-out of a stream (`retrieval.md` B).
#[async_trait]
pub trait EnhancedFanOut: Send + Sync {
    /// A consumer ([`StreamErrorKind::Gone`]: it is not there, or the stream is not).
    async fn describe_consumer(
        &self,
        consumer: ConsumerName<'_>,
    ) -> Result<StreamConsumer, StreamError>;

    /// Registers a consumer, which costs money from then on ([`StreamErrorKind::InUse`]: another was
    /// faster).
    async fn register_consumer(
        &self,
        stream_arn: &str,
        name: &str,
    ) -> Result<StreamConsumer, StreamError>;

    /// Subscribes to a shard. A subscription that the consumer has there already ends, if it is five
    /// seconds old; else this one is refused ([`StreamErrorKind::InUse`]). May take for ever when the other side is
    /// gone; the caller limits it.
    async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Box<dyn Subscription>, StreamError>;
}

//! `SubscribeToShard` as an object that its owner polls; how events travel over HTTP is the caller's matter.

use super::{
    bucket::{Bucket, READ_BYTES_PER_S},
    consumers::{ConsumerStatus, LastSubscription},
    engine::Kinesis,
    error::{ErrorKind, KinesisError},
    faults::Operation,
    ids::{SequenceNumber, ShardId},
    options::{HEARTBEAT_MS, MAX_EVENT_BYTES, MAX_RECORDS, RESUBSCRIBE_MS},
    records::{Position, read, serial_at},
    shard::{ChildShard, Record},
};

/// Names a subscription of this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// One event of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionEvent {
    /// The records in their order; none in a mere sign of life.
    pub records: Vec<Record>,
    /// Where to subscribe again, AFTER_SEQUENCE_NUMBER. It advances with every event; absent at the end of a closed shard.
    pub continuation: Option<SequenceNumber>,
    /// How long the first record not yet read has been waiting; 0 only if all are read.
    pub millis_behind_latest: i64,
    /// At the end of a closed shard: the shards that go on from it.
    pub child_shards: Vec<ChildShard>,
}

/// What a subscription has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionPoll {
    /// Nothing now, and nothing before `until_ms` unless somebody writes or changes something.
    Waiting {
        /// Epoch milliseconds; later than the poll.
        until_ms: i64,
    },
    /// An event; there may be another one at once.
    Event(SubscriptionEvent),
    /// The stream of events is complete: five minutes have passed, or the end of the shard has been told.
    Ended,
    /// The stream of events breaks with an error: ResourceInUse when another subscription took over, ResourceNotFound when
    /// stream, consumer or shard are gone, or what [`Kinesis::break_subscriptions`] said.
    Failed(KinesisError),
}

#[derive(Clone, Debug)]
pub(super) struct Subscription {
    consumer_arn: String,
    shard: ShardId,
    from: u64,
    started_ms: i64,
    last_event_ms: i64,
    /// Every consumer has a shard's 2 MiB/s for itself.
    read_bytes: Bucket,
    /// Set when the next poll must report the subscription's death.
    broken: Option<KinesisError>,
}

impl Kinesis {
    /// `SubscribeToShard`. Poll the subscription with [`Self::subscription_poll`].
    ///
    /// One that the consumer has on the shard already is taken over, if it is at least five seconds old.
    /// Errors: ResourceInUse (less than five seconds; consumer not ACTIVE), ResourceNotFound, InvalidArgument (position).
    pub fn subscribe(
        &mut self,
        consumer_arn: &str,
        shard: ShardId,
        position: &Position,
        now_ms: i64,
    ) -> Result<SubscriptionId, KinesisError> {
        let now_ms = self.enter(Operation::SubscribeToShard, now_ms)?;
        let (stream, name) = self.find_consumer(consumer_arn)?;
        let id = SubscriptionId(self.next_subscription);
        let stream = self.usable_stream(&stream)?;
        let from = serial_at(stream.shard(shard)?, position, now_ms)?;
        // proven: find_consumer has just found it.
        let Some(consumer) = stream.consumers.get_mut(&name) else {
            return Err(KinesisError::not_found(format!(
                "There is no consumer {consumer_arn}."
            )));
        };
        if consumer.status(now_ms) == ConsumerStatus::Creating {
            return Err(KinesisError::in_use(format!(
                "Consumer {name} is CREATING: subscribe when it is ACTIVE."
            )));
        }
        let earlier = consumer.subscribed.get(&shard).copied();
        if earlier.is_some_and(|earlier| now_ms - earlier.at_ms < RESUBSCRIBE_MS) {
            return Err(KinesisError::in_use(format!(
                "Consumer {name} subscribed to {shard} less than 5 seconds ago."
            )));
        }
        consumer
            .subscribed
            .insert(shard, LastSubscription { at_ms: now_ms, id });
        if let Some(old) = earlier.and_then(|earlier| self.subscriptions.get_mut(&earlier.id)) {
            let reason = format!("Another subscription of consumer {name} took {shard} over.");
            old.broken.get_or_insert(KinesisError::in_use(reason));
        }
        self.next_subscription += 1;
        self.subscriptions.insert(
            id,
            Subscription {
                consumer_arn: consumer_arn.to_owned(),
                shard,
                from,
                started_ms: now_ms,
                last_event_ms: now_ms,
                read_bytes: Bucket::full(READ_BYTES_PER_S, now_ms),
                broken: None,
            },
        );
        Ok(id)
    }

    /// What the subscription has to say now. After `Ended` or `Failed`, and for an unknown one, it is `Ended` for ever.
    pub fn subscription_poll(&mut self, id: SubscriptionId, now_ms: i64) -> SubscriptionPoll {
        let now_ms = self.tick(now_ms);
        let Some(mut subscription) = self.subscriptions.remove(&id) else {
            return SubscriptionPoll::Ended;
        };
        let poll = match subscription.broken.take() {
            Some(error) => Err(error),
            None => self.next_event(&mut subscription, now_ms),
        };
        let poll = poll.unwrap_or_else(SubscriptionPoll::Failed);
        let lives_on = match &poll {
            SubscriptionPoll::Event(event) => event.continuation.is_some(),
            SubscriptionPoll::Waiting { .. } => true,
            SubscriptionPoll::Ended | SubscriptionPoll::Failed(_) => false,
        };
        if lives_on {
            self.subscriptions.insert(id, subscription);
        }
        poll
    }

    /// The subscriber has gone away; the five seconds before the next one count from its beginning all the same.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        self.subscriptions.remove(&id);
    }

    /// Makes every subscription fail at its next poll, as a broken connection or a fault of the service does.
    pub fn break_subscriptions(&mut self, kind: ErrorKind) {
        for subscription in self.subscriptions.values_mut() {
            subscription.broken.get_or_insert(KinesisError::new(
                kind,
                "The subscription is broken by a test.",
            ));
        }
    }

    /// The consumer is gone, and with it what it subscribed to.
    pub(super) fn end_subscriptions(&mut self, consumer_arn: &str) {
        for subscription in self
            .subscriptions
            .values_mut()
            .filter(|subscription| subscription.consumer_arn == consumer_arn)
        {
            let reason = format!("Consumer {consumer_arn} has been deregistered.");
            subscription
                .broken
                .get_or_insert(KinesisError::not_found(reason));
        }
    }

    fn next_event(
        &mut self,
        subscription: &mut Subscription,
        now_ms: i64,
    ) -> Result<SubscriptionPoll, KinesisError> {
        let end_ms = subscription
            .started_ms
            .saturating_add(self.options.subscription_life_ms.max(1));
        if now_ms >= end_ms {
            return Ok(SubscriptionPoll::Ended);
        }
        let (enforce_limits, with_end) = (
            self.options.enforce_limits,
            self.options.last_records_with_end,
        );
        let omit_child_shards = self.faults.omit_child_shards;
        let (stream, _) = self.find_consumer(&subscription.consumer_arn)?;
        let stream = self.usable_stream(&stream)?;
        let shard = stream.shard(subscription.shard)?;
        if enforce_limits && !subscription.read_bytes.has_some(now_ms) {
            let until_ms = subscription.read_bytes.has_some_at(now_ms).min(end_ms);
            return Ok(SubscriptionPoll::Waiting { until_ms });
        }
        let read = read(
            shard,
            subscription.from,
            MAX_RECORDS,
            MAX_EVENT_BYTES,
            with_end,
            now_ms,
        );
        let heartbeat_ms = subscription.last_event_ms.saturating_add(HEARTBEAT_MS);
        if read.records.is_empty() && !read.at_end && now_ms < heartbeat_ms {
            return Ok(SubscriptionPoll::Waiting {
                until_ms: heartbeat_ms.min(end_ms),
            });
        }
        let continuation = match read.records.last() {
            _ if read.at_end => None,
            Some(last) => Some(last.sequence_number),
            None => Some(shard.mark()),
        };
        subscription.from = continuation.map_or(read.next, |number| number.serial + 1);
        subscription.last_event_ms = now_ms;
        subscription
            .read_bytes
            .take(i64::try_from(read.bytes).unwrap_or(i64::MAX));
        let child_shards = match read.at_end && !omit_child_shards {
            true => stream.children(subscription.shard),
            false => Vec::new(),
        };
        Ok(SubscriptionPoll::Event(SubscriptionEvent {
            records: read.records,
            continuation,
            millis_behind_latest: read.millis_behind_latest,
            child_shards,
        }))
    }
}

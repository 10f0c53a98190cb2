//! The engine itself: its clock, finding streams, making and deleting them.

use std::collections::BTreeMap;

use super::{
    error::KinesisError,
    faults::{Faults, Operation},
    ids::{INCARNATIONS, check_name, stream_name},
    options::{ON_DEMAND_SHARDS, Options, TOKEN_LIFE_MS},
    stream::{Phase, Stream, StreamMode},
    subscribe::{Subscription, SubscriptionId},
};

/// An in-memory Kinesis Data Streams. See the module's description for the rules all operations share.
///
/// Wherever an operation takes `stream`, a name or an ARN may be given; all times are epoch milliseconds.
#[derive(Clone, Debug)]
pub struct Kinesis {
    /// What goes wrong next.
    pub faults: Faults,
    pub(super) options: Options,
    /// The latest time any call has named: the service's clock does not run backwards.
    pub(super) clock_ms: i64,
    pub(super) streams: BTreeMap<String, Stream>,
    next_incarnation: u64,
    next_iterator: u64,
    /// Iterators with a smaller number have been expired by a test.
    pub(super) first_valid_iterator: u64,
    pub(super) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    pub(super) next_subscription: u64,
}

/// Sequence numbers have 14 digits for the time; a clock beyond is held there.
const LATEST_CLOCK_MS: i64 = 99_999_999_999_999 / 2;

impl Kinesis {
    /// An engine without streams.
    pub fn new(options: Options) -> Self {
        Self {
            faults: Faults::default(),
            clock_ms: 0,
            streams: BTreeMap::new(),
            next_incarnation: options.seed % INCARNATIONS,
            next_iterator: 0,
            first_valid_iterator: 0,
            subscriptions: BTreeMap::new(),
            next_subscription: 0,
            options,
        }
    }

    /// The choices made at construction.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Makes every shard iterator given out so far answer ExpiredIterator.
    pub fn expire_iterators(&mut self) {
        self.first_valid_iterator = self.next_iterator;
    }

    /// Makes a stream.
    ///
    /// `shard_count` is meant for provisioned streams, an on-demand one begins with four shards.
    /// Errors: ResourceInUse (the name is taken), LimitExceeded (`Options::shard_limit`), Validation.
    pub fn create_stream(
        &mut self,
        name: &str,
        mode: StreamMode,
        shard_count: usize,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        let now_ms = self.enter(Operation::CreateStream, now_ms)?;
        check_name("stream", name)?;
        let shards = match mode {
            StreamMode::OnDemand => ON_DEMAND_SHARDS,
            StreamMode::Provisioned if shard_count == 0 => {
                return Err(KinesisError::validation(
                    "A provisioned stream needs a ShardCount of 1 or more.",
                ));
            }
            StreamMode::Provisioned => shard_count,
        };
        self.forget_gone(now_ms);
        if self.streams.contains_key(name) {
            return Err(KinesisError::in_use(format!(
                "Stream {name} exists already."
            )));
        }
        if mode == StreamMode::Provisioned {
            self.check_shard_limit(shards)?;
        }
        let phase = match self.options.transition_ms {
            ..=0 => Phase::Active,
            transition_ms => Phase::Creating {
                until_ms: now_ms.saturating_add(transition_ms),
            },
        };
        // proven: less than INCARNATIONS, which fits in 32 bits.
        let incarnation = self.next_incarnation as u32;
        self.next_incarnation = (self.next_incarnation + 1) % INCARNATIONS;
        self.streams.insert(
            name.to_owned(),
            Stream::new(name, mode, shards, incarnation, phase, now_ms),
        );
        Ok(())
    }

    /// Deletes a stream with all it holds; it is DELETING for `Options::transition_ms`.
    ///
    /// Errors: ResourceNotFound; ResourceInUse (registered consumers, unless `enforce_consumer_deletion`).
    pub fn delete_stream(
        &mut self,
        stream: &str,
        enforce_consumer_deletion: bool,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        let now_ms = self.enter(Operation::DeleteStream, now_ms)?;
        let transition_ms = self.options.transition_ms.max(0);
        let stream = self.stream(stream)?;
        if !stream.consumers.is_empty() && !enforce_consumer_deletion {
            return Err(KinesisError::in_use(format!(
                "Stream {} has registered consumers: deregister them or set EnforceConsumerDeletion.",
                stream.name
            )));
        }
        if matches!(stream.phase, Phase::Deleting { .. }) {
            return Err(KinesisError::in_use(format!(
                "Stream {} is being deleted already.",
                stream.name
            )));
        }
        stream.phase = Phase::Deleting {
            until_ms: now_ms.saturating_add(transition_ms),
        };
        for consumer in std::mem::take(&mut stream.consumers).into_values() {
            self.end_subscriptions(&consumer.arn);
        }
        self.forget_gone(now_ms);
        Ok(())
    }

    /// Moves the clock to a call's time and lets the next fault of `operation` happen. Returns the service's time.
    pub(super) fn enter(&mut self, operation: Operation, now_ms: i64) -> Result<i64, KinesisError> {
        let now_ms = self.tick(now_ms);
        self.faults.hit(operation)?;
        Ok(now_ms)
    }

    pub(super) fn tick(&mut self, now_ms: i64) -> i64 {
        self.clock_ms = self.clock_ms.max(now_ms.min(LATEST_CLOCK_MS));
        self.clock_ms
    }

    /// The stream in whatever state, brought up to the present.
    pub(super) fn stream(&mut self, reference: &str) -> Result<&mut Stream, KinesisError> {
        let now_ms = self.clock_ms;
        let name = stream_name(reference)?;
        let found = self.streams.get_mut(name).and_then(|stream| {
            stream.advance(now_ms);
            (stream.phase != Phase::Gone).then_some(stream)
        });
        found.ok_or_else(|| KinesisError::not_found(format!("There is no stream {name}.")))
    }

    /// The stream if records can be written and read: one that is CREATING or DELETING is not found.
    pub(super) fn usable_stream(&mut self, reference: &str) -> Result<&mut Stream, KinesisError> {
        let stream = self.stream(reference)?;
        match stream.is_usable() {
            true => Ok(stream),
            false => {
                let (name, status) = (&stream.name, stream.status().name());
                Err(KinesisError::not_found(format!(
                    "Stream {name} is {status}, so it has no records."
                )))
            }
        }
    }

    /// The stream that a token was made for.
    pub(super) fn same_stream(
        &mut self,
        name: &str,
        incarnation: u32,
    ) -> Result<&mut Stream, KinesisError> {
        let stream = self.usable_stream(name)?;
        if stream.incarnation != incarnation {
            return Err(KinesisError::invalid(format!(
                "The token was made for an earlier stream of the name {name}: the stream has been deleted and made again."
            )));
        }
        Ok(stream)
    }

    /// Drops streams whose deletion has come to its end.
    pub(super) fn forget_gone(&mut self, now_ms: i64) {
        self.streams.retain(|_, stream| {
            stream.advance(now_ms);
            stream.phase != Phase::Gone
        });
    }

    pub(super) fn check_shard_limit(&self, more: usize) -> Result<(), KinesisError> {
        let (open, limit) = (self.open_provisioned_shards(), self.options.shard_limit);
        if open.saturating_add(more) > limit {
            return Err(KinesisError::limit(format!(
                "{more} more shards would exceed the limit of {limit}: {open} are open already."
            )));
        }
        Ok(())
    }

    pub(super) fn open_provisioned_shards(&self) -> usize {
        let provisioned = self
            .streams
            .values()
            .filter(|stream| stream.mode == StreamMode::Provisioned);
        provisioned.map(Stream::open_count).sum()
    }

    pub(super) fn stream_arn(&self, name: &str) -> String {
        format!(
            "arn:aws:kinesis:{}:{}:stream/{name}",
            self.options.region, self.options.account
        )
    }

    pub(super) fn iterator_number(&mut self) -> u64 {
        self.next_iterator += 1;
        self.next_iterator - 1
    }
}

/// Whether a token issued then is still good now.
pub(super) fn is_fresh(issued_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(issued_ms) < TOKEN_LIFE_MS
}

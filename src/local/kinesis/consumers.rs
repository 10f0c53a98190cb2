//! Registered consumers of enhanced fan-out.

use std::collections::BTreeMap;

use super::{
    describe::{page, page_size},
    engine::Kinesis,
    error::KinesisError,
    faults::Operation,
    ids::{ShardId, check_name, stream_name},
    options::{MAX_CONSUMERS, MAX_CREATING_CONSUMERS},
    stream::Stream,
    subscribe::SubscriptionId,
};

/// A consumer's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerStatus {
    /// May not subscribe yet.
    Creating,
    /// May subscribe.
    Active,
}

impl ConsumerStatus {
    /// The status's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
        }
    }
}

/// A consumer as describing it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// Its name, unique within the stream.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its state.
    pub status: ConsumerStatus,
    /// When it was registered, epoch milliseconds.
    pub created_ms: i64,
    /// The stream's ARN.
    pub stream_arn: String,
}

/// Part of a list of consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerPage {
    /// The consumers, by name.
    pub consumers: Vec<ConsumerDescription>,
    /// Set if there are more.
    pub next_token: Option<String>,
}

/// The last successful subscription to a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSubscription {
    pub(super) at_ms: i64,
    pub(super) id: SubscriptionId,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) arn: String,
    created_ms: i64,
    active_from_ms: i64,
    pub(super) subscribed: BTreeMap<ShardId, LastSubscription>,
}

impl Consumer {
    pub(super) fn status(&self, now_ms: i64) -> ConsumerStatus {
        if now_ms < self.active_from_ms {
            ConsumerStatus::Creating
        } else {
            ConsumerStatus::Active
        }
    }
}

impl Kinesis {
    /// `RegisterStreamConsumer`; CREATING for `Options::transition_ms`.
    /// Errors: ResourceNotFound; ResourceInUse (the name is taken); LimitExceeded (20 consumers, 5 in CREATING); Validation.
    pub fn register_stream_consumer(
        &mut self,
        stream: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<ConsumerDescription, KinesisError> {
        let now_ms = self.enter(Operation::RegisterStreamConsumer, now_ms)?;
        check_name("consumer", name)?;
        let stream_arn = self.stream_arn(stream_name(stream)?);
        let active_from_ms = now_ms.saturating_add(self.options.transition_ms.max(0));
        let stream = self.usable_stream(stream)?;
        if stream.consumers.contains_key(name) {
            return Err(KinesisError::in_use(format!(
                "Stream {} has a consumer {name} already.",
                stream.name
            )));
        }
        let creating = |consumer: &&Consumer| consumer.status(now_ms) == ConsumerStatus::Creating;
        if stream.consumers.len() >= MAX_CONSUMERS {
            return Err(KinesisError::limit(format!(
                "Stream {} has {MAX_CONSUMERS} consumers, the most.",
                stream.name
            )));
        }
        if stream.consumers.values().filter(creating).count() >= MAX_CREATING_CONSUMERS {
            return Err(KinesisError::limit(format!(
                "{MAX_CREATING_CONSUMERS} consumers are being created: wait for them."
            )));
        }
        let arn = format!("{stream_arn}/consumer/{name}:{}", now_ms.div_euclid(1000));
        let consumer = Consumer {
            arn,
            created_ms: now_ms,
            active_from_ms,
            subscribed: BTreeMap::new(),
        };
        let description = describe(name, &consumer, stream_arn, now_ms);
        stream.consumers.insert(name.to_owned(), consumer);
        Ok(description)
    }

    /// `DescribeStreamConsumer` of the consumer `name`. Errors: ResourceNotFound (stream or consumer).
    pub fn describe_stream_consumer(
        &mut self,
        stream: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<ConsumerDescription, KinesisError> {
        let now_ms = self.enter(Operation::DescribeStreamConsumer, now_ms)?;
        self.consumer_description(stream, name, now_ms)
    }

    /// `DescribeStreamConsumer` by ARN. Errors: ResourceNotFound; Validation (not the ARN of a consumer).
    pub fn describe_stream_consumer_arn(
        &mut self,
        arn: &str,
        now_ms: i64,
    ) -> Result<ConsumerDescription, KinesisError> {
        let now_ms = self.enter(Operation::DescribeStreamConsumer, now_ms)?;
        let (stream, name) = self.find_consumer(arn)?;
        self.consumer_description(&stream, &name, now_ms)
    }

    /// `ListStreamConsumers`. `max_results` is 1 to 100, the default.
    /// Errors: ResourceNotFound, InvalidArgument (the token), ExpiredNextToken, Validation.
    pub fn list_stream_consumers(
        &mut self,
        stream: &str,
        next_token: Option<&str>,
        max_results: Option<usize>,
        now_ms: i64,
    ) -> Result<ConsumerPage, KinesisError> {
        let now_ms = self.enter(Operation::ListStreamConsumers, now_ms)?;
        let size = page_size("MaxResults", max_results, 100, 100)?;
        let stream_name = self.stream(stream)?.name.clone();
        let after = next_token
            .map(|text| self.open_names_token(&stream_name, text))
            .transpose()?;
        let stream_arn = self.stream_arn(&stream_name);
        let stream = self.stream(&stream_name)?;
        let later = stream
            .consumers
            .iter()
            .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
        let (consumers, has_more) = page(
            later.map(|(name, consumer)| describe(name, consumer, stream_arn.clone(), now_ms)),
            size,
        );
        let last = consumers.last().filter(|_| has_more);
        let next_token = last.map(|last| self.seal_names_token(&stream_name, &last.name));
        Ok(ConsumerPage {
            consumers,
            next_token,
        })
    }

    /// `DeregisterStreamConsumer` of the consumer `name`, at once; its subscriptions end. Errors: ResourceNotFound.
    pub fn deregister_stream_consumer(
        &mut self,
        stream: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        self.enter(Operation::DeregisterStreamConsumer, now_ms)?;
        self.remove_consumer(stream, name)
    }

    /// `DeregisterStreamConsumer` by ARN. Errors: ResourceNotFound; Validation (not the ARN of a consumer).
    pub fn deregister_stream_consumer_arn(
        &mut self,
        arn: &str,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        self.enter(Operation::DeregisterStreamConsumer, now_ms)?;
        let (stream, name) = self.find_consumer(arn)?;
        self.remove_consumer(&stream, &name)
    }

    fn remove_consumer(&mut self, stream: &str, name: &str) -> Result<(), KinesisError> {
        let stream = self.stream(stream)?;
        let removed = stream
            .consumers
            .remove(name)
            .ok_or_else(|| no_consumer(stream, name))?;
        self.end_subscriptions(&removed.arn);
        Ok(())
    }

    fn consumer_description(
        &mut self,
        stream: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<ConsumerDescription, KinesisError> {
        let stream_arn = self.stream_arn(stream_name(stream)?);
        let stream = self.stream(stream)?;
        let consumer = stream
            .consumers
            .get(name)
            .ok_or_else(|| no_consumer(stream, name))?;
        Ok(describe(name, consumer, stream_arn, now_ms))
    }

    /// Stream and name of the consumer with this ARN.
    pub(super) fn find_consumer(&mut self, arn: &str) -> Result<(String, String), KinesisError> {
        let malformed =
            || KinesisError::validation(format!("'{arn}' is not the ARN of a consumer."));
        let (stream_arn, rest) = arn.split_once("/consumer/").ok_or_else(malformed)?;
        let (name, _) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let stream = self.stream(stream_arn)?;
        // A consumer registered again under its old name has another ARN.
        match stream
            .consumers
            .get(name)
            .filter(|consumer| consumer.arn == arn)
        {
            Some(_) => Ok((stream.name.clone(), name.to_owned())),
            None => Err(no_consumer(stream, name)),
        }
    }
}

fn describe(
    name: &str,
    consumer: &Consumer,
    stream_arn: String,
    now_ms: i64,
) -> ConsumerDescription {
    ConsumerDescription {
        name: name.to_owned(),
        arn: consumer.arn.clone(),
        status: consumer.status(now_ms),
        created_ms: consumer.created_ms,
        stream_arn,
    }
}

fn no_consumer(stream: &Stream, name: &str) -> KinesisError {
    KinesisError::not_found(format!("Stream {} has no consumer {name}.", stream.name))
}

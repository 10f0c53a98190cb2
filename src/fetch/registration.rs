//! The consumer as which shards are subscribed to: found, registered, waited for (`retrieval.md` B.1).
//!
//! One for all shards of the process: whoever needs it first looks, the others wait for the answer.
//! A consumer registered here is not deregistered at the end, as with Java: other workers of the
//! application use the same one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::{debug, info};

use crate::core::time::Moment;
use crate::ports::{
    BoxFuture, Clock, ConsumerName, EnhancedFanOut, Entropy, Stream, StreamConsumer, StreamError,
    StreamErrorKind,
};

/// How long a new consumer may take to become ACTIVE. Java gives up after ten looks.
const BECOMES_ACTIVE_WITHIN: Duration = Duration::from_secs(300);
/// How long a failure is the answer to everybody, so that hundreds of shards do not ask one by one.
const FAILED_FOR: Duration = Duration::from_millis(400);

/// Which consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerChoice {
    /// `fanoutConfig.consumerArn`: used as it is; nothing is described or registered.
    Arn(String),
    /// `fanoutConfig.consumerName`, or the application's name: described, and registered if missing.
    Named(String),
}

/// What the configuration says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationSettings {
    /// Which consumer.
    pub consumer: ConsumerChoice,
    /// `streamArn`; without it DescribeStreamSummary tells it.
    pub stream_arn: Option<String>,
    /// `fanoutConfig.maxDescribeStreamSummaryRetries`: tries while throttled.
    pub summary_tries: u32,
    /// `fanoutConfig.maxDescribeStreamConsumerRetries`: tries while throttled.
    pub describe_tries: u32,
    /// `fanoutConfig.registerStreamConsumerRetries`: tries while throttled.
    pub register_tries: u32,
    /// `fanoutConfig.retryBackoffMillis`: pause between tries; up to a tenth of a second is added at
    /// random.
    pub pause: Duration,
}

/// The consumer of one stream.
pub struct Registration {
    fan_out: Arc<dyn EnhancedFanOut>,
    stream: Arc<dyn Stream>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: RegistrationSettings,
    known: Mutex<Known>,
}

enum Known {
    Nothing,
    Consumer(Arc<str>),
    Failed { error: StreamError, until: Moment },
}

/// What a look after a ResourceNotFound told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConsumerState {
    /// It is there, as far as can be seen.
    There,
    /// It is not there any more.
    Gone,
}

impl Registration {
    /// Looks at nothing yet.
    #[must_use]
    pub fn new(
        fan_out: Arc<dyn EnhancedFanOut>,
        stream: Arc<dyn Stream>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: RegistrationSettings,
    ) -> Self {
        Self {
            fan_out,
            stream,
            clock,
            entropy,
            settings,
            known: Mutex::new(Known::Nothing),
        }
    }

    /// Where shards are subscribed to.
    pub(super) fn fan_out(&self) -> &dyn EnhancedFanOut {
        &*self.fan_out
    }

    /// Whether the consumer is ours to register.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.settings.consumer, ConsumerChoice::Named(_))
    }

    /// The consumer's ARN; registers it when it is missing, and waits until it is ACTIVE.
    ///
    /// # Errors
    /// The last failure. Of throttling only after the configured number of tries.
    pub async fn arn(&self) -> Result<Arc<str>, StreamError> {
        let name = match &self.settings.consumer {
            ConsumerChoice::Arn(arn) => return Ok(Arc::from(arn.as_str())),
            ConsumerChoice::Named(name) => name,
        };
        let mut known = self.known.lock().await;
        match &*known {
            Known::Consumer(arn) => return Ok(Arc::clone(arn)),
            Known::Failed { error, until } if self.clock.now() < *until => {
                return Err(error.clone());
            }
            Known::Failed { .. } | Known::Nothing => {}
        }
        match self.find(name).await {
            Ok(consumer) => {
                debug!("the consumer '{name}' is {}", consumer.arn);
                let arn: Arc<str> = Arc::from(consumer.arn);
                *known = Known::Consumer(Arc::clone(&arn));
                Ok(arn)
            }
            Err(error) => {
                *known = Known::Failed {
                    error: error.clone(),
                    until: self.clock.now() + FAILED_FOR,
                };
                Err(error)
            }
        }
    }

    /// A subscription as this consumer met a ResourceNotFound: looks whether it is the consumer that is
    /// gone. If so, [`Self::arn`] registers it anew.
    pub(super) async fn look(&self, arn: &str) -> ConsumerState {
        let mut known = self.known.lock().await;
        if self.is_named() && !matches!(&*known, Known::Consumer(now) if **now == *arn) {
            // Another shard has seen it before.
            return ConsumerState::Gone;
        }
        match self.fan_out.describe_consumer(ConsumerName::Arn(arn)).await {
            Err(error) if error.kind == StreamErrorKind::Gone => {
                *known = Known::Nothing;
                ConsumerState::Gone
            }
            // A consumer on its way out is told as gone when it is.
            Ok(_) => ConsumerState::There,
            Err(error) => {
                debug!("whether the consumer is still there cannot be seen: {error}");
                ConsumerState::There
            }
        }
    }

    async fn find(&self, name: &str) -> Result<StreamConsumer, StreamError> {
        let settings = &self.settings;
        let stream_arn = match &settings.stream_arn {
            Some(arn) => arn.clone(),
            None => {
                let summary = self
                    .patiently(settings.summary_tries, || self.stream.describe())
                    .await?;
                summary.arn
            }
        };
        let give_up = self.clock.now() + BECOMES_ACTIVE_WITHIN;
        let mut registrations = 0;
        loop {
            let consumer = ConsumerName::InStream {
                stream_arn: &stream_arn,
                name,
            };
            let described = self
                .patiently(settings.describe_tries, || {
                    self.fan_out.describe_consumer(consumer)
                })
                .await;
            let status = match described {
                Ok(consumer) if consumer.active => return Ok(consumer),
                Ok(consumer) => consumer.status,
                Err(error) if error.kind == StreamErrorKind::Gone => {
                    registrations += 1;
                    match self.fan_out.register_consumer(&stream_arn, name).await {
                        Ok(consumer) => {
                            info!(
                                "registered the consumer '{name}' for enhanced fan-out ({}); it costs money until it is \
                                 deregistered, which is left to you",
                                consumer.arn
                            );
                            if consumer.active {
                                return Ok(consumer);
                            }
                            consumer.status
                        }
                        // Another worker was faster.
                        Err(error) if error.kind == StreamErrorKind::InUse => "in use".to_owned(),
                        Err(error)
                            if error.kind == StreamErrorKind::SlowDown
                                && registrations < settings.register_tries =>
                        {
                            debug!("{error}; trying again");
                            "not registered".to_owned()
                        }
                        Err(error) if error.kind == StreamErrorKind::SlowDown => {
                            return Err(StreamError {
                                message: format!(
                                    "{error} (a stream has a limited number of registered consumers, 20 if nobody raised \
                                     it; `aws kinesis list-stream-consumers` shows those of {stream_arn})"
                                ),
                                ..error
                            });
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            };
            if self.clock.now() >= give_up {
                return Err(StreamError {
                    kind: StreamErrorKind::Retry,
                    message: format!(
                        "the consumer '{name}' of {stream_arn} is still {status} after {} s",
                        BECOMES_ACTIVE_WITHIN.as_secs()
                    ),
                });
            }
            debug!("the consumer '{name}' is {status}; looking again");
            self.wait().await;
        }
    }

    /// Calls until it is not throttled.
    async fn patiently<'a, T>(
        &self,
        tries: u32,
        call: impl Fn() -> BoxFuture<'a, Result<T, StreamError>>,
    ) -> Result<T, StreamError> {
        let mut tried = 1;
        loop {
            match call().await {
                Err(error) if error.kind == StreamErrorKind::SlowDown && tried < tries => {
                    debug!("{error}; trying again");
                    tried += 1;
                    self.wait().await;
                }
                result => return result,
            }
        }
    }

    async fn wait(&self) {
        let jitter = Duration::from_millis(100).mul_f64(self.entropy.unit());
        // Never without any pause: it would be a storm of calls that are limited to a few a second.
        let pause = self.settings.pause.max(Duration::from_millis(100));
        self.clock
            .sleep_until(self.clock.now() + pause + jitter)
            .await;
    }
}

//! Reading a shard with SubscribeToShard (`retrieval.md` B).
//!
//! One subscription is open at a time. It is read only while there is room; when the child stays too
//! slow, it is let go and made again where the last event ended, instead of waiting for time-outs on the
//! way. When to subscribe again after each kind of end is `core::subscription`'s to say.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::core::stream::ChildShard;
use crate::core::subscription::{SubscriptionEnd, SubscriptionSchedule};
use crate::fetch::budget::Share;
use crate::fetch::encode::Encoded;
use crate::fetch::reader::{ShardReader, ShardState};
use crate::fetch::registration::{ConsumerState, Registration};
use crate::ports::{EventEnd, StreamError, StreamErrorKind, Subscription};

/// How long an open subscription may stay unread. What the service sends meanwhile fills buffers of the
/// connection that no budget counts (2 MB a shard and second at most).
const LET_GO_AFTER: Duration = Duration::from_secs(5);
/// The service gives a sign of life every five seconds; after four missed ones the connection is dead.
const SILENCE: Duration = Duration::from_secs(20);
/// How long making a subscription may take, beyond what the call itself allows.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);

/// A shard that is subscribed to.
pub(super) struct FanOut {
    reader: ShardReader,
    registration: Arc<Registration>,
    /// The consumer of the last attempt, for the look after a ResourceNotFound.
    consumer: Option<Arc<str>>,
    schedule: SubscriptionSchedule,
    /// Bytes of the last event, as a guess for the next.
    guess: usize,
}

/// What a subscription, or an attempt at one, led to.
enum Turn {
    Again,
    End(Vec<ChildShard>),
}

/// What came of waiting for an event.
enum Next {
    Event(EventEnd, Encoded),
    Completed,
    Silent,
    Failed(StreamError),
}

impl FanOut {
    pub(super) fn new(reader: ShardReader, registration: Arc<Registration>) -> Self {
        Self {
            schedule: SubscriptionSchedule::new(reader.position.last_subscribed()),
            reader,
            registration,
            consumer: None,
            guess: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.reader.gives_sign();
            if let Some(not_before) = self.schedule.not_before() {
                self.reader.ports.clock.sleep_until(not_before).await;
            }
            // Subscribing to what there is no room for would be for nothing.
            let share = self.room().await;
            let turn = match self.subscribe().await {
                Ok(subscription) => self.read(subscription, share).await,
                Err(error) => self.on_error(error, false).await,
            };
            if let Turn::End(children) = turn {
                return self.reader.tell_end(children);
            }
            if self.reader.sender.is_closed() {
                return;
            }
        }
    }

    async fn subscribe(&mut self) -> Result<Box<dyn Subscription>, StreamError> {
        let start = self.reader.position.iterator_start();
        let start = start.map_err(|missing| StreamError {
            kind: StreamErrorKind::Fatal,
            message: missing.to_string(),
        })?;
        let arn = self.registration.arn().await?;
        self.consumer = Some(Arc::clone(&arn));
        let (sent, asked_at) = (self.reader.now(), self.reader.service_millis());
        self.schedule.attempting(sent);
        let clock = &self.reader.ports.clock;
        let fan_out = self.registration.fan_out();
        let subscription = tokio::select! {
            biased;
            answer = fan_out.subscribe(&arn, &self.reader.shard, &start) => answer?,
            () = clock.sleep_until(sent + ANSWERED_WITHIN) => {
                return Err(StreamError {
                    kind: StreamErrorKind::Retry,
                    message: format!("SubscribeToShard had no answer within {} s", ANSWERED_WITHIN.as_secs()),
                });
            }
        };
        let (now, jitter) = (self.reader.now(), self.reader.jitter());
        self.schedule.opened(now, jitter);
        self.reader.position.subscribed(now);
        self.reader.position.opened(asked_at);
        debug!(shard = %self.reader.shard, "subscribed at {start:?}");
        Ok(subscription)
    }

    async fn read(&mut self, mut subscription: Box<dyn Subscription>, mut share: Share) -> Turn {
        let mut heard = false;
        loop {
            let (event, records) = match self.next_event(&mut subscription).await {
                Next::Event(event, records) => (event, records),
                Next::Completed => {
                    debug!(shard = %self.reader.shard, "the subscription is complete; subscribing again");
                    return self.ended(SubscriptionEnd::Completed);
                }
                Next::Silent => {
                    subscription.distrust();
                    let seconds = SILENCE.as_secs();
                    self.reader.report(
                        StreamErrorKind::Retry,
                        &format!("the subscription gave no sign of life for {seconds} s"),
                    );
                    return self.ended(SubscriptionEnd::Silent);
                }
                Next::Failed(error) => return self.on_error(error, heard).await,
            };
            heard = true;
            self.schedule.received();
            self.reader.recovered();
            if let Some(turn) = self.on_event(event, records, share).await {
                return turn;
            }
            let patience = self.reader.now() + LET_GO_AFTER;
            tokio::select! {
                biased;
                room = self.room() => share = room,
                () = self.reader.ports.clock.sleep_until(patience) => {
                    debug!(shard = %self.reader.shard, "the child is slower than the stream; the subscription is let go until there is room");
                    return self.ended(SubscriptionEnd::LetGo);
                }
            }
        }
    }

    /// Waits until another event may come.
    async fn room(&self) -> Share {
        self.reader.ahead.room().await;
        self.reader.share(self.guess).await
    }

    /// Waits for an event. A subscription that comes of age is replaced meanwhile; if that fails, it
    /// goes on until the service ends it.
    async fn next_event(&mut self, subscription: &mut Box<dyn Subscription>) -> Next {
        self.reader.gives_sign();
        let mut deadline = self.reader.now() + SILENCE;
        loop {
            let renew_at = self.schedule.renew_at().unwrap_or(deadline);
            if renew_at <= self.reader.now() {
                match self.subscribe().await {
                    Ok(renewed) => *subscription = renewed,
                    Err(error) => {
                        debug!(shard = %self.reader.shard, "the subscription is not renewed yet: {error}");
                        let (now, jitter) = (self.reader.now(), self.reader.jitter());
                        let end = end_of(error.kind, false);
                        self.schedule.renewal_failed(now, end, jitter);
                    }
                }
                deadline = self.reader.now() + SILENCE;
                continue;
            }
            let mut encoder = self.reader.encoder();
            tokio::select! {
                biased;
                event = subscription.next_into(&mut encoder) => return match event {
                    Ok(Some(event)) => {
                        let records = encoder.finish(event.millis_behind_latest);
                        Next::Event(event, records)
                    }
                    Ok(None) => Next::Completed,
                    Err(error) => Next::Failed(error),
                },
                () = self.reader.ports.clock.sleep_until(deadline.min(renew_at)) => {
                    if self.reader.now() >= deadline {
                        return Next::Silent;
                    }
                }
            }
        }
    }

    /// Hands an event over; says how it goes on if the subscription is at its end.
    async fn on_event(
        &mut self,
        event: EventEnd,
        records: Encoded,
        mut share: Share,
    ) -> Option<Turn> {
        share.correct(records.bytes);
        self.guess = records.bytes;
        let reader = &mut self.reader;
        let (first, last) = (records.first.clone(), records.last.clone());
        reader.hand_over(records, event.millis_behind_latest, share);
        let is_empty = last.is_none();
        let up_to = event.continuation.clone().or(last);
        reader.position.received(first.as_ref(), up_to.as_ref());
        match (&event.continuation, event.children.is_empty()) {
            (Some(_), true) => None,
            (None, false) if event.children.iter().all(|c| !c.parents.is_empty()) => {
                Some(Turn::End(event.children))
            }
            // Children and a continuation contradict each other (`retrieval.md` B.4); some emulators
            // send both. There may be more records.
            (Some(_), false) if !is_empty => None,
            _ => Some(self.at_end().await),
        }
    }

    /// An event that says that the shard has ended, and not as the service would say it.
    async fn at_end(&mut self) -> Turn {
        match self.reader.look_at_shard().await {
            Ok(ShardState::Ended(children)) => Turn::End(children),
            Ok(ShardState::Open) => {
                self.reader.report(
                    StreamErrorKind::Retry,
                    "an event says that the shard has ended although it is open; subscribing again",
                );
                self.ended(SubscriptionEnd::Failed)
            }
            Ok(ShardState::StreamGone(why)) => self.on_not_found(&why).await,
            Err(error) => self.on_error(error, true).await,
        }
    }

    /// `heard`: the subscription has given an event before.
    async fn on_error(&mut self, error: StreamError, heard: bool) -> Turn {
        if error.kind == StreamErrorKind::Gone {
            return self.on_not_found(&error.message).await;
        }
        self.reader.report(error.kind, &error.message);
        self.ended(end_of(error.kind, heard))
    }

    /// ResourceNotFound may mean the consumer, the shard or the stream.
    async fn on_not_found(&mut self, message: &str) -> Turn {
        let state = match self.consumer.clone() {
            Some(arn) => self.registration.look(&arn).await,
            None => ConsumerState::There,
        };
        let stream = &self.reader.ports.stream;
        if state == ConsumerState::Gone
            && matches!(stream.describe().await, Ok(summary) if summary.readable)
        {
            return self.on_consumer_gone();
        }
        if let Some(children) = self.reader.after_not_found(message).await {
            return Turn::End(children);
        }
        self.ended(SubscriptionEnd::Failed)
    }

    fn on_consumer_gone(&mut self) -> Turn {
        let arn = self.consumer.take();
        let arn = arn.as_deref().unwrap_or_default();
        if self.registration.is_named() {
            self.reader.report(
                StreamErrorKind::Gone,
                &format!("the consumer {arn} was deregistered; it is registered"),
            );
            return self.ended(SubscriptionEnd::Failed);
        }
        self.reader.report(
            StreamErrorKind::Fatal,
            &format!(
                "the consumer {arn} of fanoutConfig.consumerArn does not exist: register a consumer and name its ARN, or \
                 set fanoutConfig.consumerName to have it registered"
            ),
        );
        self.ended(SubscriptionEnd::Refused)
    }

    fn ended(&mut self, end: SubscriptionEnd) -> Turn {
        let (now, jitter) = (self.reader.now(), self.reader.jitter());
        self.schedule.ended(now, end, jitter);
        Turn::Again
    }
}

/// What a failure means for the next attempt.
const fn end_of(kind: StreamErrorKind, heard: bool) -> SubscriptionEnd {
    match kind {
        StreamErrorKind::SlowDown => SubscriptionEnd::Throttled,
        StreamErrorKind::InUse if heard => SubscriptionEnd::TakenOver,
        StreamErrorKind::InUse => SubscriptionEnd::InUse,
        StreamErrorKind::Retry | StreamErrorKind::Expired | StreamErrorKind::Gone => {
            SubscriptionEnd::Failed
        }
        StreamErrorKind::Denied | StreamErrorKind::InvalidPosition | StreamErrorKind::Fatal => {
            SubscriptionEnd::Refused
        }
    }
}

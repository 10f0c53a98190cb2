//! Enhanced fan-out: [`EnhancedFanOut`] over Kinesis (`retrieval.md` B).
//!
//! Subscriptions have connections of their own, two on each. One HTTP/2 connection would carry them all,
//! but a service allows only so many streams on one, and what a slow child leaves unread on its stream
//! counts against the window of the connection: three such streams would stop all others.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{self, ConsumerStatus, StartingPosition, SubscribeToShardEventStream};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use aws_smithy_types::event_stream::RawMessage;

use crate::aws::errors::{self, Call, Cause, root_cause};
use crate::aws::event_tap::EventTap;
use crate::aws::kinesis::{StreamRef, calling, from_child, from_record, strange, to_start};
use crate::aws::page_scan;
use crate::core::ids::ShardId;
use crate::core::sequence::SequenceNumber;
use crate::core::stream::IteratorStart;
use crate::ports::{
    ConsumerName, EnhancedFanOut, EventEnd, RecordSink, StreamConsumer, StreamError,
    StreamErrorKind, Subscription, SubscriptionEvent,
};

/// Subscriptions on one connection: what two leave unread fits into its window (5 MB, 2 MB each).
const SEATS: usize = 2;

/// Makes a pool of connections that nobody else uses.
pub type NewConnections = dyn Fn() -> SharedHttpClient + Send + Sync;

/// Enhanced fan-out of one stream.
pub struct KinesisFanOut {
    client: Client,
    stream: StreamRef,
    lanes: Arc<Lanes>,
}

impl KinesisFanOut {
    /// Over a client for the calls; subscriptions get their connections from `connections`.
    #[must_use]
    pub fn new(client: Client, stream: StreamRef, connections: Arc<NewConnections>) -> Self {
        Self {
            lanes: Arc::new(Lanes {
                like: client.clone(),
                connections,
                open: Mutex::default(),
            }),
            client,
            stream,
        }
    }
}

#[async_trait]
impl EnhancedFanOut for KinesisFanOut {
    async fn describe_consumer(
        &self,
        consumer: ConsumerName<'_>,
    ) -> Result<StreamConsumer, StreamError> {
        let (by_arn, stream_arn, name) = match consumer {
            ConsumerName::Arn(arn) => (Some(arn), None, None),
            ConsumerName::InStream { stream_arn, name } => (None, Some(stream_arn), Some(name)),
        };
        let subject = format!("consumer {}", by_arn.or(name).unwrap_or_default());
        let output = calling("DescribeStreamConsumer", &subject, || {
            self.client
                .describe_stream_consumer()
                .set_consumer_arn(by_arn.map(str::to_owned))
                .set_stream_arn(stream_arn.map(str::to_owned))
                .set_consumer_name(name.map(str::to_owned))
                .send()
        })
        .await?;
        let Some(description) = output.consumer_description else {
            return Err(strange(
                "DescribeStreamConsumer",
                &subject,
                "it has no description",
            ));
        };
        consumer_of(
            "DescribeStreamConsumer",
            &subject,
            description.consumer_arn,
            &description.consumer_status,
        )
    }

    async fn register_consumer(
        &self,
        stream_arn: &str,
        name: &str,
    ) -> Result<StreamConsumer, StreamError> {
        let subject = format!("consumer {name} of stream {}", self.stream.display_name());
        let call = Call {
            service: "kinesis",
            operation: "RegisterStreamConsumer",
            subject: &subject,
        };
        // Once only: it is no read. A repetition after a lost answer would say "in use", which is
        // understood, but the caller's next look finds the consumer in any case.
        let output = self
            .client
            .register_stream_consumer()
            .stream_arn(stream_arn)
            .consumer_name(name)
            .send()
            .await
            .map_err(|error| errors::stream_error(call, &Cause::of(&error)))?;
        let Some(consumer) = output.consumer else {
            return Err(strange(
                "RegisterStreamConsumer",
                &subject,
                "it has no consumer",
            ));
        };
        consumer_of(
            "RegisterStreamConsumer",
            &subject,
            consumer.consumer_arn,
            &consumer.consumer_status,
        )
    }

    async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Box<dyn Subscription>, StreamError> {
        let subject = format!("shard {shard} of stream {}", self.stream.display_name());
        let (kind, sequence, timestamp) = to_start(start);
        let position = StartingPosition::builder()
            .r#type(kind)
            .set_sequence_number(sequence)
            .set_timestamp(timestamp)
            .build()
            .map_err(|error| strange("SubscribeToShard", &subject, &error.to_string()))?;
        let seat = self.lanes.seat();
        let tap = EventTap::default();
        let output = calling("SubscribeToShard", &subject, || {
            seat.client
                .subscribe_to_shard()
                .consumer_arn(consumer_arn)
                .shard_id(shard.as_str())
                .starting_position(position.clone())
                .customize()
                .interceptor(tap.clone())
                .send()
        })
        .await
        .inspect_err(|error| {
            if error.kind == StreamErrorKind::Retry {
                seat.give_up_lane();
            }
        })?;
        Ok(Box::new(KinesisSubscription {
            output,
            tap,
            subject,
            seat,
        }))
    }
}

fn consumer_of(
    operation: &str,
    subject: &str,
    arn: String,
    status: &ConsumerStatus,
) -> Result<StreamConsumer, StreamError> {
    if arn.is_empty() {
        return Err(strange(operation, subject, "the consumer has no ARN"));
    }
    Ok(StreamConsumer {
        arn,
        active: *status == ConsumerStatus::Active,
        status: status.as_str().to_owned(),
    })
}

// --------------------------------------------------------------------------------------- subscriptions

struct KinesisSubscription {
    output: SubscribeToShardOutput,
    /// Has the JSON of the events that the output tells of.
    tap: EventTap,
    subject: String,
    seat: Seat,
}

impl fmt::Debug for KinesisSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subscription to {}", self.subject)
    }
}

#[async_trait]
impl Subscription for KinesisSubscription {
    async fn next(&mut self) -> Result<Option<SubscriptionEvent>, StreamError> {
        let mut records = Vec::new();
        let end = self.next_into(&mut records).await?;
        Ok(end.map(|end| SubscriptionEvent {
            records,
            continuation: end.continuation,
            millis_behind_latest: end.millis_behind_latest,
            children: end.children,
        }))
    }

    async fn next_into(
        &mut self,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<EventEnd>, StreamError> {
        loop {
            // May be dropped and called again: the SDK keeps what has arrived between its awaits.
            return match self.output.event_stream.recv().await {
                Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => {
                    let end = match self.tap.take() {
                        Some(json) => scanned_event(&json, sink),
                        None => from_event(event).map(|event| event.pour_into(sink)),
                    };
                    end.map(Some)
                        .map_err(|what| strange("SubscribeToShard", &self.subject, &what))
                }
                // An event of a kind that this SDK does not know.
                Ok(Some(_)) => continue,
                Ok(None) => Ok(None),
                Err(error) => {
                    let cause = cause_of(&error);
                    if !matches!(cause, Cause::Answer { .. }) {
                        self.seat.give_up_lane();
                    }
                    let call = Call {
                        service: "kinesis",
                        operation: "SubscribeToShard",
                        subject: &self.subject,
                    };
                    Err(errors::stream_error(call, &cause))
                }
            };
        }
    }

    fn distrust(&self) {
        self.seat.give_up_lane();
    }
}

/// An event whose JSON was taken out of its frame.
pub(super) fn scanned_event(json: &[u8], sink: &mut dyn RecordSink) -> Result<EventEnd, String> {
    // The tap has looked: it is of the plain kind.
    let rest = page_scan::scan(json, sink).map_err(|strange| strange.to_string())?;
    Ok(EventEnd {
        continuation: continuation(rest.continuation.as_deref().unwrap_or_default())?,
        // As the SDK has it when the service does not say.
        millis_behind_latest: Some(rest.end.millis_behind_latest.unwrap_or(0)),
        children: rest.end.children,
    })
}

fn continuation(number: &str) -> Result<Option<SequenceNumber>, String> {
    match number {
        // Absent at the end of the shard; the SDK makes it empty.
        "" => Ok(None),
        number => SequenceNumber::parse(number).map(Some).map_err(|_| {
            format!("an event has the continuation sequence number '{number}', which is none")
        }),
    }
}

pub(super) fn from_event(event: types::SubscribeToShardEvent) -> Result<SubscriptionEvent, String> {
    Ok(SubscriptionEvent {
        continuation: continuation(&event.continuation_sequence_number)?,
        millis_behind_latest: Some(event.millis_behind_latest),
        children: event
            .child_shards
            .unwrap_or_default()
            .into_iter()
            .map(from_child)
            .collect::<Result<_, _>>()?,
        records: event
            .records
            .into_iter()
            .map(from_record)
            .collect::<Result<_, _>>()?,
    })
}

/// Sorts the failure of an open stream of events. An exception in it comes without an HTTP status; one
/// whose name is not known counts as a stumble of the service.
pub(super) fn cause_of(error: &SdkError<SubscribeToShardEventStreamError, RawMessage>) -> Cause {
    match error {
        SdkError::ServiceError(exception) => Cause::Answer {
            status: 500,
            code: exception
                .err()
                .code()
                .map(str::to_owned)
                .or_else(|| exception_type(exception.raw())),
            message: exception.err().message().unwrap_or_default().to_owned(),
        },
        SdkError::ResponseError(_) => Cause::Garbled(root_cause(error)),
        SdkError::TimeoutError(_) => Cause::TimedOut(root_cause(error)),
        _ => Cause::Broken(root_cause(error)),
    }
}

/// What a frame says that it is.
fn exception_type(message: &RawMessage) -> Option<String> {
    let RawMessage::Decoded(message) = message else {
        return None;
    };
    let header = message
        .headers()
        .iter()
        .find(|header| matches!(header.name().as_str(), ":exception-type" | ":error-code"))?;
    Some(header.value().as_string().ok()?.as_str().to_owned())
}

// ----------------------------------------------------------------------------------------- connections

/// Clients, each with connections of its own and a few seats.
struct Lanes {
    like: Client,
    connections: Arc<NewConnections>,
    open: Mutex<Vec<Lane>>,
}

#[derive(Clone)]
struct Lane {
    client: Client,
    /// Each seat that is taken holds one of these, too.
    taken: Arc<()>,
}

/// The right to one subscription on a lane.
struct Seat {
    client: Client,
    lanes: Arc<Lanes>,
    lane: Arc<()>,
}

impl Lanes {
    fn seat(self: &Arc<Self>) -> Seat {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let free = open
            .iter()
            .find(|lane| Arc::strong_count(&lane.taken) <= SEATS)
            .cloned();
        let lane = free.unwrap_or_else(|| {
            let lane = Lane {
                client: self.new_client(),
                taken: Arc::new(()),
            };
            open.push(lane.clone());
            lane
        });
        Seat {
            client: lane.client,
            lane: lane.taken,
            lanes: Arc::clone(self),
        }
    }

    fn new_client(&self) -> Client {
        let config = self
            .like
            .config()
            .to_builder()
            .http_client((self.connections)())
            // It would take the silence of an idle shard for a stall. The fetcher has its own deadline.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Client::from_conf(config)
    }
}

impl Seat {
    /// Something was wrong with the connection: nobody sits down there any more.
    fn give_up_lane(&self) {
        let mut open = self
            .lanes
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.retain(|lane| !Arc::ptr_eq(&lane.taken, &self.lane));
    }
}

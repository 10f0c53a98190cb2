//! A subscription as the body of an HTTP answer: `application/vnd.amazon.eventstream`.
//!
//! First an `initial-response`, then one frame for each event; an exception is the last one. What the
//! reader does not take is not asked of the engine, so its flow control reaches the subscription.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use http_body::{Body, Frame};
// A boxed future that is Sync, as the SDK wants its bodies.
use tokio_util::sync::ReusableBoxFuture;

use crate::local::kinesis::{KinesisError, SubscriptionEvent, error_body, event_body};
use crate::local::shared::SharedSubscription;

/// The content type of the answer.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The content type of the payloads.
const PAYLOAD: &str = "application/x-amz-json-1.1";

type Next = (
    SharedSubscription,
    Result<Option<SubscriptionEvent>, KinesisError>,
);

/// The frames of a subscription.
pub struct EventStreamBody {
    state: State,
}

enum State {
    /// The initial response is to be told.
    Begin(SharedSubscription),
    /// Waiting for the next event.
    Waiting(ReusableBoxFuture<'static, Next>),
    Done,
}

impl EventStreamBody {
    /// Of a subscription that was just made.
    #[must_use]
    pub fn new(subscription: SharedSubscription) -> Self {
        Self {
            state: State::Begin(subscription),
        }
    }
}

fn wait(mut subscription: SharedSubscription) -> State {
    State::Waiting(ReusableBoxFuture::new(async move {
        let next = subscription.next().await;
        (subscription, next)
    }))
}

impl Body for EventStreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let bytes = match std::mem::replace(&mut this.state, State::Done) {
            State::Begin(subscription) => {
                this.state = wait(subscription);
                event("initial-response", b"{}".to_vec())
            }
            State::Waiting(mut waiting) => {
                let Poll::Ready((subscription, next)) = waiting.poll(context) else {
                    this.state = State::Waiting(waiting);
                    return Poll::Pending;
                };
                match next {
                    Ok(Some(happened)) => {
                        this.state = wait(subscription);
                        event("SubscribeToShardEvent", event_body(&happened))
                    }
                    Ok(None) => None,
                    Err(error) => exception(&error),
                }
            }
            State::Done => None,
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn event(kind: &'static str, payload: Vec<u8>) -> Option<Bytes> {
    frame(
        &[
            (":message-type", "event"),
            (":event-type", kind),
            (":content-type", PAYLOAD),
        ],
        payload,
    )
}

fn exception(error: &KinesisError) -> Option<Bytes> {
    frame(
        &[
            (":message-type", "exception"),
            (":exception-type", error.kind.name()),
            (":content-type", PAYLOAD),
        ],
        error_body(error),
    )
}

/// `None` for what does not fit into a frame (16 MiB): the stream then ends before it, and whoever
/// subscribes again is told the same.
fn frame(headers: &[(&'static str, &'static str)], payload: Vec<u8>) -> Option<Bytes> {
    let mut message = Message::new(payload);
    for (name, value) in headers {
        message = message.add_header(Header::new(*name, HeaderValue::String((*value).into())));
    }
    let mut bytes = Vec::new();
    match write_message_to(&message, &mut bytes) {
        Ok(()) => Some(bytes.into()),
        Err(error) => {
            tracing::warn!("an event of a subscription cannot be told: {error}");
            None
        }
    }
}

//! The events of a subscription, past the SDK's deserialiser (`retrieval.md` G).
//!
//! Stands between the body of SubscribeToShard's answer and the SDK and takes the JSON out of the
//! frames: the SDK gets the same frames with an empty event in each, and the JSON waits here until the
//! SDK has told of its event. Everything else is passed on as it is: exceptions, kinds of frames that
//! are not known, and events that [`PageScanner`](super::page_scan::PageScanner) would not read in
//! exactly one way, which the SDK reads then.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder, write_message_to};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};

use crate::aws::page_scan::is_plain;

/// The kind of frame that carries records.
const EVENT: &str = "SubscribeToShardEvent";

/// What was taken out of one subscription's frames.
#[derive(Debug, Clone, Default)]
pub(super) struct EventTap(Arc<Mutex<VecDeque<Option<Bytes>>>>);

impl EventTap {
    /// The JSON of the oldest event that the SDK has told of; `None` when the SDK has read it itself.
    pub(super) fn take(&self) -> Option<Bytes> {
        self.events().pop_front().flatten()
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Option<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame as the SDK gets it.
    fn pass(&self, message: Message) -> Message {
        if !is_event(&message) {
            return message;
        }
        let json = message.payload().clone();
        if !is_plain(&json) {
            self.events().push_back(None);
            return message;
        }
        self.events().push_back(Some(json));
        let empty = Message::new(Bytes::from_static(b"{}"));
        let headers = message.headers().iter().cloned();
        headers.fold(empty, Message::add_header)
    }
}

fn is_event(message: &Message) -> bool {
    let header = |name: &str| {
        let mut headers = message.headers().iter();
        let found = headers.find(|header| header.name().as_str() == name)?;
        found.value().as_string().ok()
    };
    header(":message-type").is_some_and(|kind| kind.as_str() == "event")
        && header(":event-type").is_some_and(|kind| kind.as_str() == EVENT)
}

#[dyn_dispatch_hint]
impl Intercept for EventTap {
    fn name(&self) -> &'static str {
        "EventTap"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A call that is repeated begins anew.
        self.events().clear();
        let response = context.response_mut();
        if response.status().is_success() {
            let body = mem::replace(response.body_mut(), SdkBody::taken());
            let tapped = Tapped {
                body,
                tap: self.clone(),
                decoder: MessageFrameDecoder::new(),
                arrived: BytesMut::new(),
            };
            *response.body_mut() = SdkBody::from_body_1_x(tapped);
        }
        Ok(())
    }
}

/// The body as the SDK sees it.
struct Tapped {
    body: SdkBody,
    tap: EventTap,
    decoder: MessageFrameDecoder,
    /// Bytes that are no whole frame yet.
    arrived: BytesMut,
}

impl Body for Tapped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            match this.decoder.decode_frame(&mut this.arrived) {
                Ok(DecodedFrame::Complete(message)) => {
                    let mut frame = Vec::new();
                    let written = write_message_to(&this.tap.pass(message), &mut frame);
                    let frame = written.map(|()| Frame::data(frame.into()));
                    return Poll::Ready(Some(frame.map_err(BoxError::from)));
                }
                Ok(DecodedFrame::Incomplete) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(piece)) => {
                    if let Ok(piece) = piece.into_data() {
                        this.arrived.extend_from_slice(&piece);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if this.arrived.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err("a frame has no end".into()))),
            }
        }
    }
}

#[cfg(test)]
#[path = "event_tap_tests.rs"]
mod tests;

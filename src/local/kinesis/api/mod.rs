//! The operations over AWS JSON 1.1: `X-Amz-Target: Kinesis_20131202.<operation>` and a JSON body.

mod answers;
mod calls;
mod requests;
#[cfg(test)]
mod tests;

use super::{
    engine::Kinesis,
    error::{ErrorKind, KinesisError},
    faults::Operation,
    subscribe::{SubscriptionEvent, SubscriptionId},
};

/// What comes before the operation's name in the `X-Amz-Target` header.
pub const TARGET_PREFIX: &str = "Kinesis_20131202.";

/// An answer without its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status: 200, 400 or 500.
    pub status: u16,
    /// JSON of `application/x-amz-json-1.1`; empty for operations that answer nothing.
    pub body: Vec<u8>,
    /// The error's name, for the `x-amzn-ErrorType` header.
    pub error_type: Option<&'static str>,
}

/// Performs the operation that the `X-Amz-Target` header names. Never panics, whatever target and body are.
///
/// `SubscribeToShard` is refused: its answer is a stream of events, see [`subscribe`].
pub fn handle(kinesis: &mut Kinesis, target: &str, body: &[u8], now_ms: i64) -> Response {
    let answer = match target
        .strip_prefix(TARGET_PREFIX)
        .and_then(Operation::parse)
    {
        Some(operation) => calls::call(kinesis, operation, body, now_ms),
        None => Err(KinesisError::new(
            ErrorKind::UnknownOperation,
            format!("There is no operation '{target}' in this local Kinesis."),
        )),
    };
    match answer {
        Ok(body) => Response {
            status: 200,
            body,
            error_type: None,
        },
        Err(error) => refusal(&error),
    }
}

/// Performs `SubscribeToShard`; what the subscription has to say is asked of the engine.
///
/// # Errors
/// The answer that refuses it.
pub fn subscribe(
    kinesis: &mut Kinesis,
    body: &[u8],
    now_ms: i64,
) -> Result<SubscriptionId, Response> {
    calls::subscribe(kinesis, body, now_ms).map_err(|error| refusal(&error))
}

/// An event as JSON, the payload of its frame.
#[must_use]
pub fn event_body(event: &SubscriptionEvent) -> Vec<u8> {
    answers::event(event)
}

/// An error as JSON, the payload of an exception's frame.
#[must_use]
pub fn error_body(error: &KinesisError) -> Vec<u8> {
    answers::error(error)
}

fn refusal(error: &KinesisError) -> Response {
    Response {
        status: error.kind.status(),
        body: answers::error(error),
        error_type: Some(error.kind.name()),
    }
}

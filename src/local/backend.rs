//! Both services behind one door: a target and a body in, a status and a body out.

use std::sync::{Arc, Mutex, PoisonError};

use crate::local::dynamodb::{self, DynamoDb, OpenError};
use crate::local::kinesis::{self, Kinesis, Options};
use crate::ports::Clock;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type, the one of the request's protocol.
    pub content_type: &'static str,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer in DynamoDB's version of the protocol.
    #[must_use]
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/x-amz-json-1.0",
            body,
        }
    }

    /// An error in the shape of AWS JSON.
    #[must_use]
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = serde_json::json!({ "__type": kind, "message": message });
        Self::json(status, body.to_string().into_bytes())
    }
}

/// An embedded Kinesis and DynamoDB.
pub struct LocalAws {
    kinesis: Mutex<Kinesis>,
    dynamodb: DynamoDb,
    clock: Arc<dyn Clock>,
}

impl LocalAws {
    /// Empty services, of which Kinesis tells the time by `clock`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self {
            kinesis: Mutex::new(Kinesis::new(options)),
            dynamodb: DynamoDb::open()?,
            clock,
        })
    }

    /// Does something with the Kinesis, at this moment (milliseconds since the epoch).
    pub fn with_kinesis<T>(&self, act: impl FnOnce(&mut Kinesis, i64) -> T) -> T {
        let now = self.clock.wall_millis();
        act(
            &mut self.kinesis.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }

    /// Carries out one call; `target` is the header `X-Amz-Target`.
    #[must_use]
    pub fn handle(&self, target: &str, body: &[u8]) -> Answer {
        if let Some(operation) = target.strip_prefix(dynamodb::TARGET_PREFIX) {
            return self.dynamodb.handle(operation, body);
        }
        if target.starts_with(kinesis::TARGET_PREFIX) {
            let response =
                self.with_kinesis(|kinesis, now| kinesis::handle(kinesis, target, body, now));
            return Answer {
                status: response.status,
                content_type: "application/x-amz-json-1.1",
                body: response.body,
            };
        }
        Answer::error(
            400,
            "UnknownOperationException",
            &format!("only Kinesis and DynamoDB are embedded, not '{target}'"),
        )
    }
}

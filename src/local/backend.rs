//! Both services behind one door: a target and a body in, a status and a body out.

use std::sync::Arc;

use crate::local::dynamodb::{self, DynamoDb, OpenError};
use crate::local::kinesis::{self, Kinesis, Options, Response};
use crate::local::shared::{SharedKinesis, SharedSubscription};
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

    fn of_kinesis(response: Response) -> Self {
        Self {
            status: response.status,
            content_type: "application/x-amz-json-1.1",
            body: response.body,
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
    kinesis: Arc<SharedKinesis>,
    dynamodb: DynamoDb,
}

impl LocalAws {
    /// Empty services, of which Kinesis tells the time by `clock`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self {
            kinesis: Arc::new(SharedKinesis::new(Kinesis::new(options), clock)),
            dynamodb: DynamoDb::open()?,
        })
    }

    /// The Kinesis.
    #[must_use]
    pub fn kinesis(&self) -> &Arc<SharedKinesis> {
        &self.kinesis
    }

    /// Does something with the Kinesis, at this moment (milliseconds since the epoch).
    pub fn with_kinesis<T>(&self, act: impl FnOnce(&mut Kinesis, i64) -> T) -> T {
        self.kinesis.change(act)
    }

    /// Whether this is the call that is answered by events: [`Self::subscribe`].
    #[must_use]
    pub fn is_subscription(target: &str) -> bool {
        target.strip_prefix(kinesis::TARGET_PREFIX) == Some("SubscribeToShard")
    }

    /// Carries out SubscribeToShard.
    ///
    /// # Errors
    /// The answer that refuses it.
    pub fn subscribe(&self, body: &[u8]) -> Result<SharedSubscription, Answer> {
        self.kinesis
            .change(|kinesis, now| kinesis::subscribe(kinesis, body, now))
            .map(|id| self.kinesis.subscription(id))
            .map_err(Answer::of_kinesis)
    }

    /// Carries out one call but SubscribeToShard; `target` is the header `X-Amz-Target`.
    #[must_use]
    pub fn handle(&self, target: &str, body: &[u8]) -> Answer {
        if let Some(operation) = target.strip_prefix(dynamodb::TARGET_PREFIX) {
            return self.dynamodb.handle(operation, body);
        }
        if target.starts_with(kinesis::TARGET_PREFIX) {
            let call = |kinesis: &mut Kinesis, now| kinesis::handle(kinesis, target, body, now);
            return Answer::of_kinesis(if only_reads(target) {
                self.kinesis.look(call)
            } else {
                self.kinesis.change(call)
            });
        }
        Answer::error(
            400,
            "UnknownOperationException",
            &format!("only Kinesis and DynamoDB are embedded, not '{target}'"),
        )
    }
}

/// Calls after which no subscription has anything new to say.
fn only_reads(target: &str) -> bool {
    let operation = target
        .strip_prefix(kinesis::TARGET_PREFIX)
        .unwrap_or_default();
    ["Get", "List", "Describe"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

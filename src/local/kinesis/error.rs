//! The errors of the service, with the names and HTTP status codes AWS gives them.

use std::fmt;

/// Which error the service reports; [`ErrorKind::name`] is its name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// An argument is well-formed but wrong in itself or for the state of the stream.
    InvalidArgument,
    /// A member is missing, too long, too short or out of range.
    Validation,
    /// The body is not the JSON that the operation takes.
    Serialization,
    /// No such stream, shard or consumer.
    ResourceNotFound,
    /// The stream or consumer is in a state, or in use in a way, that forbids the call.
    ResourceInUse,
    /// A limit on the number of resources or of control-plane calls.
    LimitExceeded,
    /// A shard's read or write throughput is used up.
    ProvisionedThroughputExceeded,
    /// A shard iterator older than five minutes.
    ExpiredIterator,
    /// A page token older than five minutes.
    ExpiredNextToken,
    /// The service failed (HTTP 500).
    InternalFailure,
    /// The operation does not exist here.
    UnknownOperation,
}

impl ErrorKind {
    /// The error's name as the `__type` of the answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgumentException",
            Self::Validation => "ValidationException",
            Self::Serialization => "SerializationException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
            Self::InternalFailure => "InternalFailureException",
            Self::UnknownOperation => "UnknownOperationException",
        }
    }

    /// The HTTP status code that goes with the error.
    pub fn status(self) -> u16 {
        match self {
            Self::InternalFailure => 500,
            _ => 400,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refused or failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct KinesisError {
    /// Which error.
    pub kind: ErrorKind,
    /// One sentence for the reader.
    pub message: String,
}

impl KinesisError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Validation, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceNotFound, message)
    }

    pub(super) fn in_use(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceInUse, message)
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }
}

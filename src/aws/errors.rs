//! What went wrong in a call → what to do about it, and a sentence for whoever reads it.
//!
//! A failure of the SDK first becomes a [`Cause`], which is plain data; everything after that is pure
//! (`retrieval.md` F, `leases.md` B.1). The three questions a caller has:
//! what kind is it ([`stream_error`], [`store_error`]), may the service have carried the request out
//! anyway ([`Cause::may_have_happened`]), and is it worth repeating at once ([`Cause::is_hiccup`]).

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::credentials::ChainFailure;
use crate::ports::{StoreError, StreamError, StreamErrorKind};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The service, or something that answers in its place, said no.
    Answer {
        /// HTTP status.
        status: u16,
        /// The service's error code, if the answer has one.
        code: Option<String>,
        /// Its own words.
        message: String,
    },
    /// No connection came about, so the request certainly never left.
    NotSent(String),
    /// The connection broke; the request may have arrived.
    Broken(String),
    /// No answer in time; the request may have arrived.
    TimedOut(String),
    /// An answer came and could not be understood.
    Garbled(String),
    /// There were no credentials to sign with; nothing was sent.
    Credentials {
        /// What each provider said.
        message: String,
        /// Whether that was the network's fault.
        transient: bool,
    },
    /// The request could not even be built; nothing was sent.
    NotBuilt(String),
}

/// Error codes and statuses, sorted by what they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Throttled,
    Missing,
    Expired,
    BadArgument,
    Denied,
    Transient,
    Fatal,
}

/// One call, for its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The service's name in IAM policies: `kinesis` or `dynamodb`.
    pub service: &'static str,
    /// The operation, e.g. `GetRecords`.
    pub operation: &'static str,
    /// What it was about, e.g. `shard shardId-0 of stream orders`.
    pub subject: &'a str,
}

impl Cause {
    /// Sorts a failure of the SDK.
    #[must_use]
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => Self::Answer {
                status: answer.raw().status().as_u16(),
                code: answer.err().code().map(str::to_owned),
                message: match answer.err().message() {
                    Some(message) => message.to_owned(),
                    None if answer.err().code().is_some() => String::new(),
                    None => shown_body(answer.raw()),
                },
            },
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                if (200..300).contains(&status) {
                    Self::Garbled(root_cause(error))
                } else {
                    Self::Answer {
                        status,
                        code: None,
                        message: root_cause(error),
                    }
                }
            }
            SdkError::TimeoutError(_) => Self::TimedOut(root_cause(error)),
            SdkError::DispatchFailure(failure) => {
                if let Some(cause) = credentials_cause(error) {
                    return cause;
                }
                let message = root_cause(error);
                if never_connected(error) {
                    Self::NotSent(message)
                } else if failure.is_timeout() {
                    Self::TimedOut(message)
                } else {
                    Self::Broken(message)
                }
            }
            SdkError::ConstructionFailure(_) => {
                credentials_cause(error).unwrap_or_else(|| Self::NotBuilt(root_cause(error)))
            }
            _ => Self::Broken(root_cause(error)),
        }
    }

    /// Whether the service may have carried the request out although this is all that is known.
    /// In doubt it may: who asks has to look (I.7).
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            // A refusal by code or by a status of the client's making is a refusal. 408 is none: it
            // says that somebody on the way lost patience.
            Self::Answer { status, code, .. } => match class_of(code.as_deref(), *status) {
                Class::Throttled => false,
                _ => *status >= 500 || *status == 408 || *status < 400,
            },
            Self::Broken(_) | Self::TimedOut(_) | Self::Garbled(_) => true,
            Self::NotSent(_) | Self::Credentials { .. } | Self::NotBuilt(_) => false,
        }
    }

    /// Whether a read should be repeated once at once: a connection that the other side had closed, a
    /// server that stumbled, or a clock whose error the SDK has just learnt from the answer.
    #[must_use]
    pub fn is_hiccup(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Garbled(_) => true,
            Self::Answer { status, code, .. } => {
                CLOCK_CODES.contains(&code.as_deref().unwrap_or_default())
                    || (*status >= 500 && class_of(code.as_deref(), *status) == Class::Transient)
            }
            _ => false,
        }
    }

    /// The service's error code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Answer { status, code, .. } => class_of(code.as_deref(), *status),
            Self::NotSent(_) | Self::Broken(_) | Self::TimedOut(_) | Self::Garbled(_) => {
                Class::Transient
            }
            Self::Credentials {
                transient: true, ..
            } => Class::Transient,
            Self::Credentials { .. } => Class::Denied,
            Self::NotBuilt(_) => Class::Fatal,
        }
    }

    /// The cause in words, with what to check where a person has to act.
    fn words(&self, call: Call<'_>) -> String {
        match self {
            Self::Answer {
                status,
                code,
                message,
            } => {
                let code = code.as_deref().unwrap_or_default();
                let mut words = match (code, message.as_str()) {
                    ("", "") => format!("the answer was HTTP status {status}"),
                    ("", message) => format!("the answer was HTTP status {status}: {message}"),
                    (code, "") => code.to_owned(),
                    (code, message) => format!("{code}: {message}"),
                };
                if let Some(hint) = hint(call, code, *status) {
                    words.push_str(&format!("; {hint}"));
                }
                words
            }
            Self::NotSent(message) => format!("no connection: {message}{}", tls_hint(message)),
            Self::Broken(message) => {
                format!("the connection broke: {message}{}", tls_hint(message))
            }
            Self::TimedOut(message) => format!("no answer in time: {message}"),
            Self::Garbled(message) => format!("the answer could not be read: {message}"),
            Self::Credentials { message, .. } => {
                format!("there are no credentials to sign with: {message}")
            }
            Self::NotBuilt(message) => format!("the request could not be built: {message}"),
        }
    }

    /// The sentence: operation, subject, cause.
    #[must_use]
    pub fn sentence(&self, call: Call<'_>) -> String {
        format!(
            "{} on {} failed: {}",
            call.operation,
            call.subject,
            self.words(call)
        )
    }
}

/// A failed call to the stream (`retrieval.md` F).
#[must_use]
pub fn stream_error(call: Call<'_>, cause: &Cause) -> StreamError {
    let kind = match cause.class() {
        // "In use" is how a second subscription, a second registration and a stream that is being
        // created are refused.
        Class::Transient if cause.code() == Some("ResourceInUseException") => {
            StreamErrorKind::InUse
        }
        Class::Throttled => StreamErrorKind::SlowDown,
        Class::Missing => StreamErrorKind::Gone,
        Class::Expired => StreamErrorKind::Expired,
        Class::Denied => StreamErrorKind::Denied,
        Class::Transient => StreamErrorKind::Retry,
        Class::BadArgument => match call.operation {
            // The only argument that comes from the lease is the position.
            "GetShardIterator" | "SubscribeToShard" => StreamErrorKind::InvalidPosition,
            // And the only one here that ages is the iterator: a new one tells what is wrong.
            "GetRecords" => StreamErrorKind::Expired,
            _ => StreamErrorKind::Fatal,
        },
        Class::Fatal if is_position_complaint(call, cause) => StreamErrorKind::InvalidPosition,
        Class::Fatal => StreamErrorKind::Fatal,
    };
    StreamError {
        kind,
        message: cause.sentence(call),
    }
}

/// A failed call to the lease table that certainly changed nothing, or whose repetition is harmless.
#[must_use]
pub fn store_error(call: Call<'_>, cause: &Cause) -> StoreError {
    let sentence = cause.sentence(call);
    match cause.class() {
        Class::Throttled => StoreError::Throttled(sentence),
        Class::Missing => StoreError::TableMissing(sentence),
        Class::Denied => StoreError::Denied(sentence),
        Class::Transient => StoreError::Unavailable(sentence),
        Class::Expired | Class::BadArgument | Class::Fatal => StoreError::Fatal(sentence),
    }
}

/// A checkpoint with more digits than Kinesis takes is refused by the request's validation.
fn is_position_complaint(call: Call<'_>, cause: &Cause) -> bool {
    let member = match call.operation {
        "GetShardIterator" => "startingsequencenumber",
        "SubscribeToShard" => "sequencenumber",
        _ => return false,
    };
    matches!(cause, Cause::Answer { message, .. } if message.to_ascii_lowercase().contains(member))
}

// --------------------------------------------------------------------------------------------- tables

const CLOCK_CODES: [&str; 5] = [
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "RequestExpired",
    "AuthFailure",
];

fn class_of(code: Option<&str>, status: u16) -> Class {
    match code.unwrap_or_default() {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => Class::Throttled,
        "ResourceNotFoundException" | "TableNotFoundException" => Class::Missing,
        "ExpiredIteratorException" => Class::Expired,
        "InvalidArgumentException" => Class::BadArgument,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "OptInRequired"
        | "SubscriptionRequiredException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => Class::Denied,
        code if CLOCK_CODES.contains(&code) => Class::Denied,
        "ResourceInUseException"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException"
        | "ExpiredNextTokenException"
        | "ContinuousBackupsUnavailableException"
        | "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "InternalServiceError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Class::Transient,
        _ => match status {
            429 => Class::Throttled,
            401 | 403 | 407 => Class::Denied,
            408 | 500.. => Class::Transient,
            _ => Class::Fatal,
        },
    }
}

/// What a person should check.
fn hint(call: Call<'_>, code: &str, status: u16) -> Option<String> {
    let text = match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" => {
            return Some(format!(
                "check that the credentials' policy allows {}:{} there",
                call.service, call.operation
            ));
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
            "check the access key, and that it belongs to this partition or endpoint"
        }
        "ExpiredToken" | "ExpiredTokenException" => "the session credentials have to be renewed",
        "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => {
            "check the credentials, and that the endpoint is the service's"
        }
        "OptInRequired" | "SubscriptionRequiredException" => {
            "the account has to be activated for the service"
        }
        code if code.starts_with("KMS") && class_of(Some(code), status) == Class::Denied => {
            "check the stream's KMS key, and that the credentials' policy and the key's policy allow kms:Decrypt"
        }
        code if CLOCK_CODES.contains(&code) => "check the secret key and this host's clock",
        "" => match status {
            401 | 403 => "check the credentials, and that the endpoint is the service's",
            407 => "check the credentials of the proxy",
            400..=499 => "check that the endpoint is the service's",
            _ => return None,
        },
        _ => return None,
    };
    Some(text.to_owned())
}

fn tls_hint(message: &str) -> &'static str {
    if message.contains("UnknownIssuer") || message.contains("invalid peer certificate") {
        "; if a proxy or an endpoint of your own has a private certificate, name its issuer's PEM file in AWS_CA_BUNDLE; \
         in a container see that it has certificates at all (package ca-certificates)"
    } else {
        ""
    }
}

// ----------------------------------------------------------------------------------- chains of errors

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The credentials' part in a failure.
fn credentials_cause(error: &(dyn Error + 'static)) -> Option<Cause> {
    // The chain of providers knows best what each of them said.
    if let Some(failure) = chain(error).find_map(|e| e.downcast_ref::<ChainFailure>()) {
        return Some(Cause::Credentials {
            message: failure.to_string(),
            transient: failure.transient,
        });
    }
    let found = chain(error).find_map(|e| e.downcast_ref::<CredentialsError>())?;
    Some(Cause::Credentials {
        message: root_cause(found),
        transient: is_transient(found),
    })
}

/// Whether the network or a time-out kept a provider from giving credentials.
#[must_use]
pub fn is_transient(error: &CredentialsError) -> bool {
    // What a role was to be assumed with: its own providers know better than any text.
    if let Some(source) = chain(error).find_map(|e| e.downcast_ref::<ChainFailure>()) {
        return source.transient;
    }
    match error {
        CredentialsError::ProviderTimedOut(_) => true,
        CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) => {
            let text = chain(error)
                .map(|e| e.to_string().to_ascii_lowercase())
                .collect::<Vec<_>>()
                .join(": ");
            [
                "dispatch failure",
                "timeout",
                "timed out",
                "connection",
                "throttl",
                "unavailable",
                "internalfailure",
            ]
            .iter()
            .any(|sign| text.contains(sign))
        }
        _ => false,
    }
}

/// Whether the failure is one of connecting, before anything of the request was sent. The HTTP client
/// says so in words only; if it ever changes them, such failures merely count as broken connections.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|e| {
        e.to_string() == "client error (Connect)"
            || e.downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// The telling part of an error's chain: wrappers that say nothing are left out, and what an outer one
/// repeats of an inner one.
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    const EMPTY_WORDS: [&str; 14] = [
        "dispatch failure",
        "service error",
        "unhandled error",
        "response error",
        "request has timed out",
        "failed to construct request",
        "io error",
        "other",
        "user error",
        "timeout",
        "client error (Connect)",
        "client error (SendRequest)",
        "an error occurred while loading credentials",
        "the credential provider was not enabled",
    ];
    let mut parts: Vec<String> = Vec::new();
    for error in chain(error) {
        let text = error.to_string();
        if EMPTY_WORDS.contains(&text.as_str()) || parts.contains(&text) {
            continue;
        }
        // An outer error that ends in the inner one's words already says it.
        if parts.last().is_some_and(|outer| outer.ends_with(&text)) {
            continue;
        }
        parts.push(text);
    }
    if parts.is_empty() {
        error.to_string()
    } else {
        parts.join(": ")
    }
}

/// The beginning of an answer's body that is not the service's: a proxy's page, for example.
fn shown_body(response: &HttpResponse) -> String {
    let body = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(200)
        .collect()
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;

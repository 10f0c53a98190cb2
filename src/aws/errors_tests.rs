use super::*;
use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use std::io;

fn answer(status: u16, code: &str, message: &str) -> Cause {
    Cause::Answer {
        status,
        code: (!code.is_empty()).then(|| code.to_owned()),
        message: message.to_owned(),
    }
}

fn stream_call(operation: &'static str) -> Call<'static> {
    Call {
        service: "kinesis",
        operation,
        subject: "shard shardId-0 of stream orders",
    }
}

const UPDATE: Call<'static> = Call {
    service: "dynamodb",
    operation: "UpdateItem",
    subject: "lease shardId-0 in table app",
};

#[test]
fn kinds_of_stream_errors() {
    use StreamErrorKind::*;
    let cases = [
        (
            "GetRecords",
            400,
            "ProvisionedThroughputExceededException",
            SlowDown,
        ),
        ("ListShards", 400, "LimitExceededException", SlowDown),
        ("GetRecords", 400, "KMSThrottlingException", SlowDown),
        ("GetRecords", 400, "ThrottlingException", SlowDown),
        ("GetRecords", 429, "", SlowDown),
        ("GetRecords", 400, "ExpiredIteratorException", Expired),
        ("GetRecords", 400, "InvalidArgumentException", Expired),
        (
            "GetShardIterator",
            400,
            "InvalidArgumentException",
            InvalidPosition,
        ),
        ("ListShards", 400, "InvalidArgumentException", Fatal),
        ("GetRecords", 400, "ResourceNotFoundException", Gone),
        ("ListShards", 400, "ResourceInUseException", InUse),
        ("SubscribeToShard", 400, "ResourceInUseException", InUse),
        (
            "RegisterStreamConsumer",
            400,
            "ResourceInUseException",
            InUse,
        ),
        (
            "RegisterStreamConsumer",
            400,
            "LimitExceededException",
            SlowDown,
        ),
        ("SubscribeToShard", 400, "LimitExceededException", SlowDown),
        ("SubscribeToShard", 400, "ResourceNotFoundException", Gone),
        (
            "SubscribeToShard",
            400,
            "InvalidArgumentException",
            InvalidPosition,
        ),
        (
            "DescribeStreamConsumer",
            400,
            "AccessDeniedException",
            Denied,
        ),
        ("ListShards", 400, "ExpiredNextTokenException", Retry),
        ("GetRecords", 500, "InternalFailure", Retry),
        ("GetRecords", 500, "InternalFailureException", Retry),
        ("GetRecords", 503, "ServiceUnavailable", Retry),
        ("GetRecords", 502, "", Retry),
        ("GetRecords", 408, "", Retry),
        ("GetRecords", 400, "AccessDeniedException", Denied),
        ("GetRecords", 400, "UnrecognizedClientException", Denied),
        ("GetRecords", 400, "InvalidSignatureException", Denied),
        ("GetRecords", 400, "ExpiredTokenException", Denied),
        ("GetRecords", 400, "KMSAccessDeniedException", Denied),
        ("GetRecords", 400, "KMSDisabledException", Denied),
        ("GetRecords", 400, "KMSInvalidStateException", Denied),
        ("GetRecords", 400, "KMSNotFoundException", Denied),
        ("GetRecords", 400, "KMSOptInRequired", Denied),
        ("GetRecords", 403, "", Denied),
        ("GetRecords", 407, "", Denied),
        ("GetRecords", 400, "ValidationException", Fatal),
        ("GetRecords", 400, "SomethingNew", Fatal),
        ("GetRecords", 404, "", Fatal),
        ("GetRecords", 500, "SomethingNew", Retry),
    ];
    for (operation, status, code, kind) in cases {
        let error = stream_error(stream_call(operation), &answer(status, code, "its words"));
        assert_eq!(error.kind, kind, "{operation} {status} {code}");
        assert!(error.message.contains("its words"), "{}", error.message);
        assert!(error.message.starts_with(&format!(
            "{operation} on shard shardId-0 of stream orders failed: "
        )));
        assert!(error.message.contains(code));
    }
}

#[test]
fn a_position_that_the_validation_refuses_is_a_position() {
    let refused = answer(
        400,
        "ValidationException",
        "1 validation error detected: Value '1' at 'startingSequenceNumber' failed to satisfy constraint",
    );
    assert_eq!(
        stream_error(stream_call("GetShardIterator"), &refused).kind,
        StreamErrorKind::InvalidPosition
    );
    assert_eq!(
        stream_error(stream_call("GetRecords"), &refused).kind,
        StreamErrorKind::Fatal
    );
}

#[test]
fn kinds_of_store_errors_and_what_may_have_happened() {
    type Wanted = fn(&StoreError) -> bool;
    let throttled: Wanted = |e| matches!(e, StoreError::Throttled(_));
    let missing: Wanted = |e| matches!(e, StoreError::TableMissing(_));
    let denied: Wanted = |e| matches!(e, StoreError::Denied(_));
    let unavailable: Wanted = |e| matches!(e, StoreError::Unavailable(_));
    let fatal: Wanted = |e| matches!(e, StoreError::Fatal(_));
    let words = || "words".to_owned();
    let cases: Vec<(Cause, Wanted, bool)> = vec![
        (
            answer(400, "ProvisionedThroughputExceededException", ""),
            throttled,
            false,
        ),
        (answer(400, "ThrottlingException", ""), throttled, false),
        (answer(400, "RequestLimitExceeded", ""), throttled, false),
        (answer(503, "ThrottlingException", ""), throttled, false),
        (answer(400, "ResourceNotFoundException", ""), missing, false),
        (answer(400, "AccessDeniedException", ""), denied, false),
        (
            answer(400, "UnrecognizedClientException", ""),
            denied,
            false,
        ),
        (answer(400, "ValidationException", ""), fatal, false),
        (
            answer(400, "ItemCollectionSizeLimitExceededException", ""),
            fatal,
            false,
        ),
        (
            answer(400, "TransactionConflictException", ""),
            unavailable,
            false,
        ),
        (
            answer(400, "ReplicatedWriteConflictException", ""),
            unavailable,
            false,
        ),
        (answer(500, "InternalServerError", ""), unavailable, true),
        (answer(503, "ServiceUnavailable", ""), unavailable, true),
        (answer(502, "", "<html>"), unavailable, true),
        (answer(408, "", ""), unavailable, true),
        (answer(302, "", ""), fatal, true),
        (Cause::NotSent(words()), unavailable, false),
        (Cause::Broken(words()), unavailable, true),
        (Cause::TimedOut(words()), unavailable, true),
        (Cause::Garbled(words()), unavailable, true),
        (Cause::NotBuilt(words()), fatal, false),
        (
            Cause::Credentials {
                message: words(),
                transient: false,
            },
            denied,
            false,
        ),
        (
            Cause::Credentials {
                message: words(),
                transient: true,
            },
            unavailable,
            false,
        ),
    ];
    for (cause, wanted, may_have_happened) in cases {
        let error = store_error(UPDATE, &cause);
        assert!(wanted(&error), "{cause:?} gave {error:?}");
        assert_eq!(cause.may_have_happened(), may_have_happened, "{cause:?}");
        assert!(
            error
                .to_string()
                .starts_with("UpdateItem on lease shardId-0 in table app failed: "),
            "{error}"
        );
    }
}

#[test]
fn only_hiccups_are_repeated_at_once() {
    let yes = [
        Cause::Broken(String::new()),
        Cause::Garbled(String::new()),
        answer(500, "InternalFailure", ""),
        answer(503, "", ""),
        answer(400, "InvalidSignatureException", ""),
        answer(400, "RequestExpired", ""),
    ];
    for cause in yes {
        assert!(cause.is_hiccup(), "{cause:?}");
    }
    let no = [
        Cause::NotSent(String::new()),
        Cause::TimedOut(String::new()),
        Cause::NotBuilt(String::new()),
        Cause::Credentials {
            message: String::new(),
            transient: true,
        },
        answer(503, "ThrottlingException", ""),
        answer(400, "ProvisionedThroughputExceededException", ""),
        answer(400, "LimitExceededException", ""),
        answer(400, "AccessDeniedException", ""),
        answer(400, "ExpiredIteratorException", ""),
    ];
    for cause in no {
        assert!(!cause.is_hiccup(), "{cause:?}");
    }
}

#[test]
fn who_has_to_act_is_told_what_to_check() {
    let cases = [
        (
            400,
            "AccessDeniedException",
            "policy allows kinesis:GetRecords",
        ),
        (400, "UnrecognizedClientException", "access key"),
        (400, "InvalidSignatureException", "this host's clock"),
        (400, "ExpiredTokenException", "renewed"),
        (400, "KMSAccessDeniedException", "kms:Decrypt"),
        (400, "KMSDisabledException", "KMS key"),
        (403, "", "credentials"),
        (407, "", "proxy"),
        (404, "", "endpoint"),
    ];
    for (status, code, wanted) in cases {
        let sentence = answer(status, code, "no").sentence(stream_call("GetRecords"));
        assert!(sentence.contains(wanted), "{sentence}");
    }
    let throttled =
        answer(400, "KMSThrottlingException", "slow").sentence(stream_call("GetRecords"));
    assert!(
        throttled.ends_with("KMSThrottlingException: slow"),
        "no advice where none is needed: {throttled}"
    );
    let tls =
        Cause::NotSent("kinesis.test:443: invalid peer certificate: UnknownIssuer".to_owned());
    assert!(tls.sentence(UPDATE).contains("AWS_CA_BUNDLE"));
}

fn response(status: u16, body: &str) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
}

#[derive(Debug, thiserror::Error)]
#[error("client error (Connect)")]
struct Connecting(#[source] io::Error);

#[test]
fn failures_of_the_sdk() {
    type Failure = SdkError<GetRecordsError, HttpResponse>;
    let io = |kind: io::ErrorKind| io::Error::new(kind, "the system's words");
    let service = |status: u16, meta: ErrorMetadata, body: &str| {
        Failure::service_error(GetRecordsError::generic(meta), response(status, body))
    };
    let cases: Vec<(Failure, Cause)> = vec![
        (
            service(
                400,
                ErrorMetadata::builder()
                    .code("ExpiredIteratorException")
                    .message("old")
                    .build(),
                "",
            ),
            answer(400, "ExpiredIteratorException", "old"),
        ),
        (
            service(
                503,
                ErrorMetadata::builder().build(),
                "<html>\n  <b>busy</b></html>",
            ),
            answer(503, "", "<html> <b>busy</b></html>"),
        ),
        (
            Failure::response_error("no JSON", response(200, "{")),
            Cause::Garbled("no JSON".to_owned()),
        ),
        (
            Failure::response_error("no JSON", response(502, "{")),
            answer(502, "", "no JSON"),
        ),
        (
            Failure::dispatch_failure(ConnectorError::io(Box::new(Connecting(io(
                io::ErrorKind::NotFound,
            ))))),
            Cause::NotSent("the system's words".to_owned()),
        ),
        (
            Failure::dispatch_failure(ConnectorError::timeout(Box::new(Connecting(io(
                io::ErrorKind::TimedOut,
            ))))),
            Cause::NotSent("the system's words".to_owned()),
        ),
        (
            Failure::dispatch_failure(ConnectorError::io(Box::new(io(
                io::ErrorKind::ConnectionRefused,
            )))),
            Cause::NotSent("the system's words".to_owned()),
        ),
        (
            Failure::dispatch_failure(ConnectorError::io(Box::new(io(
                io::ErrorKind::ConnectionReset,
            )))),
            Cause::Broken("the system's words".to_owned()),
        ),
        (
            Failure::dispatch_failure(ConnectorError::timeout("read time-out".into())),
            Cause::TimedOut("read time-out".to_owned()),
        ),
        (
            Failure::timeout_error("after 3 s"),
            Cause::TimedOut("after 3 s".to_owned()),
        ),
        (
            Failure::construction_failure("bad ARN"),
            Cause::NotBuilt("bad ARN".to_owned()),
        ),
        (
            Failure::dispatch_failure(ConnectorError::other(
                Box::new(CredentialsError::not_loaded("no keys")),
                None,
            )),
            Cause::Credentials {
                message: "no keys".to_owned(),
                transient: false,
            },
        ),
        (
            Failure::construction_failure(CredentialsError::provider_error(ChainFailure {
                attempts: vec![
                    ("A".to_owned(), "none".to_owned()),
                    ("B".to_owned(), "late".to_owned()),
                ],
                transient: true,
            })),
            Cause::Credentials {
                message: "A: none; B: late".to_owned(),
                transient: true,
            },
        ),
    ];
    for (error, cause) in cases {
        assert_eq!(Cause::of(&error), cause);
    }
}

#[test]
fn a_credentials_failure_passes_only_if_the_network_made_it() {
    use std::time::Duration;
    let cases = [
        (
            CredentialsError::provider_timed_out(Duration::from_secs(5)),
            true,
        ),
        (CredentialsError::provider_error("dispatch failure"), true),
        (
            CredentialsError::provider_error(
                "AccessDenied: not authorized to perform sts:AssumeRole",
            ),
            false,
        ),
        (CredentialsError::not_loaded("connection"), false),
        (CredentialsError::invalid_configuration("timeout"), false),
    ];
    for (error, transient) in cases {
        assert_eq!(is_transient(&error), transient, "{error:?}");
    }
}

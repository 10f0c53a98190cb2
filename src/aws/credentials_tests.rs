use super::*;
use crate::aws::testing::{FakeService, Reply};
use crate::config::credentials::parse;
use std::io::Write as _;

fn context() -> CredentialsContext {
    CredentialsContext {
        http: FakeService::script(vec![Reply::Refused]).http(),
        clock: Arc::new(crate::os::clock::SystemClock::new()),
        region: Some("eu-west-9".to_owned()),
        sts: StsSettings::default(),
        application: "orders".to_owned(),
        environment: HashMap::new(),
        system_properties: HashMap::new(),
    }
}

fn map(entries: &[(&str, &str)]) -> HashMap<String, String> {
    entries
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn ask(value: &str, context: &CredentialsContext) -> Result<Credentials, CredentialsError> {
    let chain = parse("AWSCredentialsProvider", value).unwrap().chain;
    build(&chain, context).await.provide_credentials().await
}

fn failure(error: &CredentialsError) -> &ChainFailure {
    error.source().unwrap().downcast_ref().unwrap()
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn keys_from_every_plain_place() {
    let file = file("accessKey = FILE\nsecretKey = s\\u0031\n");
    let context = CredentialsContext {
        environment: map(&[
            ("CUSTOM_AWS_ACCESS_KEY_ID", "CUSTOM"),
            ("CUSTOM_AWS_SECRET_ACCESS_KEY", "s1"),
            ("MINE_AWS_ACCESS_KEY_ID", "MINE"),
            ("MINE_AWS_SECRET_ACCESS_KEY", "s1"),
        ]),
        system_properties: map(&[("aws.accessKeyId", "SYS"), ("aws.secretKey", "s1")]),
        ..context()
    };
    let cases = [
        (
            "com.er.sylvite.CustomEnvironmentVariableCredentialsProvider".to_owned(),
            "CUSTOM",
        ),
        (
            "CustomEnvironmentVariableCredentialsProvider|MINE".to_owned(),
            "MINE",
        ),
        ("SystemPropertyCredentialsProvider".to_owned(), "SYS"),
        (
            format!(
                "PropertiesFileCredentialsProvider|{}",
                file.path().display()
            ),
            "FILE",
        ),
    ];
    for (value, access_key) in cases {
        let credentials = ask(&value, &context).await.unwrap();
        assert_eq!(
            (credentials.access_key_id(), credentials.secret_access_key()),
            (access_key, "s1"),
            "{value}"
        );
        assert_eq!(credentials.session_token(), None);
    }
    assert_eq!(
        ask("AnonymousCredentialsProvider", &context)
            .await
            .unwrap()
            .access_key_id(),
        "anonymous"
    );
}

#[tokio::test]
async fn session_tokens_are_taken_along() {
    let context = CredentialsContext {
        system_properties: map(&[
            ("aws.accessKeyId", "a"),
            ("aws.secretAccessKey", "b"),
            ("aws.sessionToken", "t"),
        ]),
        ..context()
    };
    let credentials = ask("SystemPropertyCredentialsProvider", &context)
        .await
        .unwrap();
    assert_eq!(credentials.session_token(), Some("t"));
}

#[tokio::test]
async fn the_first_success_counts_in_the_order_given() {
    let context = CredentialsContext {
        environment: map(&[
            ("CUSTOM_AWS_ACCESS_KEY_ID", "C"),
            ("CUSTOM_AWS_SECRET_ACCESS_KEY", "s"),
        ]),
        system_properties: map(&[("aws.accessKeyId", "S"), ("aws.secretAccessKey", "s")]),
        ..context()
    };
    let cases = [
        (
            "CustomEnvironmentVariableCredentialsProvider, SystemPropertyCredentialsProvider",
            "C",
        ),
        (
            "SystemPropertyCredentialsProvider, CustomEnvironmentVariableCredentialsProvider",
            "S",
        ),
        (
            "PropertiesFileCredentialsProvider|/nonexistent, SystemPropertyCredentialsProvider",
            "S",
        ),
        // A broken provider makes way too, as in Java.
        (
            "CustomEnvironmentVariableCredentialsProvider|NONE, CustomEnvironmentVariableCredentialsProvider",
            "C",
        ),
    ];
    for (value, access_key) in cases {
        assert_eq!(
            ask(value, &context).await.unwrap().access_key_id(),
            access_key,
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_failure_names_each_provider_and_what_it_said() {
    let broken = file("accessKey = \\uXYZ secret");
    let value = format!(
        "CustomEnvironmentVariableCredentialsProvider, PropertiesFileCredentialsProvider|/nonexistent, \
         PropertiesFileCredentialsProvider|{}",
        broken.path().display()
    );
    let context = CredentialsContext {
        environment: map(&[("CUSTOM_AWS_ACCESS_KEY_ID", "C")]),
        ..context()
    };
    let error = ask(&value, &context).await.unwrap_err();
    let words = failure(&error).to_string();
    assert!(!failure(&error).transient);
    assert!(matches!(error, CredentialsError::CredentialsNotLoaded(_)));
    for wanted in [
        "CustomEnvironmentVariableCredentialsProvider|CUSTOM: CUSTOM_AWS_SECRET_ACCESS_KEY is not set in the environment",
        "PropertiesFileCredentialsProvider|/nonexistent: /nonexistent: No such file",
        "is no properties file",
    ] {
        assert!(words.contains(wanted), "{words}");
    }
    assert!(
        !words.contains("secret\"") && !words.contains("XYZ"),
        "a file's content may be a secret: {words}"
    );
}

#[tokio::test]
async fn property_files_are_read_again_each_time() {
    let mut file = file("accessKey = ONE\nsecretKey = s\n");
    let value = format!(
        "PropertiesFileCredentialsProvider|{}",
        file.path().display()
    );
    let chain = parse("AWSCredentialsProvider", &value).unwrap().chain;
    let provider = build(&chain, &context()).await;
    assert_eq!(
        provider
            .provide_credentials()
            .await
            .unwrap()
            .access_key_id(),
        "ONE"
    );
    writeln!(file, "accessKey = TWO").unwrap();
    assert_eq!(
        provider
            .provide_credentials()
            .await
            .unwrap()
            .access_key_id(),
        "TWO"
    );
}

/// STS, as far as it is needed: answers with keys and keeps what it was asked.
#[derive(Debug, Clone, Default)]
struct Sts {
    requests: std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>,
    refuse: bool,
}

impl aws_smithy_runtime_api::client::http::HttpConnector for Sts {
    fn call(
        &self,
        request: aws_smithy_runtime_api::client::orchestrator::HttpRequest,
    ) -> aws_smithy_runtime_api::client::http::HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        self.requests
            .lock()
            .unwrap()
            .push((request.uri().to_owned(), body));
        let (status, answer) = if self.refuse {
            (
                403_u16,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not this role</Message></Error></ErrorResponse>",
            )
        } else {
            (
                200,
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ROLE</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
            )
        };
        aws_smithy_runtime_api::client::http::HttpConnectorFuture::ready(Ok(
            aws_smithy_runtime_api::client::orchestrator::HttpResponse::new(
                status.try_into().unwrap(),
                aws_smithy_types::body::SdkBody::from(answer),
            ),
        ))
    }
}

fn with_sts(sts: &Sts) -> CredentialsContext {
    let connector = aws_smithy_runtime_api::client::http::SharedHttpConnector::new(sts.clone());
    CredentialsContext {
        http: aws_smithy_runtime_api::client::http::http_client_fn(move |_, _| connector.clone()),
        system_properties: map(&[("aws.accessKeyId", "SOURCE"), ("aws.secretAccessKey", "s")]),
        ..context()
    }
}

const ROLE: &str =
    "KclStsAssumeRoleCredentialsProvider|arn:aws:iam::111122223333:role/reader|my-session";

#[tokio::test]
async fn roles_are_assumed_with_everything_that_was_configured() {
    let cases = [
        (
            "|endpointRegion=eu-west-9|externalId=id7",
            "https://sts.eu-west-9.amazonaws.com/",
            true,
        ),
        ("|endpoint=sts.test^eu-west-9", "https://sts.test/", false),
    ];
    for (arguments, uri, has_external_id) in cases {
        let sts = Sts::default();
        let credentials = ask(&format!("{ROLE}{arguments}"), &with_sts(&sts))
            .await
            .unwrap();
        assert_eq!(
            (credentials.access_key_id(), credentials.session_token()),
            ("ROLE", Some("t"))
        );
        assert!(credentials.expiry().is_some());
        let requests = sts.requests.lock().unwrap().clone();
        let (seen, body) = &requests[0];
        assert_eq!((requests.len(), seen.as_str()), (1, uri));
        assert!(body.contains("RoleSessionName=my-session"), "{body}");
        assert!(body.contains("role%2Freader"), "{body}");
        assert_eq!(body.contains("ExternalId=id7"), has_external_id, "{body}");
    }
}

#[tokio::test]
async fn a_refused_role_is_nobodys_hiccup() {
    let sts = Sts {
        refuse: true,
        ..Sts::default()
    };
    let error = ask(&format!("{ROLE}|endpointRegion=eu-west-9"), &with_sts(&sts))
        .await
        .unwrap_err();
    let failure = failure(&error);
    assert!(!failure.transient, "{failure}");
    assert!(failure.to_string().contains("not this role"), "{failure}");
}

#[tokio::test]
async fn the_region_of_a_line_for_java_goes_first() {
    let context = CredentialsContext {
        system_properties: map(&[("aws.region", "ap-south-1")]),
        ..context()
    };
    let region = sts::region(&context).await;
    assert_eq!(region, Some(aws_config::Region::new("ap-south-1")));
}

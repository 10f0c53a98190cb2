use super::*;
use crate::aws::kinesis::{KinesisStream, StreamRef};
use crate::aws::testing::{FakeService, Reply, settings};
use crate::ports::Stream as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

async fn describe(settings: &ClientSettings, access: &Access) -> Result<(), String> {
    let client = kinesis(settings, access)
        .await
        .map_err(|error| error.to_string())?;
    let stream = KinesisStream::new(client, StreamRef::Name("orders".to_owned()));
    stream
        .describe()
        .await
        .map(|_| ())
        .map_err(|error| error.message)
}

#[tokio::test]
async fn calls_go_where_the_settings_say_and_say_who_calls() {
    let service = FakeService::script(vec![Reply::error(400, "ResourceNotFoundException", "none")]);
    let cases = [
        (settings(), "http://service.test/"),
        (
            ClientSettings {
                endpoint: None,
                ..settings()
            },
            "https://kinesis.eu-west-9.amazonaws.com/",
        ),
        (
            ClientSettings {
                endpoint: None,
                fips: Some(true),
                ..settings()
            },
            "https://kinesis-fips.eu-west-9.amazonaws.com/",
        ),
        (
            ClientSettings {
                endpoint: None,
                dual_stack: Some(true),
                ..settings()
            },
            "https://kinesis.eu-west-9.api.aws/",
        ),
    ];
    for (settings, uri) in cases {
        let before = service.seen().len();
        let _ = describe(&settings, &service.access()).await;
        let seen = &service.seen()[before];
        assert_eq!(seen.uri, uri);
        let agent = format!("{}/{}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        assert!(seen.agents.contains(&agent), "{}", seen.agents);
    }
}

#[tokio::test]
async fn credentials_are_loaded_late_and_once_for_all_clients() {
    let loaded = Arc::new(AtomicUsize::new(0));
    let counting = {
        let loaded = Arc::clone(&loaded);
        aws_credential_types::credential_fn::provide_credentials_fn(move || {
            loaded.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(aws_credential_types::Credentials::new(
                "a", "b", None, None, "test",
            )))
        })
    };
    let service = FakeService::script(vec![Reply::error(400, "ResourceNotFoundException", "none")]);
    let access = Access::new(
        service.http(),
        SharedCredentialsProvider::new(counting),
        Duration::from_secs(5),
    );
    let stream = kinesis(&settings(), &access).await.unwrap();
    let table = dynamodb(&settings(), &access).await.unwrap();
    assert_eq!(
        loaded.load(Ordering::SeqCst),
        0,
        "start-up waits for no credentials"
    );
    let _ = stream
        .describe_stream_summary()
        .stream_name("orders")
        .send()
        .await;
    let _ = table.describe_table().table_name("app").send().await;
    let _ = table.describe_table().table_name("app").send().await;
    assert_eq!(
        service.operations(),
        ["DescribeStreamSummary", "DescribeTable", "DescribeTable"]
    );
    assert_eq!(loaded.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn slow_credentials_end_within_their_time() {
    let never = aws_credential_types::credential_fn::provide_credentials_fn(std::future::pending);
    let service = FakeService::script(vec![Reply::Refused]);
    let access = Access::new(
        service.http(),
        SharedCredentialsProvider::new(never),
        Duration::from_millis(50),
    );
    let message = describe(&settings(), &access).await.unwrap_err();
    assert!(message.contains("timed out"), "{message}");
    assert!(service.seen().is_empty(), "nothing is sent unsigned");
}

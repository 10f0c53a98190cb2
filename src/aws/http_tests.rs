use super::*;
use crate::aws::clients::{Access, ClientSettings, kinesis};
use crate::aws::credentials::fixed;
use crate::aws::kinesis::{KinesisStream, StreamRef};
use crate::ports::{Stream as _, StreamErrorKind};
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn plain() -> HttpSettings {
    HttpSettings {
        connect_timeout: Duration::from_secs(2),
        ca_bundle: None,
        proxied: false,
    }
}

#[test]
fn what_stays_on_this_host_or_beside_it() {
    let cases = [
        (
            "https://kinesis.eu-west-1.amazonaws.com/",
            "kinesis.eu-west-1.amazonaws.com:443",
            false,
        ),
        ("http://169.254.169.254/latest", "169.254.169.254:80", true),
        ("http://169.254.170.2/v2", "169.254.170.2:80", true),
        ("http://[fd00:ec2::254]/latest", "fd00:ec2::254:80", true),
        ("http://127.0.0.1:4567/", "127.0.0.1:4567", true),
        ("http://[::1]:4567/", "::1:4567", true),
        ("http://LOCALHOST:8000", "LOCALHOST:8000", true),
        (
            "http://localhost.example.com/",
            "localhost.example.com:80",
            false,
        ),
        ("http://10.0.0.5:4567/", "10.0.0.5:4567", false),
    ];
    for (uri, authority, is_local) in cases {
        let expected = Destination {
            authority: authority.to_owned(),
            is_local,
        };
        assert_eq!(Destination::of(uri), expected, "{uri}");
    }
}

#[test]
fn settings_come_from_the_environment() {
    let of = |variables: &[(&str, &str)]| {
        HttpSettings::from_environment(Duration::from_secs(2), |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(of(&[]), plain());
    assert_eq!(of(&[("AWS_CA_BUNDLE", ""), ("HTTPS_PROXY", "")]), plain());
    assert!(of(&[("https_proxy", "http://proxy:3128")]).proxied);
    assert_eq!(
        of(&[("AWS_CA_BUNDLE", "/x.pem")]).ca_bundle,
        Some(PathBuf::from("/x.pem"))
    );
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_their_file() {
    let bundle = |content: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let result = HttpPools::new(HttpSettings {
            ca_bundle: Some(file.path().to_owned()),
            ..plain()
        });
        (file.path().display().to_string(), result)
    };
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    for content in ["", "no certificates here", no_der, no_base64] {
        let (path, result) = bundle(content);
        let error = result.expect_err(content);
        assert_eq!(error.path, path);
        assert!(!error.reason.is_empty(), "{content}");
    }
    let missing = HttpPools::new(HttpSettings {
        ca_bundle: Some(PathBuf::from("/nonexistent/ca.pem")),
        ..plain()
    });
    assert!(
        missing
            .expect_err("missing")
            .to_string()
            .contains("/nonexistent/ca.pem")
    );
}

async fn stream_at(port: u16) -> KinesisStream {
    let access = Access::new(
        HttpPools::new(plain()).unwrap().client(),
        fixed("key", "secret"),
        Duration::from_secs(5),
    );
    let settings = ClientSettings {
        region: Some("eu-west-9".to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        ..ClientSettings::new(Duration::from_millis(700))
    };
    KinesisStream::new(
        kinesis(&settings, &access).await.unwrap(),
        StreamRef::Name("orders".to_owned()),
    )
}

#[tokio::test]
async fn a_refused_connection_is_named_with_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = stream_at(port).await.describe().await.unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Retry);
    assert!(
        error.message.contains(&format!("127.0.0.1:{port}")),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("no connection") && error.message.contains("refused"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let access = Access::new(
        HttpPools::new(plain()).unwrap().client(),
        fixed("key", "secret"),
        Duration::from_secs(5),
    );
    let settings = ClientSettings {
        region: Some("eu-west-9".to_owned()),
        endpoint: Some("http://no-such-host.invalid:4567".to_owned()),
        ..ClientSettings::new(Duration::from_secs(5))
    };
    let stream = KinesisStream::new(
        kinesis(&settings, &access).await.unwrap(),
        StreamRef::Name("orders".to_owned()),
    );
    let error = stream.describe().await.unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Retry);
    assert!(
        error
            .message
            .contains("no connection: no-such-host.invalid:4567"),
        "{}",
        error.message
    );
}

/// Answers each connection's requests as told: `true` answers, `false` keeps silent. Returns how many
/// connections there were when told to stop.
async fn serve(listener: TcpListener, answers: Vec<bool>) -> usize {
    let mut answers = answers.into_iter();
    let mut connections = 0;
    let mut silent = Vec::new();
    let mut left = answers.len();
    while left > 0 {
        let (mut socket, _) = listener.accept().await.unwrap();
        connections += 1;
        loop {
            let mut buffer = vec![0; 16 * 1024];
            let read = socket.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            left -= 1;
            if answers.next() != Some(true) {
                silent.push(socket);
                break;
            }
            let body = r#"{"StreamDescriptionSummary":{"StreamName":"orders","StreamARN":"arn","StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,"EnhancedMonitoring":[],"OpenShardCount":1}}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(body.as_bytes()).await.unwrap();
            if left == 0 {
                break;
            }
        }
    }
    connections
}

#[tokio::test]
async fn connections_are_reused_until_one_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = stream_at(listener.local_addr().unwrap().port()).await;
    let calls = async {
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            outcomes.push(stream.describe().await);
        }
        outcomes
    };
    let (connections, outcomes) =
        tokio::join!(serve(listener, vec![true, true, false, true]), calls);
    assert_eq!(
        outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, true, false, true]
    );
    assert!(
        outcomes[2]
            .as_ref()
            .unwrap_err()
            .message
            .contains("no answer in time"),
        "{:?}",
        outcomes[2]
    );
    assert_eq!(
        connections, 2,
        "one for the first three calls, a new one after the silence"
    );
}

/// A connector whose one connection says when it is taken out of use.
#[derive(Debug, Clone, Default)]
struct OneConnection {
    poisoned: std::sync::Arc<std::sync::atomic::AtomicBool>,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, Default)]
enum Outcome {
    Answer,
    Fail,
    #[default]
    Silence,
}

impl HttpConnector for OneConnection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        use aws_smithy_runtime_api::client::connection::ConnectionMetadata;
        use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
        let poisoned = std::sync::Arc::clone(&self.poisoned);
        let capture = request.extension::<CaptureSmithyConnection>().unwrap();
        capture.set_connection_retriever(move || {
            let poisoned = std::sync::Arc::clone(&poisoned);
            let poison = move || poisoned.store(true, std::sync::atomic::Ordering::SeqCst);
            Some(
                ConnectionMetadata::builder()
                    .proxied(false)
                    .poison_fn(poison)
                    .build(),
            )
        });
        match self.outcome {
            Outcome::Answer => HttpConnectorFuture::ready(Ok(HttpResponse::new(
                200_u16.try_into().unwrap(),
                aws_smithy_types::body::SdkBody::empty(),
            ))),
            Outcome::Fail => HttpConnectorFuture::ready(Err(ConnectorError::io("reset".into()))),
            Outcome::Silence => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}

#[tokio::test]
async fn a_connection_without_an_answer_is_not_used_again() {
    // HTTP/2 keeps a connection open when a request on it is given up, so that this matters.
    for (outcome, taken_out) in [
        (Outcome::Answer, false),
        (Outcome::Fail, true),
        (Outcome::Silence, true),
    ] {
        let connection = OneConnection {
            outcome,
            ..OneConnection::default()
        };
        let shared = SharedHttpConnector::new(connection.clone());
        let pool = Pool {
            pools: HttpPools::new(HttpSettings {
                proxied: true,
                ..plain()
            })
            .unwrap(),
            proxied: shared.clone().into(),
            direct: shared.into(),
        };
        let request = HttpRequest::get("https://kinesis.test/").unwrap();
        let call = pool.call(request);
        tokio::select! {
            biased;
            result = call => {
                if let Err(error) = result {
                    assert!(error.is_io(), "the kind stays");
                    let words = crate::aws::errors::root_cause(&error);
                    assert_eq!(words, "kinesis.test:443 (the environment names a proxy): reset");
                }
            }
            () = std::future::ready(()) => {}
        }
        let poisoned = connection
            .poisoned
            .load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(poisoned, taken_out, "{outcome:?}");
    }
}

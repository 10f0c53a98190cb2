//! The services behind recording doors, and fakes of those that give credentials.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use serde_json::json;

use super::support::{
    Answer, Daemon, FakeHttp, Properties, Request, Sandbox, Services, eventually,
    properties::Endpoints,
};

/// Waiting for something that takes a moment: generous, as the machine may be busy.
pub const SOON: Duration = Duration::from_secs(30);

/// The embedded services, Kinesis and DynamoDB each behind a door that keeps every request.
pub struct Stage {
    pub kinesis: FakeHttp,
    pub dynamodb: FakeHttp,
    services: Services,
    // Last: at its end nothing of the others may be left.
    pub sandbox: Sandbox,
}

impl Stage {
    pub fn new(name: &str) -> Self {
        let sandbox = Sandbox::new(name);
        let services = Services::embedded(&sandbox, &[("stream", 1)]);
        Self {
            kinesis: FakeHttp::recording(services.kinesis_endpoint()),
            dynamodb: FakeHttp::recording(services.dynamodb_endpoint()),
            services,
            sandbox,
        }
    }

    /// Properties with these credentials and an environment that holds none.
    pub fn properties(&self, provider: &str) -> Properties {
        let endpoints = Endpoints {
            kinesis: self.kinesis.endpoint(),
            dynamodb: self.dynamodb.endpoint(),
        };
        let nowhere = self.sandbox.path().join("no-such-file");
        let nowhere = nowhere.to_str().expect("UTF-8");
        Properties::new(&endpoints, "app", "stream", "sleep 1000")
            .set("AwsCredentialsProvider", provider)
            .without_environment("AWS_ACCESS_KEY_ID")
            .without_environment("AWS_SECRET_ACCESS_KEY")
            .environment("AWS_CONFIG_FILE", nowhere)
            .environment("AWS_SHARED_CREDENTIALS_FILE", nowhere)
    }

    /// Starts a daemon, waits until it has called both services and gives the access keys that signed
    /// the calls of Kinesis and of DynamoDB. The daemon is killed. The doors are new ones: what a
    /// daemon killed before had on its way does not count.
    #[track_caller]
    pub fn keys(&mut self, properties: &Properties) -> (String, String) {
        self.kinesis = FakeHttp::recording(self.services.kinesis_endpoint());
        self.dynamodb = FakeHttp::recording(self.services.dynamodb_endpoint());
        let properties = properties
            .clone()
            .set("kinesisEndpoint", self.kinesis.endpoint())
            .set("dynamoDBEndpoint", self.dynamodb.endpoint());
        let mut daemon = Daemon::start(&self.sandbox, &properties, &[]);
        let found = eventually("both services are called", SOON, || {
            assert_eq!(daemon.exited(), None, "{}", daemon.log());
            let kinesis = signers(&self.kinesis.seen());
            let dynamodb = signers(&self.dynamodb.seen());
            (!kinesis.is_empty() && !dynamodb.is_empty()).then_some((kinesis, dynamodb))
        });
        daemon.kill9();
        found
    }

    /// A daemon that cannot start: its log. It ends with 1.
    #[track_caller]
    pub fn refused(&self, properties: &Properties) -> String {
        let mut daemon = Daemon::start(&self.sandbox, properties, &[]);
        let exit = daemon.wait_exit(SOON);
        let log = daemon.log();
        assert_eq!(exit.code, Some(1), "{log}");
        assert_eq!(signers(&self.kinesis.seen()), "", "nothing was signed");
        log
    }
}

/// The access keys of requests, each once.
fn signers(requests: &[Request]) -> String {
    let keys: BTreeSet<&str> = requests.iter().map(Request::access_key).collect();
    keys.into_iter().collect::<Vec<_>>().join(",")
}

/// So many seconds from now, as AWS writes it.
pub fn in_seconds(seconds: u64) -> String {
    DateTime::from(SystemTime::now() + Duration::from_secs(seconds))
        .fmt(Format::DateTime)
        .expect("a time that can be written")
}

/// An STS whose keys are named after the role (`arn:…:role/reader` gives `reader-1`, `reader-2`, …) and
/// live for so many seconds.
pub fn sts(lifetime: u64) -> FakeHttp {
    let count = AtomicUsize::new(0);
    FakeHttp::start(move |request| {
        let role = request.form("RoleArn");
        let name = role.rsplit('/').next().unwrap_or_default().to_owned();
        let action = request.form("Action");
        if name == "forbidden" {
            return Answer::text(
                403,
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                 <Message>somebody may not assume this role</Message></Error></ErrorResponse>",
            );
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        Answer::text(
            200,
            &format!(
                "<{action}Response><{action}Result><Credentials><AccessKeyId>{name}-{number}</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>token-of-{name}</SessionToken>\
                 <Expiration>{}</Expiration></Credentials></{action}Result></{action}Response>",
                in_seconds(lifetime)
            ),
        )
    })
}

/// The document that metadata services give.
pub fn document(key: &str, lifetime: u64) -> serde_json::Value {
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key, "SecretAccessKey": "s", "Token": "t",
        "LastUpdated": in_seconds(0), "Expiration": in_seconds(lifetime),
    })
}

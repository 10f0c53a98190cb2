//! Credentials that expire, and providers that take their time.

use std::time::Duration;

use super::stage::{SOON, Stage, sts};
use super::support::{Daemon, Request, until};

/// New keys are asked for before the old ones expire, and calls go on with them.
#[test]
fn keys_that_expire_are_exchanged_in_time() {
    // The SDK asks anew 10 s before the end.
    let (stage, sts) = (Stage::new("refresh"), sts(13));
    let value = "StsAssumeRoleCredentialsProvider|arn:aws:iam::111122223333:role/reader|s";
    let properties = stage
        .properties(value)
        .set("stsEndpoint", sts.endpoint())
        .failover_millis(10_000)
        .environment("AWS_ACCESS_KEY_ID", "SOURCE")
        .environment("AWS_SECRET_ACCESS_KEY", "s");
    let mut daemon = Daemon::start(&stage.sandbox, &properties, &[]);
    let generations = |requests: &[Request]| {
        let mut keys: Vec<String> = requests.iter().map(|r| r.access_key().to_owned()).collect();
        keys.dedup();
        keys.sort();
        keys.dedup();
        keys.len()
    };
    until("Kinesis sees a third generation of keys", SOON, || {
        generations(&stage.kinesis.seen()) >= 3
    });
    until("and so does DynamoDB", SOON, || {
        generations(&stage.dynamodb.seen()) >= 3
    });
    assert_eq!(daemon.exited(), None);
    let log = daemon.log();
    assert!(
        !log.contains("ERROR") && !log.contains("renewal failed"),
        "{log}"
    );
    daemon.kill9();
}

/// A renewal has 3 s here, the process needs 5: its answer is waited for across calls.
#[test]
fn a_process_that_takes_longer_than_a_renewal_may() {
    let stage = Stage::new("slow-process");
    let helper = stage.sandbox.write_executable(
        "helper",
        "#!/bin/sh\nsleep 5\necho '{\"Version\": 1, \"AccessKeyId\": \"SLOW\", \"SecretAccessKey\": \"s\"}'\n",
    );
    let config = stage.sandbox.write(
        "config",
        format!("[default]\ncredential_process = {}\n", helper.display()),
    );
    let properties = stage
        .properties("ProfileCredentialsProvider")
        .failover_millis(9_000)
        .environment("AWS_CONFIG_FILE", config.to_str().expect("UTF-8"));
    let mut daemon = Daemon::start(&stage.sandbox, &properties, &[]);
    let renewals = || {
        let seen = stage.dynamodb.seen();
        seen.iter()
            .filter(|r| r.operation() == "UpdateItem")
            .count()
    };
    // One of them takes the lease.
    until("the lease is renewed", Duration::from_secs(90), || {
        renewals() >= 4
    });
    let log = daemon.log();
    assert!(!log.contains("lease lost"), "{log}");
    assert!(!log.contains("could not be renewed within"), "{log}");
    daemon.kill9();
}

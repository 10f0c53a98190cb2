//! Providers without a service: environment, files, processes; chains and names.

use super::stage::{SOON, Stage};
use super::support::{Daemon, Recorder, until};

/// The lines of a profile file.
fn profiles(stage: &Stage) -> (String, String) {
    let helper = stage.sandbox.write_executable(
        "helper",
        "#!/bin/sh\necho '{\"Version\": 1, \"AccessKeyId\": \"PROCESS\", \"SecretAccessKey\": \"s\"}'\n",
    );
    let config = format!(
        "[default]\naws_access_key_id = DEFAULTED\naws_secret_access_key = s\n\
         [profile work]\naws_access_key_id = WORK\naws_secret_access_key = s\n\
         [profile helped]\ncredential_process = {}\n",
        helper.display()
    );
    let credentials = "[shared]\naws_access_key_id = SHARED\naws_secret_access_key = s\n";
    let path = |name, text: &str| {
        let file = stage.sandbox.write(name, text);
        file.to_str().expect("UTF-8").to_owned()
    };
    (path("config", &config), path("credentials", credentials))
}

/// One row: the value of the key, variables beside it, and the access key that must sign.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn each_gives_its_own_keys() {
    let mut stage = Stage::new("plain");
    let (config, shared) = profiles(&stage);
    let keys = stage
        .sandbox
        .write("keys.properties", "accessKey = FILE\nsecretKey = s\n");
    let file = format!("PropertiesFileCredentialsProvider|{}", keys.display());
    let old_file = format!(
        "com.amazonaws.auth.PropertiesFileCredentialsProvider|{}",
        keys.display()
    );
    let environment: &[(&str, &str)] =
        &[("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let sylvite: &[(&str, &str)] = &[
        ("CUSTOM_AWS_ACCESS_KEY_ID", "CUSTOM"),
        ("CUSTOM_AWS_SECRET_ACCESS_KEY", "s"),
    ];
    let mine: &[(&str, &str)] = &[
        ("CUSTOM_PREFIX", "MINE"),
        ("MINE_AWS_ACCESS_KEY_ID", "MINE"),
        ("MINE_AWS_SECRET_ACCESS_KEY", "s"),
    ];
    let work: &[(&str, &str)] = &[("AWS_PROFILE", "work")];
    let rows: &[Row<'_>] = &[
        ("EnvironmentVariableCredentialsProvider", environment, "ENV"),
        ("DefaultCredentialsProvider", environment, "ENV"),
        ("DefaultAWSCredentialsProviderChain", environment, "ENV"),
        (
            "com.amazonaws.auth.EnvironmentVariableCredentialsProvider",
            environment,
            "ENV",
        ),
        (
            "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider",
            environment,
            "ENV",
        ),
        ("ProfileCredentialsProvider", &[], "DEFAULTED"),
        ("ProfileCredentialsProvider", work, "WORK"),
        ("ProfileCredentialsProvider|work", &[], "WORK"),
        ("ProfileCredentialsProvider|shared", &[], "SHARED"),
        (
            "com.amazonaws.auth.profile.ProfileCredentialsProvider|work",
            &[],
            "WORK",
        ),
        ("ProfileCredentialsProvider|helped", &[], "PROCESS"),
        ("DefaultCredentialsProvider", work, "WORK"),
        (&file, &[], "FILE"),
        (&old_file, &[], "FILE"),
        (
            "com.er.sylvite.CustomEnvironmentVariableCredentialsProvider",
            sylvite,
            "CUSTOM",
        ),
        (
            "com.er.sylvite.CustomEnvironmentVariableCredentialsProvider",
            mine,
            "MINE",
        ),
        // Chains: the first that has any.
        (
            "EnvironmentVariableCredentialsProvider, ProfileCredentialsProvider|work",
            environment,
            "ENV",
        ),
        (
            "ProfileCredentialsProvider|work, EnvironmentVariableCredentialsProvider",
            environment,
            "WORK",
        ),
        (
            "EnvironmentVariableCredentialsProvider, ProfileCredentialsProvider|work",
            &[],
            "WORK",
        ),
        (
            "ProfileCredentialsProvider|nobody, ProfileCredentialsProvider|shared",
            &[],
            "SHARED",
        ),
        (
            "BogusCredentialsProvider, ProfileCredentialsProvider|work",
            &[],
            "WORK",
        ),
    ];
    for (value, variables, expected) in rows {
        let mut properties = stage
            .properties(value)
            .environment("AWS_CONFIG_FILE", &config)
            .environment("AWS_SHARED_CREDENTIALS_FILE", &shared);
        for (name, variable) in *variables {
            properties = properties.environment(name, variable);
        }
        let (kinesis, dynamodb) = stage.keys(&properties);
        assert_eq!(
            (&kinesis[..], &dynamodb[..]),
            (*expected, *expected),
            "{value}"
        );
    }
}

#[test]
fn each_service_may_have_its_own() {
    let mut stage = Stage::new("per-service");
    let (config, shared) = profiles(&stage);
    let properties = stage
        .properties("ProfileCredentialsProvider|work")
        .set(
            "AwsCredentialsProviderDynamoDB",
            "ProfileCredentialsProvider|shared",
        )
        .environment("AWS_CONFIG_FILE", &config)
        .environment("AWS_SHARED_CREDENTIALS_FILE", &shared);
    let (kinesis, dynamodb) = stage.keys(&properties);
    assert_eq!((&kinesis[..], &dynamodb[..]), ("WORK", "SHARED"));
}

/// The whole way, with records: nothing else than the configured keys ever signs.
#[test]
fn a_daemon_works_with_them() {
    let stage = Stage::new("works");
    let (config, shared) = profiles(&stage);
    let recorder = Recorder::new(&stage.sandbox);
    let properties = stage
        .properties("ProfileCredentialsProvider|work")
        .set("executableName", recorder.command())
        .environment("AWS_CONFIG_FILE", &config)
        .environment("AWS_SHARED_CREDENTIALS_FILE", &shared);
    let mut daemon = Daemon::start(&stage.sandbox, &properties, &[]);
    let aws = super::support::Aws::new(&stage.kinesis.endpoint(), &stage.dynamodb.endpoint());
    let ids: Vec<String> = aws
        .put("stream", "a", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    until("all is processed", SOON, || {
        recorder.ledger().has_processed(&ids)
    });
    daemon.stop_gracefully();
    for request in stage.kinesis.seen().iter().chain(&stage.dynamodb.seen()) {
        // The test's own puts are signed by "test".
        assert!(
            ["WORK", "test"].contains(&request.access_key()),
            "{}: {}",
            request.operation(),
            request.access_key()
        );
    }
}

//! A failure names the element and its cause.

use super::stage::{SOON, Stage, sts};
use super::support::{Answer, Daemon, Exit, FakeHttp, services::free_port};

/// Sees that one ERROR line contains all these texts.
#[track_caller]
fn error_says(log: &str, texts: &[&str]) {
    let found = log
        .lines()
        .any(|line| line.contains("ERROR") && texts.iter().all(|text| line.contains(text)));
    assert!(found, "no error with all of {texts:?} in:\n{log}");
}

#[test]
fn every_element_of_a_chain_is_named() {
    let stage = Stage::new("all-fail");
    let config = stage
        .sandbox
        .write("config", "[profile other]\nregion = eu-west-1\n");
    let properties = stage
        .properties(
            "EnvironmentVariableCredentialsProvider, ProfileCredentialsProvider|nobody, \
             WebIdentityTokenFileCredentialsProvider, PropertiesFileCredentialsProvider|/no/such/file, \
             com.er.sylvite.CustomEnvironmentVariableCredentialsProvider, ContainerCredentialsProvider",
        )
        .environment("AWS_CONFIG_FILE", config.to_str().expect("UTF-8"));
    let log = stage.refused(&properties);
    error_says(
        &log,
        &[
            "no credentials to sign with",
            "EnvironmentVariableCredentialsProvider: ",
            "ProfileCredentialsProvider|nobody: ",
            "WebIdentityTokenFileCredentialsProvider: AWS_WEB_IDENTITY_TOKEN_FILE is not set",
            "PropertiesFileCredentialsProvider|/no/such/file: /no/such/file: No such file",
            "CustomEnvironmentVariableCredentialsProvider|CUSTOM: CUSTOM_AWS_ACCESS_KEY_ID is not set",
            "ContainerCredentialsProvider: ",
        ],
    );
}

#[test]
fn a_role_that_may_not_be_assumed() {
    let (stage, sts) = (Stage::new("forbidden"), sts(3600));
    let role = "arn:aws:iam::111122223333:role/forbidden";
    let properties = stage
        .properties(&format!("StsAssumeRoleCredentialsProvider|{role}|s"))
        .set("stsEndpoint", sts.endpoint())
        .environment("AWS_ACCESS_KEY_ID", "SOURCE")
        .environment("AWS_SECRET_ACCESS_KEY", "s");
    let log = stage.refused(&properties);
    error_says(
        &log,
        &[
            &format!("StsAssumeRoleCredentialsProvider|{role}: "),
            "somebody may not assume this role",
        ],
    );
}

/// The role's own source is named too.
#[test]
fn a_role_without_keys_to_assume_it() {
    let (stage, sts) = (Stage::new("no-source"), sts(3600));
    let properties = stage
        .properties("StsAssumeRoleCredentialsProvider|arn:aws:iam::111122223333:role/reader|s")
        .set("stsEndpoint", sts.endpoint());
    let log = stage.refused(&properties);
    error_says(
        &log,
        &["role/reader: ", "EnvironmentVariableCredentialsProvider: "],
    );
    assert_eq!(sts.seen().len(), 0);
}

#[test]
fn a_token_file_that_is_not_there() {
    let (stage, sts) = (Stage::new("no-token"), sts(3600));
    let properties = stage
        .properties("WebIdentityTokenFileCredentialsProvider")
        .set("stsEndpoint", sts.endpoint())
        .environment("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token")
        .environment("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/reader");
    let log = stage.refused(&properties);
    error_says(
        &log,
        &[
            "WebIdentityTokenFileCredentialsProvider: ",
            "/no/such/token",
            "No such file",
        ],
    );
}

#[test]
fn a_container_endpoint_that_refuses() {
    let stage = Stage::new("container-no");
    let endpoint = FakeHttp::start(|_| {
        Answer::json(
            403,
            &serde_json::json!({"code": "Denied", "message": "not for this pod"}),
        )
    });
    let properties = stage
        .properties("ContainerCredentialsProvider")
        .environment(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            &format!("{}/x", endpoint.endpoint()),
        );
    let log = stage.refused(&properties);
    error_says(&log, &["ContainerCredentialsProvider: ", "403"]);
}

/// What a later moment may heal is waited for, with a line that names it.
#[test]
fn services_that_do_not_answer_are_named_and_tried_again() {
    let stage = Stage::new("silent");
    let silent = FakeHttp::start(|_| Answer::Never);
    let dead = format!("http://127.0.0.1:{}", free_port());
    let role = "StsAssumeRoleCredentialsProvider|arn:aws:iam::111122223333:role/reader|s";
    for (value, sts, imds, texts) in [
        (
            "InstanceProfileCredentialsProvider",
            "",
            &silent.endpoint()[..],
            &["InstanceProfileCredentialsProvider: no answer within 5s"][..],
        ),
        (
            role,
            &dead[..],
            "",
            &["role/reader: ", dead.trim_start_matches("http://")],
        ),
    ] {
        let mut properties = stage
            .properties(value)
            .environment("AWS_ACCESS_KEY_ID", "SOURCE")
            .environment("AWS_SECRET_ACCESS_KEY", "s");
        if !sts.is_empty() {
            properties = properties.set("stsEndpoint", sts);
        }
        if !imds.is_empty() {
            properties = properties
                .without_environment("AWS_EC2_METADATA_DISABLED")
                .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds);
        }
        let mut daemon = Daemon::start(&stage.sandbox, &properties, &[]);
        let line = daemon.wait_log("trying again", SOON);
        for text in texts {
            assert!(line.contains(text), "{text:?} is not in: {line}");
        }
        assert_eq!(daemon.exited(), None, "{}", daemon.log());
        daemon.terminate();
        assert_eq!(daemon.wait_exit(SOON), Exit::OK, "{}", daemon.log());
    }
}

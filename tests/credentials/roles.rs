//! Roles that STS gives: AssumeRole, web identity, roles of a profile.

use super::stage::{Stage, sts};
use super::support::Properties;

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";

/// Keys to assume the role with.
fn with_source(properties: Properties) -> Properties {
    properties
        .environment("AWS_ACCESS_KEY_ID", "SOURCE")
        .environment("AWS_SECRET_ACCESS_KEY", "s")
}

#[test]
fn a_role_with_everything_in_its_arguments() {
    let (mut stage, sts) = (Stage::new("role"), sts(3600));
    let value = format!(
        "KclStsAssumeRoleCredentialsProvider|{ROLE}|my-session|endpoint={}^eu-west-3|externalId=k7",
        sts.endpoint()
    );
    let (kinesis, dynamodb) = stage.keys(&with_source(stage.properties(&value)));
    assert!(kinesis.starts_with("reader-"), "{kinesis}");
    assert!(dynamodb.starts_with("reader-"), "{dynamodb}");
    let call = &sts.seen()[0];
    assert_eq!(call.form("Action"), "AssumeRole");
    assert_eq!(call.form("RoleArn"), ROLE);
    assert_eq!(call.form("RoleSessionName"), "my-session");
    assert_eq!(call.form("ExternalId"), "k7");
    assert_eq!(call.access_key(), "SOURCE", "signed by the default chain");
    assert_eq!(call.signing_region(), "eu-west-3");
    // The session's token goes along.
    assert_eq!(
        stage.kinesis.seen()[0].header("x-amz-security-token"),
        "token-of-reader"
    );
}

/// `endpoint=` of the element, `stsEndpoint`, `AWS_ENDPOINT_URL_STS`, `AWS_ENDPOINT_URL`.
#[test]
fn where_sts_is_called() {
    let mut stage = Stage::new("sts-endpoint");
    let [own, key, variable, general] = std::array::from_fn(|_| sts(3600));
    let value = |more: &str| format!("StsAssumeRoleCredentialsProvider|{ROLE}|s{more}");
    let own_argument = format!("|endpoint={}^eu-west-1", own.endpoint());
    for step in 0..4 {
        let mut properties =
            with_source(stage.properties(&value(if step == 0 { &own_argument } else { "" })));
        if step <= 1 {
            properties = properties.set("stsEndpoint", key.endpoint());
        }
        if step <= 2 {
            properties = properties.environment("AWS_ENDPOINT_URL_STS", &variable.endpoint());
        }
        properties = properties.environment("AWS_ENDPOINT_URL", &general.endpoint());
        stage.keys(&properties);
        let called = [&own, &key, &variable, &general].map(|sts| !sts.seen().is_empty());
        let expected = std::array::from_fn(|i| i <= step);
        assert_eq!(called, expected, "step {step}");
    }
}

/// `endpointRegion=` of the element, `stsRegionName`, `AWS_REGION`, `regionName`.
#[test]
fn in_which_region_sts_is_called() {
    let mut stage = Stage::new("sts-region");
    for (argument, key, variable, expected) in [
        (
            "|endpointRegion=eu-west-3",
            "eu-west-2",
            "eu-west-1",
            "eu-west-3",
        ),
        ("", "eu-west-2", "eu-west-1", "eu-west-2"),
        ("", "", "eu-west-1", "eu-west-1"),
        ("", "", "", "us-east-1"),
    ] {
        let sts = sts(3600);
        let value = format!("StsAssumeRoleCredentialsProvider|{ROLE}|s{argument}");
        let mut properties =
            with_source(stage.properties(&value)).set("stsEndpoint", sts.endpoint());
        if !key.is_empty() {
            properties = properties.set("stsRegionName", key);
        }
        if !variable.is_empty() {
            properties = properties.environment("AWS_REGION", variable);
        }
        stage.keys(&properties);
        assert_eq!(sts.seen()[0].signing_region(), expected);
    }
}

#[test]
fn web_identity() {
    let (mut stage, sts) = (Stage::new("web-identity"), sts(3600));
    let token = stage.sandbox.write("token", "a.b.c\n");
    for (value, session, expected) in [
        (
            "WebIdentityTokenFileCredentialsProvider",
            Some("pod-7"),
            "pod-7",
        ),
        // The default chain has it too, before the profile; a session needs a name.
        ("DefaultCredentialsProvider", None, "app"),
    ] {
        let before = sts.seen().len();
        let mut properties = stage
            .properties(value)
            .set("stsEndpoint", sts.endpoint())
            .environment(
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                token.to_str().expect("UTF-8"),
            )
            .environment("AWS_ROLE_ARN", ROLE);
        if let Some(session) = session {
            properties = properties.environment("AWS_ROLE_SESSION_NAME", session);
        }
        let (kinesis, _) = stage.keys(&properties);
        assert!(kinesis.starts_with("reader-"), "{kinesis}");
        let call = &sts.seen()[before];
        assert_eq!(call.form("Action"), "AssumeRoleWithWebIdentity");
        assert_eq!(call.form("WebIdentityToken"), "a.b.c");
        assert_eq!(call.form("RoleArn"), ROLE);
        assert_eq!(call.form("RoleSessionName"), expected);
        assert_eq!(call.access_key(), "", "the token is all that is needed");
    }
}

/// The source of the configured role may itself be web identity, as on EKS.
#[test]
fn a_role_by_way_of_web_identity() {
    let (mut stage, sts) = (Stage::new("role-chain"), sts(3600));
    let token = stage.sandbox.write("token", "a.b.c");
    let value = format!("StsAssumeRoleCredentialsProvider|{ROLE}|s");
    let properties = stage
        .properties(&value)
        .set("stsEndpoint", sts.endpoint())
        .environment(
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            token.to_str().expect("UTF-8"),
        )
        .environment("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/pod");
    let (kinesis, _) = stage.keys(&properties);
    assert!(kinesis.starts_with("reader-"), "{kinesis}");
    let second = &sts.seen()[1];
    assert_eq!(second.form("Action"), "AssumeRole");
    assert!(
        second.access_key().starts_with("pod-"),
        "{}",
        second.access_key()
    );
}

/// `role_arn` and `source_profile`; the endpoint is the environment's or the profile's.
#[test]
fn a_role_of_a_profile() {
    let (mut stage, sts) = (Stage::new("profile-role"), sts(3600));
    let config = stage.sandbox.write(
        "config",
        format!(
            "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = s\n\
             [profile reading]\nrole_arn = {ROLE}\nsource_profile = base\nexternal_id = k8\n"
        ),
    );
    let properties = stage
        .properties("ProfileCredentialsProvider|reading")
        .environment("AWS_CONFIG_FILE", config.to_str().expect("UTF-8"))
        .environment("AWS_ENDPOINT_URL_STS", &sts.endpoint());
    let (kinesis, _) = stage.keys(&properties);
    assert!(kinesis.starts_with("reader-"), "{kinesis}");
    let call = &sts.seen()[0];
    assert_eq!(
        (call.access_key(), &call.form("ExternalId")[..]),
        ("BASE", "k8")
    );
}

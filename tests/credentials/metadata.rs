//! The instance's metadata service and the container's endpoint.

use super::stage::{Stage, document};
use super::support::{Answer, FakeHttp, Properties};

/// An IMDSv2: nothing without the token.
fn imds() -> FakeHttp {
    FakeHttp::start(|request| {
        let token_given = request.header("x-aws-ec2-metadata-token") == "imds-token";
        match (&request.method[..], request.path.trim_end_matches('/')) {
            ("PUT", "/latest/api/token") => {
                assert_ne!(request.header("x-aws-ec2-metadata-token-ttl-seconds"), "");
                // Says itself how long its token lives.
                Answer::text(200, "imds-token")
                    .header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
            }
            _ if !token_given => Answer::text(401, ""),
            ("GET", "/latest/meta-data/iam/security-credentials") => Answer::text(200, "my-role"),
            ("GET", "/latest/meta-data/iam/security-credentials/my-role") => {
                Answer::json(200, &document("INSTANCE", 3600))
            }
            ("GET", "/latest/meta-data/placement/region") => Answer::text(200, "eu-central-2"),
            _ => Answer::text(404, ""),
        }
    })
}

fn on_instance(properties: Properties, imds: &FakeHttp) -> Properties {
    properties
        .without_environment("AWS_EC2_METADATA_DISABLED")
        .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.endpoint())
}

#[test]
fn the_instance() {
    let (mut stage, imds) = (Stage::new("instance"), imds());
    for value in [
        "InstanceProfileCredentialsProvider",
        "com.amazonaws.auth.InstanceProfileCredentialsProvider",
        "EC2ContainerCredentialsProviderWrapper",
        "EnvironmentVariableCredentialsProvider, InstanceProfileCredentialsProvider",
        "DefaultCredentialsProvider",
    ] {
        let (kinesis, dynamodb) = stage.keys(&on_instance(stage.properties(value), &imds));
        assert_eq!(
            (&kinesis[..], &dynamodb[..]),
            ("INSTANCE", "INSTANCE"),
            "{value}"
        );
    }
    let seen = imds.seen();
    assert_eq!(
        (&seen[0].method[..], &seen[0].path[..]),
        ("PUT", "/latest/api/token")
    );
    assert!(
        seen.iter()
            .filter(|request| request.method == "GET")
            .all(|request| request.header("x-aws-ec2-metadata-token") == "imds-token")
    );
}

/// The region too, when nothing else names one.
#[test]
fn the_instances_region() {
    let (mut stage, imds) = (Stage::new("instance-region"), imds());
    let properties = on_instance(
        stage.properties("InstanceProfileCredentialsProvider"),
        &imds,
    )
    .without("regionName");
    stage.keys(&properties);
    let seen = stage.kinesis.seen();
    assert_eq!(seen[0].signing_region(), "eu-central-2");
}

/// ECS and EKS pod identity: full URI, with a token given or in a file that is read again.
#[test]
fn the_container() {
    let mut stage = Stage::new("container");
    let endpoint = FakeHttp::start(|request| match request.header("authorization") {
        "Bearer given" | "Bearer filed" if request.path == "/v1/credentials?id=7" => {
            Answer::json(200, &document("CONTAINER", 3600))
        }
        _ => Answer::json(
            401,
            &serde_json::json!({"code": "no", "message": "who are you"}),
        ),
    });
    let uri = format!("{}/v1/credentials?id=7", endpoint.endpoint());
    let file = stage.sandbox.write("token", "Bearer filed");
    let file = file.to_str().expect("UTF-8").to_owned();
    for (value, name, token) in [
        (
            "ContainerCredentialsProvider",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "Bearer given",
        ),
        (
            "ContainerCredentialsProvider",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            &file[..],
        ),
        (
            "EC2ContainerCredentialsProviderWrapper",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "Bearer given",
        ),
        (
            "DefaultCredentialsProvider",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "Bearer given",
        ),
    ] {
        let properties = stage
            .properties(value)
            .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)
            .environment(name, token);
        let (kinesis, dynamodb) = stage.keys(&properties);
        assert_eq!(
            (&kinesis[..], &dynamodb[..]),
            ("CONTAINER", "CONTAINER"),
            "{value}"
        );
    }
}

//! Asking services: the embedded ones, and fakes.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};

use super::fake::{Answer, serve, silent};
use super::support::aws::{number, string};
use super::support::properties::Endpoints;
use super::support::services::free_port;
use super::support::{Aws, Properties, Sandbox, Services};
use super::{Checked, check};

fn at(url: &str) -> Properties {
    let endpoints = Endpoints {
        kinesis: url.to_owned(),
        dynamodb: url.to_owned(),
    };
    Properties::new(&endpoints, "app", "orders", "cat").without("metricsLevel")
}

fn online(sandbox: &Sandbox, properties: &Properties) -> Checked {
    check(sandbox, properties, &["--online", "--format", "json"])
}

#[test]
fn with_local_everything_is_there() {
    let sandbox = Sandbox::new("local");
    let file = at("http://127.0.0.1:9");
    let arguments = [
        "--online",
        "--local",
        "--local-shards",
        "3",
        "--format",
        "json",
    ];
    let checked = check(&sandbox, &file, &arguments);
    assert_eq!(checked.code, 0, "{checked:?}");
    checked.assert_step("stream", "ok", "3 open shards");
    checked.assert_step("kinesis:GetRecords", "ok", "allowed");
    checked.assert_step("lease table", "ok", "would be created");
    checked.assert_step("dynamodb:PutItem", "notVerified", "no permissions");
    assert_eq!(checked.json()["callsPerHour"]["shards"], 3);
    // More than the 500 that an account at AWS has at first.
    let many = ["--online", "--local", "--local-shards", "501", "--format"];
    let checked = check(&sandbox, &file, &[&many[..], &["json"]].concat());
    checked.assert_step("stream", "ok", "501 open shards");
    let text = check(&sandbox, &file, &["--online", "--local"]);
    assert!(text.stdout.contains("kinesis:ListShards"), "{text:?}");
}

#[test]
fn the_embedded_services_as_a_process_are_looked_at_and_left_alone() {
    let sandbox = Sandbox::new("serve");
    let services = Services::embedded(&sandbox, &[("orders", 2)]);
    let aws = Aws::at(&services.endpoints());
    aws.put("orders", "a", 0, 4);
    let file = at(services.kinesis_endpoint());
    let checked = online(&sandbox, &file);
    assert_eq!(checked.code, 0, "{checked:?}");
    checked.assert_step(
        "credentials",
        "ok",
        "EnvironmentVariableCredentialsProvider",
    );
    checked.assert_step("identity", "notVerified", "not AWS's");
    checked.assert_step("kinesis:GetRecords", "ok", "was read");
    checked.assert_step("fan-out consumers", "ok", "none");
    checked.assert_step("clock", "ok", "differ by");
    checked.assert_step("dynamodb:UpdateItem", "notVerified", "not tried");
    assert!(aws.scan_items("app").is_empty(), "nothing was made");
    let tables = aws
        .run(aws.dynamodb().list_tables().send())
        .expect("ListTables");
    assert!(tables.table_names().is_empty(), "no table was made");
}

#[test]
fn leases_and_workers_are_counted() {
    let sandbox = Sandbox::new("rows");
    let services = Services::embedded(&sandbox, &[("orders", 2)]);
    let aws = Aws::at(&services.endpoints());
    aws.create_table("app");
    for (shard, owner) in [(0, "one"), (1, "two")] {
        let key = format!("shardId-00000000000{shard}");
        let item = [
            ("leaseKey", string(&key)),
            ("leaseCounter", number(1)),
            ("leaseOwner", string(owner)),
            ("checkpoint", string("TRIM_HORIZON")),
            ("checkpointSubSequenceNumber", number(0)),
            ("ownerSwitchesSinceCheckpoint", number(0)),
        ];
        aws.put_raw_item("app", &item);
    }
    let file = at(services.kinesis_endpoint());
    let checked = online(&sandbox, &file);
    assert_eq!(checked.code, 0, "{checked:?}");
    checked.assert_step("lease table", "ok", "ACTIVE");
    checked.assert_step("lease table rows", "ok", "2 leases of 2 workers");
    checked.assert_step("dynamodb:Scan", "ok", "allowed");
    assert_eq!(checked.json()["callsPerHour"]["workers"], 2);
    // An item of the 3.x coordination tells whose table it is.
    let leader = [
        ("leaseKey", string("Leader")),
        ("entityType", string("LEADER")),
    ];
    aws.put_raw_item("app", &leader);
    let checked = online(&sandbox, &file);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("KCL 3.x fleet"), "{checked:?}");
}

#[test]
fn a_missing_stream_hides_nothing_else() {
    let sandbox = Sandbox::new("no-stream");
    let services = Services::embedded(&sandbox, &[("other", 1)]);
    let checked = online(&sandbox, &at(services.kinesis_endpoint()));
    assert_eq!(checked.code, 1);
    checked.assert_step("stream", "failure", "orders");
    checked.assert_step("kinesis:GetRecords", "notVerified", "no open shard");
    checked.assert_step("lease table", "ok", "would be created");
}

#[test]
fn a_table_of_another_shape_is_told() {
    let sandbox = Sandbox::new("shape");
    let services = Services::embedded(&sandbox, &[("orders", 1)]);
    let aws = Aws::at(&services.endpoints());
    let call = aws
        .dynamodb()
        .create_table()
        .table_name("app")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("id")
                .attribute_type(ScalarAttributeType::N)
                .build()
                .expect("complete"),
        )
        .key_schema(
            KeySchemaElement::builder()
                .attribute_name("id")
                .key_type(KeyType::Hash)
                .build()
                .expect("complete"),
        );
    aws.run(call.send()).expect("CreateTable");
    let checked = online(&sandbox, &at(services.kinesis_endpoint()));
    assert_eq!(checked.code, 1);
    checked.assert_step("lease table", "failure", "id N HASH");
    checked.assert_step("stream", "ok", "ACTIVE");
}

#[test]
fn what_is_denied_is_named_action_by_action() {
    let sandbox = Sandbox::new("denied");
    let services =
        serve(|_, _| Answer::refusal("AccessDeniedException", "User me is not authorized"));
    let checked = online(&sandbox, &at(&services));
    assert_eq!(checked.code, 1);
    for (name, action) in [
        (
            "kinesis:DescribeStreamSummary",
            "kinesis:DescribeStreamSummary",
        ),
        ("kinesis:ListShards", "kinesis:ListShards"),
        ("dynamodb:DescribeTable", "dynamodb:DescribeTable"),
        ("dynamodb:Scan", "dynamodb:Scan"),
        ("dynamodb:GetItem", "dynamodb:GetItem"),
    ] {
        checked.assert_step(name, "failure", action);
        checked.assert_step(name, "failure", "User me is not authorized");
    }
    checked.assert_step("kinesis:GetShardIterator", "notVerified", "");
}

#[test]
fn a_clock_that_is_off_is_told() {
    let sandbox = Sandbox::new("clock");
    // 1 January 2020 is long ago for every host that runs this.
    let services = serve(|_, _| Answer {
        date: Some("Wed, 01 Jan 2020 00:00:00 GMT".to_owned()),
        ..Answer::refusal("AccessDeniedException", "no")
    });
    let checked = online(&sandbox, &at(&services));
    checked.assert_step("clock", "failure", "ahead of");
    checked.assert_step("clock", "failure", "5 minutes");
}

#[test]
fn nobody_there_and_nobody_answering_end_within_the_limit() {
    let sandbox = Sandbox::new("unreachable");
    let gone = format!("http://127.0.0.1:{}", free_port());
    let checked = online(&sandbox, &at(&gone));
    assert_eq!(checked.code, 1);
    checked.assert_step("kinesis:ListShards", "failure", "127.0.0.1");
    checked.assert_step("dynamodb:DescribeTable", "failure", "127.0.0.1");
    let start = Instant::now();
    let checked = online(&sandbox, &at(&silent()));
    let took = start.elapsed();
    assert_eq!(checked.code, 1);
    checked.assert_step("kinesis:ListShards", "failure", "");
    checked.assert_step("dynamodb:Scan", "failure", "");
    checked.assert_step("clock", "notVerified", "");
    // Calls to both services run beside each other, 10 s each; the rest is for a busy machine.
    assert!(took < Duration::from_secs(40), "{took:?}");
}

#[test]
fn missing_credentials_are_told_once_and_by_provider() {
    let sandbox = Sandbox::new("no-keys");
    let services = Services::embedded(&sandbox, &[("orders", 1)]);
    let file = at(services.kinesis_endpoint())
        .environment("AWS_ACCESS_KEY_ID", "")
        .environment("AWS_SECRET_ACCESS_KEY", "");
    let checked = online(&sandbox, &file);
    assert_eq!(checked.code, 1);
    checked.assert_step(
        "credentials",
        "failure",
        "EnvironmentVariableCredentialsProvider",
    );
    for name in [
        "identity",
        "stream",
        "kinesis:GetRecords",
        "lease table",
        "dynamodb:PutItem",
    ] {
        checked.assert_step(name, "notVerified", "no credentials");
    }
}

/// STS and IAM at one address, as `AWS_ENDPOINT_URL` names it.
fn authority(operation: &str, body: &str) -> Answer {
    match operation {
        "GetCallerIdentity" => Answer::xml(
            200,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:sts::111122223333:assumed-role/reader/me</Arn><UserId>X</UserId>\
             <Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
        ),
        // The role has a path, so the ARN made of the session's is not found.
        "SimulatePrincipalPolicy" if !body.contains("team") => Answer::xml(
            404,
            "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
             <Code>NoSuchEntity</Code><Message>no such role</Message></Error></ErrorResponse>",
        ),
        "GetRole" => Answer::xml(
            200,
            "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role>\
             <Path>/team/</Path><RoleName>reader</RoleName><RoleId>X</RoleId>\
             <Arn>arn:aws:iam::111122223333:role/team/reader</Arn><CreateDate>2024-01-01T00:00:00Z</CreateDate>\
             </Role></GetRoleResult></GetRoleResponse>",
        ),
        "SimulatePrincipalPolicy" => {
            let decisions: String = body
                .split('&')
                .filter(|pair| pair.starts_with("ActionNames"))
                .filter_map(|pair| pair.split_once('='))
                .map(|(_, action)| {
                    let action = action.replace("%3A", ":");
                    let decision = if action == "dynamodb:DeleteItem" {
                        "explicitDeny"
                    } else {
                        "allowed"
                    };
                    format!(
                        "<member><EvalActionName>{action}</EvalActionName>\
                         <EvalDecision>{decision}</EvalDecision></member>"
                    )
                })
                .collect();
            Answer::xml(
                200,
                &format!(
                    "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
                     <SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{decisions}\
                     </EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
                ),
            )
        }
        other => Answer::refusal("UnknownOperationException", other),
    }
}

#[test]
fn writes_are_put_to_the_simulator() {
    let sandbox = Sandbox::new("simulator");
    let services = Services::embedded(&sandbox, &[("orders", 1)]);
    let url = serve(authority);
    let file = at(services.kinesis_endpoint())
        .set("stsEndpoint", &url)
        .environment("AWS_ENDPOINT_URL_IAM", &url);
    let checked = online(&sandbox, &file);
    checked.assert_step("identity", "ok", "111122223333");
    checked.assert_step("dynamodb:PutItem", "ok", "simulator");
    checked.assert_step("dynamodb:CreateTable", "ok", "simulator");
    checked.assert_step("dynamodb:DeleteItem", "failure", "forbids");
    checked.assert_step(
        "dynamodb:DeleteItem",
        "failure",
        "arn:aws:dynamodb:us-east-1:111122223333:table/app",
    );
    assert_eq!(checked.code, 1);
}

/// The account's root has no policies to simulate, and nothing is put into the simulator's mouth.
#[test]
fn the_simulator_is_not_quoted_when_it_was_not_asked() {
    let sandbox = Sandbox::new("root");
    let services = Services::embedded(&sandbox, &[("orders", 1)]);
    let url = serve(|operation, _| {
        assert_eq!(operation, "GetCallerIdentity");
        Answer::xml(
            200,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::111122223333:root</Arn><UserId>X</UserId><Account>111122223333</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>",
        )
    });
    let file = at(services.kinesis_endpoint())
        .set("stsEndpoint", &url)
        .environment("AWS_ENDPOINT_URL_IAM", &url);
    let checked = online(&sandbox, &file);
    let (outcome, message) = checked.step("dynamodb:PutItem");
    assert_eq!(outcome, "ok", "{message}");
    assert!(
        message.contains("root") && !message.contains("simulator"),
        "{message}"
    );
}

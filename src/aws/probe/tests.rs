//! The probes against a service made of a function, and against the embedded DynamoDB.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::aws::clients;
use crate::aws::dynamodb::{DynamoDbLeaseStore, TableSettings};
use crate::aws::kinesis::KinesisStream;
use crate::aws::probe::authority::{Authority, Decision};
use crate::aws::testing::{FakeService, QuickClock, Reply, settings};

async fn probe(service: &FakeService) -> Probe {
    let access = service.access();
    let kinesis = clients::kinesis(&settings(), &access).await.unwrap();
    let dynamodb = clients::dynamodb(&settings(), &access).await.unwrap();
    let reference = StreamRef::Name("orders".to_owned());
    let table = TableSettings {
        name: "app".to_owned(),
        legacy_coordinator: "app-CoordinatorState".to_owned(),
        deletion_protection: false,
        point_in_time_recovery: false,
    };
    Probe {
        stream: Arc::new(KinesisStream::new(kinesis.clone(), reference.clone())),
        store: Arc::new(DynamoDbLeaseStore::new(
            dynamodb.clone(),
            table,
            Arc::new(QuickClock::default()),
        )),
        kinesis,
        reference,
        dynamodb,
    }
}

#[tokio::test]
async fn a_stream_is_described() {
    let service = FakeService::script(vec![Reply::ok(json!({"StreamDescriptionSummary": {
        "StreamName": "orders", "StreamARN": "arn:x", "StreamStatus": "UPDATING",
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RetentionPeriodHours": 48,
        "StreamCreationTimestamp": 1.7e9, "EnhancedMonitoring": [], "EncryptionType": "KMS",
        "KeyId": "alias/aws/kinesis", "OpenShardCount": 7, "ConsumerCount": 2
    }}))]);
    let facts = probe(&service).await.stream_facts().await.unwrap();
    assert_eq!(
        facts,
        StreamFacts {
            arn: "arn:x".to_owned(),
            status: "UPDATING".to_owned(),
            open_shards: 7,
            retention_hours: 48,
            kms_key: Some("alias/aws/kinesis".to_owned()),
            mode: Some("ON_DEMAND".to_owned()),
            consumers: Some(2),
        }
    );
}

#[tokio::test]
async fn all_pages_of_consumers_are_listed_and_a_circle_ends() {
    let page = |name: &str, next: &str| {
        Reply::ok(
            json!({"Consumers": [{"ConsumerName": name, "ConsumerARN": format!("arn:{name}"),
            "ConsumerStatus": "ACTIVE", "ConsumerCreationTimestamp": 1.7e9}], "NextToken": next}),
        )
    };
    let service = FakeService::script(vec![page("a", "1"), page("b", "2"), page("c", "2")]);
    let consumers = probe(&service).await.consumers("arn:x").await.unwrap();
    let names: Vec<&str> = consumers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_consumer_that_is_not_registered_is_no_error() {
    let which = ConsumerRef::Name {
        stream: "arn:x".to_owned(),
        name: "app".to_owned(),
    };
    let service = FakeService::script(vec![Reply::error(400, "ResourceNotFoundException", "no")]);
    assert_eq!(probe(&service).await.consumer(&which).await, Ok(None));
    let service = FakeService::script(vec![Reply::error(400, "AccessDeniedException", "no")]);
    let error = probe(&service).await.consumer(&which).await.unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Denied);
}

#[cfg(feature = "local")]
#[tokio::test]
async fn a_table_is_described_as_it_is() {
    let service = crate::aws::testing::embedded_dynamodb();
    let probe = probe(&service).await;
    assert_eq!(probe.table_facts().await, Ok(None));
    probe.store.ensure_table().await.unwrap();
    let facts = probe.table_facts().await.unwrap().unwrap();
    assert_eq!(
        facts.key,
        [KeyPart {
            name: "leaseKey".to_owned(),
            role: "HASH".to_owned(),
            kind: "S".to_owned()
        }]
    );
    assert_eq!((facts.provisioned, facts.indexes.len()), (None, 0));
}

#[tokio::test]
async fn capacities_and_indexes_are_told() {
    let key = |name: &str, role: &str| json!({"AttributeName": name, "KeyType": role});
    let service = FakeService::script(vec![Reply::ok(json!({"Table": {
        "TableStatus": "ACTIVE", "DeletionProtectionEnabled": true,
        "AttributeDefinitions": [
            {"AttributeName": "leaseKey", "AttributeType": "S"},
            {"AttributeName": "leaseOwner", "AttributeType": "S"}],
        "KeySchema": [key("leaseKey", "HASH")],
        "ProvisionedThroughput": {"ReadCapacityUnits": 10, "WriteCapacityUnits": 5},
        "GlobalSecondaryIndexes": [{"IndexName": "LeaseOwnerToLeaseKeyIndex", "IndexStatus": "CREATING",
            "KeySchema": [key("leaseOwner", "HASH"), key("leaseKey", "RANGE")]}]
    }}))]);
    let facts = probe(&service).await.table_facts().await.unwrap().unwrap();
    assert_eq!(facts.provisioned, Some((10, 5)));
    assert!(facts.deletion_protection);
    assert_eq!(facts.indexes[0].status, "CREATING");
    assert_eq!(facts.indexes[0].key[1].role, "RANGE");
}

/// STS and IAM speak XML; the fake is a real answer of each.
#[tokio::test]
async fn identity_and_simulation_are_read() {
    let quick = || crate::aws::clients::ClientSettings {
        call_timeout: Duration::from_secs(2),
        ..settings()
    };
    let sts = FakeService::script(vec![Reply::Text(
        200,
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:sts::111122223333:assumed-role/reader/me</Arn><UserId>X</UserId><Account>111122223333</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>",
    )]);
    let authority = Authority::new(&quick(), &quick(), &sts.access())
        .await
        .unwrap();
    assert_eq!(authority.caller().await.unwrap().account, "111122223333");

    let iam = FakeService::script(vec![Reply::Text(
        200,
        "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><SimulatePrincipalPolicyResult>\
         <IsTruncated>false</IsTruncated><EvaluationResults>\
         <member><EvalActionName>dynamodb:PutItem</EvalActionName><EvalDecision>allowed</EvalDecision></member>\
         <member><EvalActionName>dynamodb:DeleteItem</EvalActionName><EvalDecision>implicitDeny</EvalDecision></member>\
         <member><EvalActionName>dynamodb:CreateTable</EvalActionName><EvalDecision>explicitDeny</EvalDecision></member>\
         <member><EvalActionName>dynamodb:UpdateItem</EvalActionName><EvalDecision>implicitDeny</EvalDecision>\
         <MissingContextValues><member>aws:SourceVpc</member></MissingContextValues></member>\
         </EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>",
    )]);
    let authority = Authority::new(&quick(), &quick(), &iam.access())
        .await
        .unwrap();
    let decisions = authority
        .simulate("arn:role", &["dynamodb:PutItem".to_owned()], "arn:t", "app")
        .await
        .unwrap();
    let decisions: Vec<Decision> = decisions
        .into_iter()
        .map(|(_, decision)| decision)
        .collect();
    assert_eq!(
        decisions,
        [
            Decision::Allowed,
            Decision::NotAllowed,
            Decision::Forbidden,
            Decision::DependsOn(vec!["aws:SourceVpc".to_owned()])
        ]
    );
}

#[tokio::test]
async fn a_simulator_that_may_not_be_asked_says_so() {
    let iam = FakeService::script(vec![Reply::Text(
        403,
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
         <Code>AccessDenied</Code><Message>not you</Message></Error><RequestId>r</RequestId></ErrorResponse>",
    )]);
    let authority = Authority::new(&settings(), &settings(), &iam.access())
        .await
        .unwrap();
    let why = authority
        .simulate("arn:role", &[], "arn:t", "app")
        .await
        .unwrap_err();
    assert!(why.contains("iam:SimulatePrincipalPolicy"), "{why}");
}

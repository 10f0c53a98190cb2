//! Policies of configurations.

use super::*;
use crate::check::testing::{MINIMAL, load, with};

fn policy(lines: &str) -> Policy {
    let config = with(lines);
    build(&config, &Scope::of(&config))
}

fn sids(policy: &Policy) -> Vec<&'static str> {
    policy.statements.iter().map(|s| s.sid).collect()
}

fn statement<'a>(policy: &'a Policy, sid: &str) -> &'a Statement {
    policy
        .statements
        .iter()
        .find(|s| s.sid == sid)
        .unwrap_or_else(|| panic!("no {sid} in {policy:#?}"))
}

#[test]
fn polling_without_metrics_needs_the_least() {
    let policy = policy("metricsLevel = NONE");
    assert_eq!(
        sids(&policy),
        [
            "ReadStream",
            "LeaseTable",
            "Kcl3LeaseTableIndex",
            "Kcl3LeaseTableIndexRead",
            "Kcl30To34Tables"
        ]
    );
    assert_eq!(
        statement(&policy, "ReadStream").actions,
        [
            "kinesis:DescribeStreamSummary",
            "kinesis:ListShards",
            "kinesis:GetShardIterator",
            "kinesis:GetRecords"
        ]
    );
    assert_eq!(
        statement(&policy, "ReadStream").resources,
        ["arn:aws:kinesis:eu-west-1:*:stream/orders"]
    );
    assert_eq!(
        statement(&policy, "Kcl3LeaseTableIndexRead").resources,
        ["arn:aws:dynamodb:eu-west-1:*:table/app/index/LeaseOwnerToLeaseKeyIndex"]
    );
}

#[test]
fn account_region_and_partition_come_from_the_arn() {
    let text = MINIMAL.replace(
        "regionName = eu-west-1",
        "regionName = cn-north-1\ntableName = leases\n\
         streamArn = arn:aws-cn:kinesis:cn-north-1:111122223333:stream/orders",
    );
    let (config, _) = load(&text).unwrap();
    let policy = build(&config, &Scope::of(&config));
    assert_eq!(
        statement(&policy, "ReadStream").resources,
        ["arn:aws-cn:kinesis:cn-north-1:111122223333:stream/orders"]
    );
    assert_eq!(
        statement(&policy, "LeaseTable").resources,
        ["arn:aws-cn:dynamodb:cn-north-1:111122223333:table/leases"]
    );
    assert!(!policy.notes.iter().any(|note| note.contains("'*'")));
}

#[test]
fn what_is_not_known_is_a_star_and_a_note() {
    let (config, _) = load(&MINIMAL.replace("regionName = eu-west-1", "")).unwrap();
    let policy = build(&config, &Scope::of(&config));
    assert_eq!(
        statement(&policy, "LeaseTable").resources,
        ["arn:*:dynamodb:*:*:table/app"]
    );
    for what in ["account", "region"] {
        let expected = format!("the {what} is not known");
        assert!(policy.notes.iter().any(|note| note.starts_with(&expected)));
    }
}

#[test]
fn metrics_are_limited_to_the_applications_namespace() {
    let policy = policy("metricsLevel = SUMMARY");
    let document = document(&policy);
    let metrics = document["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .find(|statement| statement["Sid"] == "Metrics")
        .unwrap();
    assert_eq!(
        metrics["Condition"],
        json!({"StringEquals": {"cloudwatch:namespace": "app"}})
    );
    assert_eq!(document["Version"], "2012-10-17");
}

#[test]
fn fan_out_registers_and_subscribes_unless_its_arn_is_given() {
    let fanout = MINIMAL.replace("POLLING", "FANOUT");
    let (config, _) = load(&format!("{fanout}fanoutConfig.consumerName = c\n")).unwrap();
    let policy = build(&config, &Scope::of(&config));
    assert_eq!(
        statement(&policy, "FanOutRegistration").actions,
        ["kinesis:RegisterStreamConsumer"]
    );
    assert_eq!(
        statement(&policy, "FanOutConsumer").resources,
        ["arn:aws:kinesis:eu-west-1:*:stream/orders/consumer/c:*"]
    );
    let arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/orders/consumer/c:1";
    let (config, _) = load(&format!("{fanout}fanoutConfig.consumerArn = {arn}\n")).unwrap();
    let policy = build(&config, &Scope::of(&config));
    assert_eq!(statement(&policy, "FanOutConsumer").resources, [arn]);
    assert_eq!(
        statement(&policy, "FanOutConsumer").actions,
        ["kinesis:SubscribeToShard"]
    );
    assert!(!sids(&policy).contains(&"FanOutRegistration"));
}

#[test]
fn roles_are_assumed_and_tell_the_tables_account() {
    let text = MINIMAL.replace(
        "DefaultCredentialsProvider",
        "StsAssumeRoleCredentialsProvider|arn:aws:iam::444455556666:role/reader|me",
    );
    let (config, _) = load(&format!("{text}leaseTablePitrEnabled = true\n")).unwrap();
    let policy = build(&config, &Scope::of(&config));
    assert_eq!(
        statement(&policy, "AssumeRole").resources,
        ["arn:aws:iam::444455556666:role/reader"]
    );
    assert_eq!(
        statement(&policy, "LeaseTableRecovery").resources,
        ["arn:aws:dynamodb:eu-west-1:444455556666:table/app"]
    );
}

/// IAM refuses other Sids, and two of the same.
#[test]
fn sids_are_letters_and_digits_and_differ() {
    let fanout = MINIMAL.replace("POLLING", "FANOUT").replace(
        "DefaultCredentialsProvider",
        "StsAssumeRoleCredentialsProvider|arn:aws:iam::444455556666:role/reader|me",
    );
    let (config, _) = load(&format!("{fanout}leaseTablePitrEnabled = true\n")).unwrap();
    let mut sids = sids(&build(&config, &Scope::of(&config)));
    assert_eq!(sids.len(), 10, "{sids:?}");
    assert!(
        sids.iter()
            .all(|sid| sid.bytes().all(|b| b.is_ascii_alphanumeric()))
    );
    sids.sort_unstable();
    sids.dedup();
    assert_eq!(sids.len(), 10, "{sids:?}");
}

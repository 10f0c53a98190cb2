//! Enhanced fan-out on servers that we did not write, and our server under an SDK that we do not use.

use std::process::Command;

use super::peers::Peer;
use super::scene::{PATIENCE, STREAM, Scene, assert_after, assert_right_shards};
use super::support::{Properties, Put, Sandbox, Services, skipped};
use super::tools::Tool;

/// What a properties file without polling keys means.
fn fan_out(scene: &Scene<'_>) -> Properties {
    scene
        .properties()
        .without("retrievalMode")
        .without("idleTimeBetweenReadsInMillis")
}

#[test]
fn killed_and_resumed_on_ministack() {
    let sandbox = Sandbox::new("fan-out-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    killed_and_resumed(&Scene::new(&sandbox, peer.endpoint(), peer.endpoint(), 4));
}

#[test]
fn killed_and_resumed_on_ferrokinesis() {
    let sandbox = Sandbox::new("fan-out-ferrokinesis");
    let (Some(kinesis), Some(dynamodb)) =
        (Peer::ferrokinesis(&sandbox, &[]), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    killed_and_resumed(&Scene::new(
        &sandbox,
        kinesis.endpoint(),
        dynamodb.endpoint(),
        4,
    ));
}

fn killed_and_resumed(scene: &Scene<'_>) {
    let mut puts = scene.aws.put_sized(STREAM, "first", 0, 2_000, 200);
    let mut daemon = scene.daemon(&fan_out(scene));
    daemon.wait_log("Retrieval mode: enhanced fan-out", PATIENCE);
    scene.processed(&puts);
    puts.extend(scene.aws.put_sized(STREAM, "second", 0, 500, 200));
    daemon.kill9();
    puts.extend(scene.aws.put_sized(STREAM, "third", 0, 500, 200));
    let mut daemon = scene.daemon(&fan_out(scene));
    let ledger = scene.processed(&puts);
    daemon.stop_gracefully();
    ledger.assert_sound();
    assert_right_shards(&ledger, &puts);
    let again = ledger.duplicates().len();
    assert!(again <= 1_500, "only what was in flight: {again}");
}

/// ferrokinesis tells children and a continuation in one event, which the service never does.
#[test]
fn splits_and_merges_on_ferrokinesis() {
    let sandbox = Sandbox::new("fan-out-reshard-ferrokinesis");
    let (Some(kinesis), Some(dynamodb)) =
        (Peer::ferrokinesis(&sandbox, &[]), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    let scene = Scene::new(&sandbox, kinesis.endpoint(), dynamodb.endpoint(), 2);
    let (first, second) = ("shardId-000000000000", "shardId-000000000001");
    let mut puts: Vec<Put> = scene.aws.put(STREAM, "whole", 0, 60);
    let mut daemon = scene.daemon(&fan_out(&scene));
    scene.processed(&puts);
    let halves = scene.aws.split(STREAM, first);
    puts.extend(scene.aws.put(STREAM, "split", 0, 60));
    scene.processed(&puts);
    let merged = scene.aws.merge(STREAM, &halves[1], second);
    puts.extend(scene.aws.put(STREAM, "merged", 0, 60));
    let ledger = scene.processed(&puts);
    for half in &halves {
        assert_after(&ledger, first, half);
    }
    assert_after(&ledger, second, &merged);
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_right_shards(&ledger, &puts);
}

/// The SDK for Python, which has its own reader of event streams, on the embedded Kinesis: a backlog,
/// records as they come, the end of a shard with its children, and a refusal.
#[test]
fn the_sdk_for_python_subscribes_to_our_kinesis() {
    const SCRIPT: &str = r#"
import json, sys, time
import boto3
from botocore.config import Config
kinesis = boto3.client("kinesis", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="a",
                       aws_secret_access_key="b", config=Config(retries={"max_attempts": 0}, read_timeout=30))
shard = "shardId-000000000000"
put = lambda n: kinesis.put_record(StreamName="orders", Data=b"r%d" % n, PartitionKey="k", ExplicitHashKey="0")
arn = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]["StreamARN"]
consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="py")["Consumer"]["ConsumerARN"]
numbers = [put(n)["SequenceNumber"] for n in range(3)]
def subscribe(**position):
    return kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=position)["EventStream"]
seen, continuation = [], None
for event in subscribe(Type="TRIM_HORIZON"):
    event = event["SubscribeToShardEvent"]
    seen += [record["Data"].decode() for record in event["Records"]]
    assert all(record["PartitionKey"] == "k" for record in event["Records"])
    continuation = event["ContinuationSequenceNumber"]
    if len(seen) == 3:
        put(3)
    elif len(seen) == 4:
        break
assert seen == ["r0", "r1", "r2", "r3"], seen
try:
    subscribe(Type="LATEST")
    raise SystemExit("the second subscription within five seconds was not refused")
except kinesis.exceptions.ResourceInUseException:
    pass
put(4)
kinesis.split_shard(StreamName="orders", ShardToSplit=shard, NewStartingHashKey=str(1 << 126))
time.sleep(5.5)
rest, children = [], []
for event in subscribe(Type="AFTER_SEQUENCE_NUMBER", SequenceNumber=continuation):
    event = event["SubscribeToShardEvent"]
    rest += [record["Data"].decode() for record in event["Records"]]
    children += [child["ShardId"] for child in event.get("ChildShards", [])]
print(json.dumps([rest, children]))
"#;
    let sandbox = Sandbox::new("fan-out-python");
    let Some(folder) = Tool::Boto3.installed() else {
        return;
    };
    let services = Services::embedded(&sandbox, &[(STREAM, 1)]);
    let output = Command::new(folder.join("bin/python"))
        .args(["-c", SCRIPT, services.kinesis_endpoint()])
        .output();
    let Ok(output) = output else {
        return skipped("the SDK for Python", "cannot be run");
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        said.trim(),
        r#"[["r4"], ["shardId-000000000001", "shardId-000000000002"]]"#
    );
}

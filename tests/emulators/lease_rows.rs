//! The lease table in several DynamoDBs, attribute by attribute: what peers of other versions read.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::peers::Peer;
use super::scene::{APPLICATION, STREAM, Scene};
use super::support::{Sandbox, Services};

const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";
/// The first hash key of the upper half.
const HALF: &str = "170141183460469231731687303715884105728";
const BELOW_HALF: &str = "170141183460469231731687303715884105727";
const LAST: &str = "340282366920938463463374607431768211455";

#[test]
fn in_moto() {
    let sandbox = Sandbox::new("rows-moto");
    let Some(peer) = Peer::moto(&sandbox) else {
        return;
    };
    rows(&sandbox, peer.endpoint());
}

#[test]
fn in_dynoxide() {
    let sandbox = Sandbox::new("rows-dynoxide");
    let Some(peer) = Peer::dynoxide(&sandbox) else {
        return;
    };
    rows(&sandbox, peer.endpoint());
}

#[test]
fn in_ministack() {
    let sandbox = Sandbox::new("rows-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    rows(&sandbox, peer.endpoint());
}

/// The rows' attributes and types, and those values that can be foretold (`leases.md` A.4).
fn rows(sandbox: &Sandbox, dynamodb: &str) {
    let services = Services::embedded(sandbox, &[]);
    let scene = Scene::new(sandbox, services.kinesis_endpoint(), dynamodb, 2);
    let properties = scene
        .properties()
        .set("workerId", "worker-of-the-test")
        .set(
            "clientVersionConfig",
            "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
        );
    let puts = scene.aws.put(STREAM, "r", 0, 20);
    let mut daemon = scene.daemon(&properties);
    scene.processed(&puts);
    let children = scene.aws.split(STREAM, SECOND);
    let puts = scene.aws.put(STREAM, "s", 0, 30);
    scene.processed(&puts);
    scene.finished(SECOND);

    // While it runs: held by name, at the last record of each open shard.
    let table = table(&scene);
    assert_eq!(
        table.keys().collect::<Vec<_>>(),
        [FIRST, SECOND, &children[0], &children[1]]
    );
    let last = |shard: &str| {
        let sequence = puts
            .iter()
            .filter(|put| put.shard == shard)
            .map(|put| put.sequence.clone())
            .next_back();
        sequence.expect("each shard got records")
    };
    let quarter = "255211775190703847597530955573826158592";
    let below_quarter = "255211775190703847597530955573826158591";
    let open = |shard: &str, first: &str, end: &str, parents: &[&str]| {
        let mut row = row(shard, &last(shard), first, end);
        row.insert("leaseOwner".to_owned(), "S worker-of-the-test".to_owned());
        if !parents.is_empty() {
            row.insert("parentShardId".to_owned(), format!("SS {parents:?}"));
        }
        row
    };
    assert_eq!(table[FIRST], open(FIRST, "0", BELOW_HALF, &[]));
    assert_eq!(
        table[&children[0]],
        open(&children[0], HALF, below_quarter, &[SECOND])
    );
    assert_eq!(
        table[&children[1]],
        open(&children[1], quarter, LAST, &[SECOND])
    );
    let mut ended = row(SECOND, "SHARD_END", HALF, LAST);
    ended.insert("childShardIds".to_owned(), format!("SS {children:?}"));
    // Whoever finished a shard may keep the lease until it is cleaned up.
    let mut found = table[SECOND].clone();
    found.remove("leaseOwner");
    assert_eq!(found, ended);

    // After a graceful stop: the same, but nobody's.
    let counters = counters(&scene);
    daemon.stop_gracefully();
    let mut released = self::table(&scene);
    for (shard, row) in &mut released {
        assert!(
            !row.contains_key("leaseOwner"),
            "{shard} is still held: {row:?}"
        );
        let before = table[shard].clone();
        row.insert("leaseOwner".to_owned(), "S worker-of-the-test".to_owned());
        if before.contains_key("leaseOwner") {
            assert_eq!(*row, before, "{shard}");
        }
    }
    for (shard, counter) in self::counters(&scene) {
        assert!(
            counter > counters[&shard] || shard == SECOND,
            "the counter of {shard} did not move at the release"
        );
    }
}

/// A lease's row without owner and relatives.
fn row(shard: &str, checkpoint: &str, first: &str, last: &str) -> BTreeMap<String, String> {
    let row = [
        ("leaseKey", format!("S {shard}")),
        ("entityType", "S LEASE".to_owned()),
        ("leaseCounter", "N".to_owned()),
        ("checkpoint", format!("S {checkpoint}")),
        ("checkpointSubSequenceNumber", "N 0".to_owned()),
        ("ownerSwitchesSinceCheckpoint", "N 0".to_owned()),
        ("startingHashKey", format!("S {first}")),
        ("endingHashKey", format!("S {last}")),
    ];
    row.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Rows by key, with their attributes as type and value; the counter without its value, which renewals raise.
fn table(scene: &Scene<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
    scene
        .aws
        .scan_items(APPLICATION)
        .into_iter()
        .map(|item| {
            // Our mark moves with the counter; every KCL leaves it alone.
            let known = |(name, _): &(&String, &AttributeValue)| *name != "kclDaemonCounter";
            (key(&item), item.iter().filter(known).map(shown).collect())
        })
        .collect()
}

fn counters(scene: &Scene<'_>) -> BTreeMap<String, u64> {
    scene
        .leases()
        .into_iter()
        .map(|(key, row)| (key, row.counter))
        .collect()
}

fn key(item: &HashMap<String, AttributeValue>) -> String {
    item.get("leaseKey")
        .and_then(|value| value.as_s().ok())
        .cloned()
        .expect("every row has its key")
}

fn shown((name, value): (&String, &AttributeValue)) -> (String, String) {
    let text = match value {
        AttributeValue::N(_) if name == "leaseCounter" => "N".to_owned(),
        AttributeValue::N(number) => format!("N {number}"),
        AttributeValue::S(text) => format!("S {text}"),
        AttributeValue::Ss(set) => {
            let mut set = set.clone();
            set.sort();
            format!("SS {set:?}")
        }
        other => format!("{other:?}"),
    };
    (name.clone(), text)
}

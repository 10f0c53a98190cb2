//! Volume, start positions, expired iterators, resuming.

use std::collections::BTreeSet;
use std::time::Duration;

use super::peers::Peer;
use super::scene::{STREAM, Scene, assert_right_shards};
use super::support::{Put, Sandbox, now_micros, until};

/// 40 MB over four shards.
#[test]
fn forty_thousand_records_on_ferrokinesis() {
    let sandbox = Sandbox::new("volume-ferrokinesis");
    let (Some(kinesis), Some(dynamodb)) =
        (Peer::ferrokinesis(&sandbox, &[]), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    let scene = Scene::new(&sandbox, kinesis.endpoint(), dynamodb.endpoint(), 4);
    let half = scene.aws.put_sized(STREAM, "early", 0, 20_000, 1024);
    let mut daemon = scene.daemon(&scene.properties());
    // The other half while the daemon reads.
    let rest = scene.aws.put_sized(STREAM, "late", 0, 20_000, 1024);
    let puts: Vec<Put> = half.into_iter().chain(rest).collect();
    let ledger = scene.processed(&puts);
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_right_shards(&ledger, &puts);
    assert_eq!(ledger.deliveries(), puts.len());
}

/// Both services by ministack, two daemons one after the other.
#[test]
fn stopped_and_resumed_on_ministack() {
    let sandbox = Sandbox::new("resume-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    let scene = Scene::new(&sandbox, peer.endpoint(), peer.endpoint(), 4);
    let mut puts = scene.aws.put_sized(STREAM, "first", 0, 3_000, 200);
    let mut daemon = scene.daemon(&scene.properties());
    scene.processed(&puts);
    daemon.stop_gracefully();
    let rows = scene.leases();
    assert_eq!(rows.len(), 4);
    assert!(rows.values().all(|row| row.owner.is_none()), "{rows:#?}");
    puts.extend(scene.aws.put_sized(STREAM, "second", 0, 3_000, 200));
    let mut daemon = scene.daemon(&scene.properties());
    let ledger = scene.processed(&puts);
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_right_shards(&ledger, &puts);
}

/// A processor slower than its iterators live: ferrokinesis lets them die after two seconds.
#[test]
fn expired_iterators_on_ferrokinesis() {
    let sandbox = Sandbox::new("expiry-ferrokinesis");
    let peers = (
        Peer::ferrokinesis(&sandbox, &["--iterator-ttl-seconds", "2"]),
        Peer::dynoxide(&sandbox),
    );
    let (Some(kinesis), Some(dynamodb)) = peers else {
        return;
    };
    let mut scene = Scene::new(&sandbox, kinesis.endpoint(), dynamodb.endpoint(), 1);
    scene.recorder = scene.recorder.with("sleep", 4);
    let puts = scene.aws.put(STREAM, "slow", 0, 50);
    // One batch of ten ahead, so that the next read waits for the processor.
    let properties = scene
        .properties()
        .set("maxRecords", 10)
        .set("maxPendingProcessRecordsInput", 1);
    let mut daemon = scene.daemon(&properties);
    let ledger = scene.processed(&puts);
    daemon.wait_log("the shard iterator expired", Duration::ZERO);
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
}

/// LATEST: nothing of what was there, everything that comes after the leases are made.
#[test]
fn from_latest_on_ministack() {
    let sandbox = Sandbox::new("latest-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    let scene = Scene::new(&sandbox, peer.endpoint(), peer.endpoint(), 2);
    scene.aws.put(STREAM, "old", 0, 40);
    let mut daemon = scene.daemon(&scene.properties().set("initialPositionInStream", "LATEST"));
    // Until a shard has its place, what is put may be before it.
    let mut number = 0;
    until(
        "a record reaches each shard",
        super::scene::PATIENCE,
        || {
            scene.aws.put(STREAM, "probe", number, 2);
            number += 2;
            let ledger = scene.recorder.ledger();
            ledger
                .of("processRecords")
                .map(|event| event.shard.as_str())
                .collect::<BTreeSet<_>>()
                .len()
                == 2
        },
    );
    let puts = scene.aws.put(STREAM, "new", 0, 40);
    let ledger = scene.processed(&puts);
    daemon.stop_gracefully();
    let old: Vec<&str> = ledger
        .delivered()
        .into_iter()
        .filter(|id| id.starts_with("old"))
        .collect();
    assert!(old.is_empty(), "{old:?}");
    ledger.assert_sound();
    ledger.assert_no_duplicates();
}

#[test]
fn from_a_time_on_kinesis_local() {
    let sandbox = Sandbox::new("time-kinesis-local");
    let (Some(kinesis), Some(dynamodb)) = (Peer::kinesis_local(&sandbox), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    from_a_time(&Scene::new(
        &sandbox,
        kinesis.endpoint(),
        dynamodb.endpoint(),
        2,
    ));
}

#[test]
fn from_a_time_on_ministack() {
    let sandbox = Sandbox::new("time-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    from_a_time(&Scene::new(&sandbox, peer.endpoint(), peer.endpoint(), 2));
}

/// AT_TIMESTAMP between records less than a second apart: no peer here rounds to seconds, nor may we.
fn from_a_time(scene: &Scene<'_>) {
    let gap = Duration::from_millis(400);
    scene.aws.put(STREAM, "old", 0, 40);
    std::thread::sleep(gap);
    let time = now_micros() / 1000;
    std::thread::sleep(gap);
    let puts = scene.aws.put(STREAM, "new", 0, 40);
    let instant = aws_sdk_kinesis::primitives::DateTime::from_millis(time);
    let text = instant
        .fmt(aws_sdk_kinesis::primitives::DateTimeFormat::DateTime)
        .expect("a time of today");
    let properties = scene
        .properties()
        .set("initialPositionInStreamExtended", text);
    let mut daemon = scene.daemon(&properties);
    let ledger = scene.processed(&puts);
    daemon.stop_gracefully();
    let old: Vec<&str> = ledger
        .delivered()
        .into_iter()
        .filter(|id| id.starts_with("old"))
        .collect();
    assert!(old.is_empty(), "{old:?}");
    ledger.assert_sound();
    ledger.assert_no_duplicates();
}

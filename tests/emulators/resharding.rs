//! The daemon through splits and merges: nothing lost, nothing twice, children after their parents.

use super::peers::Peer;
use super::scene::{Scene, assert_after, assert_right_shards};
use super::support::Sandbox;

const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";

/// kinesis-local is the peer that tells the children at the end of a shard.
#[test]
fn with_child_shards_told_by_kinesis_local() {
    let sandbox = Sandbox::new("reshard-kinesis-local");
    let (Some(kinesis), Some(dynamodb)) = (Peer::kinesis_local(&sandbox), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    splits_and_merges(&Scene::new(
        &sandbox,
        kinesis.endpoint(),
        dynamodb.endpoint(),
        2,
    ));
}

/// The same with another DynamoDB.
#[test]
fn with_leases_in_ministack() {
    let sandbox = Sandbox::new("reshard-ministack");
    let (Some(kinesis), Some(dynamodb)) =
        (Peer::kinesis_local(&sandbox), Peer::ministack(&sandbox))
    else {
        return;
    };
    splits_and_merges(&Scene::new(
        &sandbox,
        kinesis.endpoint(),
        dynamodb.endpoint(),
        2,
    ));
}

/// ferrokinesis ends a shard without a word about children: the daemon asks ListShards for them.
#[test]
fn without_child_shards_on_ferrokinesis() {
    let sandbox = Sandbox::new("reshard-ferrokinesis");
    let (Some(kinesis), Some(dynamodb)) =
        (Peer::ferrokinesis(&sandbox, &[]), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    splits_and_merges(&Scene::new(
        &sandbox,
        kinesis.endpoint(),
        dynamodb.endpoint(),
        2,
    ));
}

fn splits_and_merges(scene: &Scene<'_>) {
    let (aws, stream) = (&scene.aws, super::scene::STREAM);
    let properties = scene.properties();

    // A split while a daemon runs.
    let mut puts = aws.put(stream, "whole", 0, 60);
    let mut daemon = scene.daemon(&properties);
    scene.processed(&puts);
    let halves = aws.split(stream, FIRST);
    assert_eq!(halves.len(), 2, "{halves:?}");
    puts.extend(aws.put(stream, "split", 0, 60));
    let ledger = scene.processed(&puts);
    for half in &halves {
        assert_after(&ledger, FIRST, half);
    }
    let row = scene.finished(FIRST);
    assert_eq!(row.children, halves);
    for half in &halves {
        assert_eq!(scene.leases()[half].parents, [FIRST]);
    }

    // A merge while it runs: the child waits for both parents.
    let merged = aws.merge(stream, &halves[1], SECOND);
    puts.extend(aws.put(stream, "merged", 0, 60));
    let ledger = scene.processed(&puts);
    let mut parents = [halves[1].clone(), SECOND.to_owned()];
    parents.sort();
    for parent in &parents {
        assert_after(&ledger, parent, &merged);
        assert_eq!(
            scene.finished(parent).children,
            std::slice::from_ref(&merged)
        );
    }
    assert_eq!(scene.leases()[&merged].parents, parents);

    // Both once more while nobody runs.
    daemon.stop_gracefully();
    puts.extend(aws.put(stream, "unseen", 0, 60));
    let quarters = aws.split(stream, &merged);
    puts.extend(aws.put(stream, "later", 0, 60));
    let last = aws.merge(stream, &halves[0], &quarters[0]);
    puts.extend(aws.put(stream, "last", 0, 60));
    let mut daemon = scene.daemon(&properties);
    let ledger = scene.processed(&puts);
    for (parent, child) in [
        (&merged, &quarters[0]),
        (&merged, &quarters[1]),
        (&halves[0], &last),
        (&quarters[0], &last),
    ] {
        assert_after(&ledger, parent, child);
    }
    daemon.stop_gracefully();

    let ledger = scene.processed(&puts);
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_right_shards(&ledger, &puts);
    for (key, row) in scene.leases() {
        let open = [quarters[1].as_str(), last.as_str()].contains(&key.as_str());
        assert_eq!(
            row.checkpoint == "SHARD_END",
            !open,
            "{key} is at {}",
            row.checkpoint
        );
        assert_eq!(row.owner, None, "{key} is still held");
    }
}

/// An application that comes late begins with the parents, and still gets everything in order.
#[test]
fn a_new_application_on_a_resharded_stream() {
    let sandbox = Sandbox::new("reshard-late");
    let (Some(kinesis), Some(dynamodb)) = (Peer::kinesis_local(&sandbox), Peer::dynoxide(&sandbox))
    else {
        return;
    };
    let scene = Scene::new(&sandbox, kinesis.endpoint(), dynamodb.endpoint(), 2);
    let (aws, stream) = (&scene.aws, super::scene::STREAM);
    let mut puts = aws.put(stream, "before", 0, 40);
    let children = aws.split(stream, SECOND);
    puts.extend(aws.put(stream, "after", 0, 40));
    let mut daemon = scene.daemon(&scene.properties());
    let ledger = scene.processed(&puts);
    for child in &children {
        assert_after(&ledger, SECOND, child);
    }
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_right_shards(&ledger, &puts);
}

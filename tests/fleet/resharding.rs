//! Splits and merges under load.

use std::collections::HashMap;

use super::support::{Ledger, Put, until};
use super::world::{World, seconds, wait_flow, wait_processed};

/// Sees that no child shard began before all of its parents were checkpointed at their end (I.23).
#[track_caller]
pub fn assert_parents_first(world: &World, ledger: &Ledger) {
    let mut checked = 0;
    for shard in world.aws.list_shards("stream") {
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        for parent in parents.into_iter().flatten() {
            let ended = ledger
                .of_shard("shardEnded", parent)
                .map(|e| e.t)
                .next()
                .unwrap_or_else(|| panic!("{parent} got shardEnded\n{}", ledger.outline()));
            let stored = ledger
                .of_shard("checkpoint", parent)
                .find(|e| e.t >= ended && e.error.is_none())
                .unwrap_or_else(|| panic!("{parent} checkpointed its end\n{}", ledger.outline()));
            let begun = ledger
                .of_shard("initialize", shard.shard_id())
                .next()
                .map(|e| e.t);
            let begun = begun
                .unwrap_or_else(|| panic!("{} was begun\n{}", shard.shard_id(), ledger.outline()));
            // The child process writes a moment after the daemon's work is done.
            assert!(
                begun >= stored.t - 50_000,
                "{} before the end of {parent}\n{}",
                shard.shard_id(),
                ledger.outline()
            );
            let late = ledger
                .of_shard("processRecords", parent)
                .any(|e| e.t > begun);
            assert!(!late, "{parent} got records after its child began");
            checked += 1;
        }
    }
    assert!(checked > 0, "something was resharded");
}

/// Sees that the records of each place in the hash space came in the order they were put, across
/// shards: `load-ROUND-PLACE`.
#[track_caller]
pub fn assert_order_across_shards(ledger: &Ledger) {
    let mut last: HashMap<&str, (u64, &str)> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for event in ledger.of("processRecords") {
        for record in &event.records {
            let Some((round, place)) = record
                .id()
                .strip_prefix("load-")
                .and_then(|rest| rest.split_once('-'))
            else {
                continue;
            };
            if !seen.insert(record.id()) {
                continue;
            }
            let round: u64 = round.parse().expect("a number");
            if let Some((before, shard)) = last.insert(place, (round, &event.shard)) {
                assert!(
                    round > before,
                    "place {place}: {round} in {} after {before} in {shard}",
                    event.shard
                );
            }
        }
    }
    assert!(!last.is_empty());
}

#[test]
fn splits_and_merges_under_load() {
    let world = World::new("reshard", 2);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 3_000);
    let watch = world.watch();
    let load = world.load(4);
    let mut daemon = world.start(&properties);
    wait_flow(&recorder, 2, 3);

    let split = world.aws.split("stream", "shardId-000000000000");
    assert_eq!(split.len(), 2);
    wait_flow(&recorder, 3, 3);
    let merged = world.aws.merge("stream", &split[1], "shardId-000000000001");
    wait_flow(&recorder, 2, 3);
    // Again before the fleet has seen the last one through.
    let again = world.aws.split("stream", &merged);
    world.aws.split("stream", &again[0]);
    wait_flow(&recorder, 4, 3);

    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    ledger.assert_sound();
    // Nothing failed, nobody stole.
    ledger.assert_no_duplicates();
    assert_parents_first(&world, &ledger);
    assert_order_across_shards(&ledger);

    // Finished leases go as soon as their children progressed; the others stay.
    let open = world.aws.open_shards("stream");
    until(
        "the leases of finished shards are deleted",
        seconds(40),
        || world.aws.leases("app").into_keys().collect::<Vec<_>>() == open,
    );
    watch.finish();
    daemon.stop_gracefully();
}

#[test]
fn rows_of_finished_shards_name_their_children() {
    let world = World::new("shard-end", 2);
    let recorder = world.recorder();
    let properties = world
        .properties(&recorder, 3_000)
        .set("cleanupLeasesUponShardCompletion", false);
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let mut daemon = world.start(&properties);
    wait_processed(&recorder, &ids, seconds(20));
    let merged = world
        .aws
        .merge("stream", "shardId-000000000000", "shardId-000000000001");
    let more: Vec<Put> = world.aws.put("stream", "b", 0, 20);
    let more: Vec<&str> = more.iter().map(|put| put.id.as_str()).collect();
    let ledger = wait_processed(&recorder, &more, seconds(30));
    daemon.stop_gracefully();
    assert_parents_first(&world, &ledger);

    let rows = world.aws.leases("app");
    assert_eq!(rows.len(), 3, "{rows:#?}");
    for parent in ["shardId-000000000000", "shardId-000000000001"] {
        assert_eq!(rows[parent].checkpoint, "SHARD_END");
        assert_eq!(rows[parent].children, [merged.as_str()]);
    }
    assert_eq!(
        rows[&merged].parents,
        ["shardId-000000000000", "shardId-000000000001"]
    );
    for parent in ["shardId-000000000000", "shardId-000000000001"] {
        let events: Vec<&str> = ledger
            .events
            .iter()
            .filter(|e| e.shard == parent)
            .map(|e| e.event.as_str())
            .collect();
        assert_eq!(
            events[events.len() - 3..],
            ["shardEnded", "checkpoint", "end"],
            "{parent}: no leaseLost after it"
        );
    }
}

/// One parent of a merged shard is done at once, the other has work for seconds.
#[test]
fn a_merged_shard_waits_for_both_parents() {
    let world = World::new("slow-parent", 2);
    let recorder = world
        .recorder()
        .with("sleep", "0.7")
        .with("sleep.shard", "001");
    let properties = world.properties(&recorder, 3_000).set("maxRecords", 5);
    let mut ids: Vec<String> = world
        .aws
        .put("stream", "old", 0, 40)
        .into_iter()
        .map(|put| put.id)
        .collect();
    world
        .aws
        .merge("stream", "shardId-000000000000", "shardId-000000000001");
    let new = world.aws.put("stream", "new", 0, 10);
    ids.extend(new.into_iter().map(|put| put.id));
    let mut daemon = world.start(&properties);
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    daemon.stop_gracefully();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_parents_first(&world, &ledger);
    let done = |shard| ledger.of_shard("shardEnded", shard).next().map(|e| e.t);
    let (quick, slow) = (done("shardId-000000000000"), done("shardId-000000000001"));
    let apart = slow.zip(quick).map(|(slow, quick)| slow - quick);
    assert!(
        apart > Some(1_000_000),
        "the slow parent ends later: {apart:?}"
    );
}

#[test]
fn two_workers_see_a_reshard_through() {
    let world = World::new("reshard-two", 4);
    let recorder = world.recorder();
    let properties = world.properties(&recorder, 3_000);
    let watch = world.watch();
    let load = world.load(8);
    let _first = world.start(&properties);
    let mut second = world.start(&properties);
    world.wait_shares(vec![2, 2], seconds(30));
    wait_flow(&recorder, 4, 2);
    world.aws.update_shard_count("stream", 8);
    world.wait_shares(vec![4, 4], seconds(60));
    wait_flow(&recorder, 8, 2);
    // And a worker that is killed in the middle of the next one.
    world.aws.update_shard_count("stream", 4);
    second.kill9();
    let open = world.aws.open_shards("stream");
    until("only open shards have leases", seconds(60), || {
        world.aws.leases("app").into_keys().collect::<Vec<_>>() == open
    });
    wait_flow(&recorder, 4, 2);
    let ids = load.stop_ids();
    let ledger = wait_processed(&recorder, &ids, seconds(30));
    ledger.assert_sound();
    assert_order_across_shards(&ledger);
    watch.finish();
}

#[test]
fn a_processor_that_forgets_the_checkpoint_at_the_end_is_asked_again_and_replaced() {
    let world = World::new("forgetful", 1);
    let recorder = world
        .recorder()
        .with("no-checkpoint-at-shard-end", 1)
        .with("no-checkpoint-at-shard-end.shard", "000")
        .with("no-checkpoint-at-shard-end.lives", 1);
    let properties = world.properties(&recorder, 5_000);
    let ids: Vec<String> = world
        .aws
        .put("stream", "a", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let daemon = world.start(&properties);
    wait_processed(&recorder, &ids, seconds(20));
    world.aws.split("stream", "shardId-000000000000");
    let more: Vec<String> = world
        .aws
        .put("stream", "b", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let ledger = wait_processed(&recorder, &more, seconds(60));
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    let parent = "shardId-000000000000";
    let asked: Vec<u32> = ledger
        .of_shard("shardEnded", parent)
        .map(|e| e.pid)
        .collect();
    let lives: Vec<u32> = ledger
        .of_shard("initialize", parent)
        .map(|e| e.pid)
        .collect();
    assert_eq!(lives.len(), 2, "replaced once\n{}", ledger.outline());
    assert!(
        asked.iter().filter(|pid| **pid == lives[0]).count() >= 2,
        "asked again first: {asked:?}"
    );
    assert_eq!(
        asked.iter().filter(|pid| **pid == lives[1]).count(),
        1,
        "{asked:?}"
    );
    let ended = ledger
        .of_shard("shardEnded", parent)
        .last()
        .expect("asked")
        .t;
    for event in ledger.of("initialize").filter(|e| e.shard != parent) {
        assert!(
            event.t > ended,
            "children wait for the checkpoint\n{}",
            ledger.outline()
        );
    }
    daemon.wait_log(
        "the processor did not checkpoint at the end of the shard",
        seconds(1),
    );
}

//! Where reading starts, and where it goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kcl_daemon::core::aggregate::{Aggregator, NewRecord};

use super::support::{Ledger, until};
use super::world::{World, seconds, wait_flow, wait_processed};

/// Rounds of the load (`load-ROUND-PLACE`) that were processed in a place.
fn rounds(ledger: &Ledger, place: &str) -> Vec<u64> {
    let mut rounds: Vec<u64> = ledger
        .processed()
        .into_iter()
        .filter_map(|id| id.strip_prefix("load-")?.split_once('-'))
        .filter(|(_, at)| *at == place)
        .map(|(round, _)| round.parse().expect("a number"))
        .collect();
    rounds.sort_unstable();
    rounds
}

/// Sees that from the first record on every record of each place was processed.
#[track_caller]
fn assert_no_gap(ledger: &Ledger, places: u32, last: &[String]) {
    for place in 0..places {
        let rounds = rounds(ledger, &place.to_string());
        let put: Vec<u64> = last
            .iter()
            .filter_map(|id| id.strip_prefix("load-")?.split_once('-'))
            .filter(|(_, at)| *at == place.to_string())
            .map(|(round, _)| round.parse().expect("a number"))
            .filter(|round| *round >= rounds[0])
            .collect();
        assert_eq!(rounds, put, "place {place}");
        assert!(rounds.len() > 10, "place {place}: {rounds:?}");
    }
}

#[test]
fn latest_begins_with_new_records_and_loses_none_of_them() {
    let world = World::new("latest", 2);
    let recorder = world.recorder();
    let properties = world
        .properties(&recorder, 5_000)
        .set("initialPositionInStream", "LATEST");
    world.aws.put("stream", "old", 0, 50);
    let mut daemon = world.start(&properties);
    until("both children are ready", seconds(20), || {
        recorder.ledger().of("ready").count() == 2
    });
    let load = world.load(2);
    wait_flow(&recorder, 2, 10);
    let ids = load.stop_ids();
    // The last round tells that all before it was seen.
    wait_processed(&recorder, &ids[ids.len() - 2..], seconds(20));
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    ledger.assert_sound();
    ledger.assert_no_duplicates();
    assert_no_gap(&ledger, 2, &ids);
    assert!(
        ledger.delivered().iter().all(|id| id.starts_with("load-")),
        "nothing from before the start"
    );
}

/// Between the first record and the first checkpoint the table says LATEST only.
#[test]
fn a_crash_before_the_first_checkpoint_on_latest_loses_nothing() {
    let world = World::new("latest-crash", 1);
    let recorder = world
        .recorder()
        .with("crash-at-batch", 1)
        .with("crash-at-batch.lives", 2);
    let properties = world
        .properties(&recorder, 5_000)
        .set("initialPositionInStream", "LATEST");
    let mut daemon = world.start(&properties);
    until("the child is ready", seconds(20), || {
        recorder.ledger().of("ready").count() == 1
    });
    let load = world.load(1);
    until("the third child works", seconds(20), || {
        recorder.ledger().of("done").count() >= 3
    });
    let ids = load.stop_ids();
    wait_processed(&recorder, &ids[ids.len() - 1..], seconds(20));
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    ledger.assert_sound();
    let first = ledger
        .of("processRecords")
        .next()
        .expect("records came")
        .records[0]
        .id();
    assert!(
        ledger.processed().contains(first),
        "what the first child had is not lost"
    );
    assert_no_gap(&ledger, 1, &ids);
}

#[test]
fn at_timestamp_begins_there() {
    let world = World::new("timestamp", 2);
    let recorder = world.recorder();
    world.aws.put("stream", "old", 0, 20);
    // The property counts whole seconds.
    std::thread::sleep(Duration::from_millis(2100));
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let ids: Vec<String> = world
        .aws
        .put("stream", "new", 0, 20)
        .into_iter()
        .map(|put| put.id)
        .collect();
    let properties = world
        .properties(&recorder, 5_000)
        .without("initialPositionInStream")
        .set("initialPositionInStreamExtended", at);
    let mut daemon = world.start(&properties);
    wait_processed(&recorder, &ids, seconds(20));
    let rows = world.aws.scan_leases("app");
    daemon.stop_gracefully();
    let ledger = recorder.ledger();
    ledger.assert_sound();
    assert!(
        ledger.delivered().iter().all(|id| id.starts_with("new-")),
        "{:?}",
        ledger.delivered()
    );
    assert!(
        ledger
            .of("initialize")
            .all(|e| e.sequence.as_deref() == Some("AT_TIMESTAMP")),
        "{rows:#?}"
    );
}

/// Checkpoints inside a KPL aggregate: the next process, and the next daemon, go on behind them.
#[test]
fn a_checkpoint_inside_an_aggregate_is_resumed_there() {
    let world = World::new("aggregate", 1);
    let recorder = world
        .recorder()
        .with("checkpoint-then-crash", 4)
        .with("checkpoint-then-crash.lives", 2);
    let place = world.aws.hash_keys("stream")[0];
    let mut aggregator = Aggregator::new();
    for n in 0..10 {
        let data = format!("agg-{n}|");
        aggregator.add(&NewRecord {
            partition_key: "user",
            explicit_hash_key: Some(place),
            data: data.as_bytes(),
        });
    }
    let aggregate = aggregator.finish();
    let (_, sequence) = world.aws.put_bytes("stream", "carrier", place, &aggregate);
    let properties = world.properties(&recorder, 3_000);

    let mut first = world.start(&properties);
    until("the second child crashed, too", seconds(20), || {
        recorder.ledger().of("crash").count() == 2
    });
    // Before a third child: another process goes on with what the table says.
    first.kill9();
    let row = world.aws.scan_leases("app").remove(0);
    assert_eq!((row.checkpoint.as_str(), row.sub), (sequence.as_str(), 7));
    let mut second = world.start(&properties);
    wait_processed(&recorder, &["agg-8", "agg-9"], seconds(20));
    second.stop_gracefully();

    let ledger = recorder.ledger();
    ledger.assert_sound();
    let starts: Vec<(&str, u64)> = ledger
        .of("initialize")
        .map(|e| {
            (
                e.sequence.as_deref().unwrap_or_default(),
                e.sub.unwrap_or(99),
            )
        })
        .collect();
    assert_eq!(
        starts,
        [
            ("TRIM_HORIZON", 0),
            (sequence.as_str(), 3),
            (sequence.as_str(), 7)
        ]
    );
    let given: Vec<Vec<&str>> = ledger
        .of("processRecords")
        .map(|e| e.records.iter().map(|r| r.id()).collect())
        .collect();
    let ids: Vec<String> = (0..10).map(|n| format!("agg-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(given, [&ids[..], &ids[4..], &ids[8..]]);
    let subs: Vec<u64> = ledger
        .of("processRecords")
        .flat_map(|e| e.records.iter().map(|r| r.1))
        .take(10)
        .collect();
    assert_eq!(subs, (0..10).collect::<Vec<_>>());
    let row = world.aws.scan_leases("app").remove(0);
    assert_eq!((row.checkpoint.as_str(), row.sub), (sequence.as_str(), 9));
}

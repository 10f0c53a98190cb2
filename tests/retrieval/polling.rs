//! Limits of reading by GetRecords.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_daemon::core::aggregate::{Aggregator, NewRecord};
use kcl_daemon::fetch::Budget;
use kcl_daemon::local::kinesis::{Options, Position, ShardId as LocalShard};

use super::faults::{Call, Fault, Plan};
use super::world::{Reading, STREAM, Way, World, named, on_virtual_time, texts};

const SECOND: Duration = Duration::from_secs(1);

/// The most calls in any window of this length.
fn densest(calls: &[Call], window: Duration) -> usize {
    (0..calls.len())
        .map(|from| {
            calls[from..]
                .iter()
                .take_while(|call| call.at < calls[from].at + window)
                .count()
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn hundreds_of_shards_do_not_read_in_step() {
    on_virtual_time(async {
        const SHARDS: usize = 200;
        let world = World::new(SHARDS, Way::Polling).await;
        let readings: Vec<_> = (0..SHARDS as u64)
            .map(|shard| world.fetch(shard, "TRIM_HORIZON"))
            .collect();
        world.pass(10 * SECOND).await;
        drop(readings);
        let calls = world.door.calls_of("GetRecords");
        // Idle for a second: 200 a second, evenly 20 in 100 ms.
        let later: Vec<Call> = calls
            .into_iter()
            .filter(|call| call.at > 2 * SECOND)
            .collect();
        assert!((1_300..=1_700).contains(&later.len()), "{}", later.len());
        let densest = densest(&later, Duration::from_millis(100));
        assert!(densest <= 45, "{densest} of {SHARDS} shards in 100 ms");
    });
}

#[test]
fn a_shard_is_read_five_times_a_second_at_most() {
    on_virtual_time(async {
        let mut world = World::new(1, Way::Polling).await;
        world.settings.max_records = 1;
        world.put(named("a", 60));
        world.pass(60 * SECOND).await;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(60).await;
        let calls = world.door.calls_of("GetRecords");
        assert!(densest(&calls, SECOND) <= 5);
        let took = world.clock.now().since_origin() - 60 * SECOND;
        assert!(
            took < 13 * SECOND,
            "behind the tip nothing else slows it: {took:?}"
        );
    });
}

/// Another consumer takes three of the five reads a second, all the time.
#[test]
fn the_limit_is_shared_with_other_consumers() {
    on_virtual_time(async {
        let options = Options {
            enforce_limits: true,
            ..Options::default()
        };
        let mut world = World::with(1, Way::Polling, options).await;
        world.settings.max_records = 5;
        world.put(named("a", 900));
        world.pass(60 * SECOND).await;
        let mut iterator = world
            .kinesis(|engine, now| {
                engine.get_shard_iterator(STREAM, LocalShard(0), &Position::TrimHorizon, now)
            })
            .expect("an iterator");
        let started = world.clock.now();
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        let (mut theirs, mut refused) = (0, 0);
        while reading.read.len() < 900 {
            let turn = tokio::time::timeout(Duration::from_millis(333), reading.until(900));
            let _ = turn.await;
            let answer =
                world.kinesis(|engine, now| engine.get_records(&iterator, Some(1), None, now));
            match answer {
                Ok(page) => {
                    theirs += 1;
                    iterator = page.next_iterator.unwrap_or(iterator);
                }
                Err(_) => refused += 1,
            }
        }
        assert_eq!(reading.read, named("a", 900));
        let took = world.clock.now().since(started);
        // 180 reads at two a second would be 90 s.
        assert!(took < 240 * SECOND, "it gets on: {took:?}");
        assert!(
            refused * 4 <= theirs,
            "the other consumer is let live: {refused} of its reads were refused, {theirs} were not"
        );
    });
}

#[test]
fn near_the_tip_the_threshold_slows_reads_down() {
    on_virtual_time(async {
        let reads_in_a_minute = async |threshold: i64| {
            let mut world = World::new(1, Way::Polling).await;
            world.settings.pace.idle = Duration::from_millis(200);
            world.settings.pace.reduced_tps_threshold = threshold;
            let reading = world.fetch(0, "TRIM_HORIZON");
            world.pass(60 * SECOND).await;
            drop(reading);
            world.door.calls_of("GetRecords").len()
        };
        let (fast, slow) = (reads_in_a_minute(0).await, reads_in_a_minute(5_000).await);
        assert!((250..=301).contains(&fast), "{fast}");
        assert!((11..=13).contains(&slow), "{slow}");
    });
}

/// Records of 10 MiB, and children that do not take them.
#[test]
fn large_records_are_read_in_bounded_memory() {
    on_virtual_time(async {
        const LARGE: usize = 10 << 20;
        for way in [Way::Polling, Way::fan_out()] {
            let options = Options {
                max_record_bytes: LARGE + 100,
                ..Options::default()
            };
            let mut world = World::with(3, way, options).await;
            world.ports.budget = Budget::new(16 << 20);
            let data = vec![b'x'; LARGE];
            let width = u128::MAX / 3;
            for shard in 0..3 {
                for _ in 0..3 {
                    world.put_at(width * shard + width / 2, &data);
                }
            }
            let mut readings: Vec<_> = (0..3)
                .map(|shard| world.fetch(shard, "TRIM_HORIZON"))
                .collect();
            world.pass(60 * SECOND).await;
            // Each shard holds one record, and the budget has room for one more of them.
            let held: Vec<_> = readings.iter_mut().flat_map(Reading::ready).collect();
            assert!(
                (3..=4).contains(&held.len()),
                "{} records of 10 MiB are held",
                held.len()
            );
            assert!(held.iter().all(|batch| batch.bytes == LARGE));
            drop(held);
            for reading in &mut readings {
                reading.until(3).await;
            }
        }
    });
}

/// The iterator dies before anything was read, with records coming in between: LATEST stays (T2).
#[test]
fn latest_does_not_move_when_an_iterator_expires_unread() {
    on_virtual_time(async {
        let world = World::new(1, Way::Polling).await;
        world.put(named("old", 3));
        world.pass(60 * SECOND).await;
        world.door.fail(Plan {
            operation: "GetRecords",
            after_frames: None,
            fault: Fault::Error(400, "ExpiredIteratorException".to_owned()),
            moments: 1,
        });
        world.door.fail(Plan {
            operation: "GetShardIterator",
            after_frames: None,
            fault: Fault::Silent,
            moments: 0,
        });
        let mut reading = world.fetch(0, "LATEST");
        world.pass(Duration::from_millis(100)).await;
        world.put(named("new", 3));
        reading.until(3).await;
        assert_eq!(reading.read, named("new", 3));
        let kinds: Vec<String> = world
            .door
            .calls_of("GetShardIterator")
            .iter()
            .map(|call| call.body["ShardIteratorType"].to_string())
            .collect();
        assert_eq!(kinds, ["\"LATEST\"", "\"AT_TIMESTAMP\""]);
    });
}

/// T1 of `retrieval.md`.
#[test]
fn a_checkpoint_inside_an_aggregate_survives_an_expired_iterator() {
    on_virtual_time(async {
        let world = World::new(1, Way::Polling).await;
        let mut aggregator = Aggregator::new();
        for text in named("u", 6) {
            aggregator.add(&NewRecord {
                partition_key: "k",
                explicit_hash_key: Some(0),
                data: text.as_bytes(),
            });
        }
        world.put_at(0, &aggregator.finish());
        let mut whole = world.fetch(0, "TRIM_HORIZON");
        let batch = whole.next().await.expect("a batch");
        let sequence = batch.up_to.clone().expect("records").position.to_string();
        world.door.fail(Plan {
            operation: "GetRecords",
            after_frames: None,
            fault: Fault::Error(400, "ExpiredIteratorException".to_owned()),
            moments: 2,
        });
        drop(whole);
        let mut reading = world.fetch(0, &format!("{sequence}/2"));
        let batch = reading.next().await.expect("a batch");
        assert_eq!(texts(&batch), ["u-3", "u-4", "u-5"]);
    });
}

#[test]
fn a_shard_whose_end_names_no_children_ends_with_those_that_are_listed() {
    on_virtual_time(async {
        for way in [Way::Polling, Way::fan_out()] {
            let world = World::new(1, way).await;
            world.kinesis(|engine, _| engine.faults.omit_child_shards = true);
            world.put(named("a", 3));
            world.split();
            let mut reading = world.fetch(0, "TRIM_HORIZON");
            reading.read_to_end().await;
            assert_eq!(reading.read, named("a", 3));
            assert_eq!(
                reading.children.unwrap(),
                ["shardId-000000000001", "shardId-000000000002"]
            );
        }
    });
}

/// Several hundred shards with records, on one thread.
#[test]
fn three_hundred_shards_are_read_on_one_thread() {
    on_virtual_time(async {
        const SHARDS: u64 = 300;
        for way in [Way::Polling, Way::fan_out()] {
            let world = World::new(SHARDS as usize, way).await;
            let mut readings: Vec<_> = (0..SHARDS)
                .map(|shard| world.fetch(shard, "TRIM_HORIZON"))
                .collect();
            let width = u128::MAX / u128::from(SHARDS);
            let mut put = BTreeMap::new();
            for round in 0..4_u64 {
                for shard in 0..SHARDS {
                    let text = format!("{shard}-{round}");
                    let place = width * u128::from(shard) + width / 2;
                    world.put_at(place, text.as_bytes());
                    put.entry(shard).or_insert_with(Vec::new).push(text);
                }
                world.pass(2 * SECOND).await;
            }
            for (shard, reading) in readings.iter_mut().enumerate() {
                reading.until(4).await;
                assert_eq!(reading.read, put[&(shard as u64)]);
            }
        }
    });
}

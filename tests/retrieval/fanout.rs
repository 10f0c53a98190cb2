//! The life of subscriptions.

use std::sync::Arc;
use std::time::Duration;

use kcl_daemon::core::aggregate::{Aggregator, NewRecord};
use kcl_daemon::fetch::{
    Anchor, Budget, ConsumerChoice, Registration, RegistrationSettings, Retrieval,
};
use kcl_daemon::local::LocalStream;
use kcl_daemon::local::kinesis::{ErrorKind, Options};

use super::faults::{Fault, Plan};
use super::world::{Reading, STREAM, Way, World, named, on_virtual_time, texts};

const SECOND: Duration = Duration::from_secs(1);

/// The starting positions of all subscriptions so far.
pub fn starts(world: &World) -> Vec<String> {
    let calls = world.door.calls_of("SubscribeToShard");
    calls
        .iter()
        .map(|call| {
            let kind = &call.body["StartingPosition"]["Type"];
            kind.as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

#[test]
fn a_shard_is_read_to_its_end_through_a_registered_consumer() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.put(named("a", 10));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(10).await;
        world.put(named("b", 10));
        reading.until(20).await;
        world.split();
        reading.read_to_end().await;
        assert_eq!(reading.read, [named("a", 10), named("b", 10)].concat());
        assert_eq!(
            reading.children.unwrap(),
            ["shardId-000000000001", "shardId-000000000002"]
        );
        let operations: Vec<String> = world
            .door
            .calls()
            .into_iter()
            .map(|call| call.operation)
            .collect();
        assert_eq!(
            operations,
            [
                "DescribeStreamSummary",
                "DescribeStreamConsumer",
                "RegisterStreamConsumer",
                "SubscribeToShard"
            ]
        );
        assert!(world.clock.now().since_origin() < SECOND);
    });
}

/// The same without HTTP and SDK, as the simulation does it.
#[test]
fn a_shard_is_read_through_the_typed_door() {
    on_virtual_time(async {
        let mut world = World::new(1, Way::fan_out()).await;
        let typed = Arc::new(LocalStream::new(Arc::clone(world.local.kinesis()), STREAM));
        world.ports.stream = typed.clone();
        world.ports.retrieval = Retrieval::FanOut(Arc::new(Registration::new(
            typed.clone(),
            typed,
            Arc::clone(&world.clock),
            Arc::clone(&world.ports.entropy),
            settings(ConsumerChoice::Named("app".to_owned())),
        )));
        world.put(named("a", 10));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(10).await;
        world.put(named("b", 10));
        world.split();
        reading.read_to_end().await;
        assert_eq!(reading.read, [named("a", 10), named("b", 10)].concat());
        assert_eq!(reading.children.unwrap().len(), 2);
        // And by polling.
        world.ports.retrieval = Retrieval::Polling;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.read_to_end().await;
        assert_eq!(reading.read, [named("a", 10), named("b", 10)].concat());
        assert!(world.door.calls().is_empty());
    });
}

fn settings(consumer: ConsumerChoice) -> RegistrationSettings {
    RegistrationSettings {
        consumer,
        stream_arn: None,
        summary_tries: 10,
        describe_tries: 10,
        register_tries: 10,
        pause: SECOND,
    }
}

#[test]
fn a_subscription_is_renewed_before_its_five_minutes_are_over() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        let mut expected = Vec::new();
        // An hour with a record every 7 s.
        for n in 0..514 {
            world.put([format!("r-{n}")]);
            expected.push(format!("r-{n}"));
            reading.until(expected.len()).await;
            world.pass(7 * SECOND).await;
        }
        assert_eq!(reading.read, expected);
        let calls = world.door.calls_of("SubscribeToShard");
        let ages: Vec<u64> = calls
            .windows(2)
            .map(|pair| (pair[1].at - pair[0].at).as_secs())
            .collect();
        assert!((12..=15).contains(&ages.len()), "{ages:?}");
        assert!(ages.iter().all(|age| (240..=285).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age != ages[0]), "spread: {ages:?}");
        let mut positions = starts(&world);
        assert_eq!(positions.remove(0), "TRIM_HORIZON");
        assert!(positions.iter().all(|p| p == "AFTER_SEQUENCE_NUMBER"));
    });
}

#[test]
fn one_that_cannot_be_renewed_goes_on_to_its_end() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        world.put(["first"]);
        reading.until(1).await;
        world.door.fail(Plan {
            operation: "SubscribeToShard",
            after_frames: None,
            fault: Fault::Error(400, "LimitExceededException".to_owned()),
            moments: 10_000,
        });
        world.pass(290 * SECOND).await;
        let refused = world.door.calls_of("SubscribeToShard");
        assert!(refused.iter().filter(|call| call.failed).count() >= 2);
        world.put(["second"]);
        reading.until(2).await;
        assert!(
            world.clock.now().since_origin() < 291 * SECOND,
            "the old one still delivers"
        );
    });
}

#[test]
fn one_that_ends_by_itself_is_followed_at_once_and_exactly() {
    on_virtual_time(async {
        let options = Options {
            subscription_life_ms: 10_000,
            ..Options::default()
        };
        let world = World::with(1, Way::fan_out(), options).await;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        let mut slowest = Duration::ZERO;
        for n in 0..100 {
            let put = world.clock.now();
            world.put([format!("r-{n}")]);
            reading.until(n + 1).await;
            slowest = slowest.max(world.clock.now().since(put));
            world.pass(Duration::from_millis(730)).await;
        }
        assert_eq!(reading.read, named("r", 100));
        assert!(slowest < Duration::from_millis(50), "{slowest:?}");
        assert!(world.door.calls_of("SubscribeToShard").len() >= 7);
    });
}

/// Silence on an open connection, as behind a NAT that forgot it.
#[test]
fn a_dead_connection_is_noticed_after_four_missed_signs_of_life() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.door.fail(Plan {
            operation: "SubscribeToShard",
            after_frames: Some(2),
            fault: Fault::Silent,
            moments: 1,
        });
        world.put(["first"]);
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(1).await;
        world.put(["second"]);
        reading.until(2).await;
        let now = world.clock.now().since_origin();
        assert!((20 * SECOND..22 * SECOND).contains(&now), "{now:?}");
    });
}

/// The child takes forty seconds a batch, for half an hour: no error, no storm, nothing lost.
#[test]
fn a_slow_child_holds_the_stream_back() {
    on_virtual_time(async {
        let mut world = World::new(1, Way::fan_out()).await;
        world.settings.prefetch.batches = 2;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        let mut put = 0;
        for _ in 0..45 {
            for _ in 0..40 {
                world.put([format!("r-{put}")]);
                put += 1;
                world.pass(SECOND).await;
            }
            reading.next().await;
        }
        reading.until(put).await;
        assert_eq!(reading.read, named("r", put));
        let calls = world.door.calls_of("SubscribeToShard");
        // Let go after five seconds, made again when there was room: about once a batch.
        assert!((30..=60).contains(&calls.len()), "{}", calls.len());
        assert!(calls.iter().all(|call| !call.failed));
        let closest = calls.windows(2).map(|pair| pair[1].at - pair[0].at).min();
        assert!(closest >= Some(5 * SECOND), "{closest:?}");
    });
}

/// What is read ahead stays within the shard's and the process's bounds.
#[test]
fn memory_is_bounded_while_children_hang() {
    on_virtual_time(async {
        let mut world = World::new(8, Way::fan_out()).await;
        world.ports.budget = Budget::new(4 << 20);
        let large = vec![b'x'; 700_000];
        let width = u128::MAX / 8;
        for shard in 0..8 {
            for _ in 0..10 {
                world.put_at(width * shard + width / 2, &large);
            }
        }
        let mut readings: Vec<_> = (0..8)
            .map(|shard| world.fetch(shard, "TRIM_HORIZON"))
            .collect();
        world.pass(120 * SECOND).await;
        let mut subscriptions = world.door.calls_of("SubscribeToShard").len();
        assert!(subscriptions >= 8);
        // Nobody took a batch: the budget, and one event for each shard.
        let held: Vec<_> = readings.iter_mut().flat_map(Reading::ready).collect();
        let bytes: usize = held.iter().map(|batch| batch.bytes).sum();
        assert!(bytes >= 8 * 700_000, "each shard has an event: {bytes}");
        assert!(bytes <= (4 << 20) + 8 * 700_000, "{bytes}");
        world.pass(120 * SECOND).await;
        subscriptions = world.door.calls_of("SubscribeToShard").len() - subscriptions;
        assert!(subscriptions <= 8 * 2, "no storm: {subscriptions}");
        drop(held);
        for reading in &mut readings {
            reading.until(10).await;
        }
    });
}

#[test]
fn a_child_that_fails_starts_again_at_its_checkpoint_without_fighting_the_service() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.put(named("a", 5));
        let anchor = Anchor::default();
        let mut reading = world.fetch_with(0, "TRIM_HORIZON", anchor.clone());
        reading.until(5).await;
        drop(reading);
        world.pass(SECOND).await;
        let mut again = world.fetch_with(0, "TRIM_HORIZON", anchor);
        again.until(5).await;
        assert_eq!(again.read, named("a", 5));
        let calls = world.door.calls_of("SubscribeToShard");
        assert_eq!(calls.len(), 2, "no call that the service would refuse");
        assert!(calls[1].at - calls[0].at >= 5 * SECOND);
    });
}

/// LATEST stays where it was when the connection dies before the first record (T2 of `retrieval.md`).
#[test]
fn latest_does_not_move() {
    on_virtual_time(async {
        for after_frames in [1, 2] {
            let world = World::new(1, Way::fan_out()).await;
            world.put(named("old", 3));
            world.pass(60 * SECOND).await;
            world.door.fail(Plan {
                operation: "SubscribeToShard",
                after_frames: Some(after_frames),
                fault: Fault::Broken,
                moments: 1,
            });
            let mut reading = world.fetch(0, "LATEST");
            world.pass(Duration::from_millis(5_001)).await;
            world.put(named("new", 3));
            reading.until(3).await;
            assert_eq!(reading.read, named("new", 3));
            let starts = starts(&world);
            assert_eq!(starts[0], "LATEST");
            assert!(
                starts.len() >= 2 && starts[1..].iter().all(|s| s != "LATEST"),
                "{starts:?}"
            );
        }
    });
}

/// A half-done aggregate comes again until an event was read (T1 of `retrieval.md`).
#[test]
fn a_checkpoint_inside_an_aggregate_survives_a_broken_subscription() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
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
        drop(whole);
        world.pass(6 * SECOND).await;
        world.door.fail(Plan {
            operation: "SubscribeToShard",
            after_frames: Some(1),
            fault: Fault::Broken,
            moments: 1,
        });
        let mut reading = world.fetch(0, &format!("{sequence}/2"));
        let batch = reading.next().await.expect("a batch");
        assert_eq!(texts(&batch), ["u-3", "u-4", "u-5"]);
        assert_eq!(
            starts(&world)[1..],
            ["AT_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"]
        );
    });
}

#[test]
fn an_event_is_split_into_batches_of_max_records() {
    on_virtual_time(async {
        let mut world = World::new(1, Way::fan_out()).await;
        world.settings.max_records = 10;
        world.settings.prefetch.batches = 1;
        world.put(named("a", 25));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        let mut sizes = Vec::new();
        while reading.read.len() < 25 {
            let batch = reading.next().await.expect("a batch");
            sizes.push(batch.encoded.records());
        }
        assert_eq!(sizes, [10, 10, 5]);
        assert_eq!(reading.read, named("a", 25));
    });
}

/// A stream that is deleted ends nothing; created anew, its shards are not those of the leases.
#[test]
fn a_deleted_stream_ends_no_shard() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.put(named("a", 3));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(3).await;
        world
            .kinesis(|engine, now| engine.delete_stream(STREAM, true, now))
            .expect("deleted");
        let ended = tokio::time::timeout(300 * SECOND, reading.next()).await;
        assert!(ended.is_err(), "nothing is ended");
        assert!(world.door.calls_of("RegisterStreamConsumer").len() <= 1);
    });
}

/// Breaks of every subscription at once, again and again, under a steady stream.
#[test]
fn breaks_lose_and_repeat_nothing() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        for n in 0..300 {
            world.put([format!("r-{n}")]);
            world.pass(Duration::from_millis(500)).await;
            if n % 17 == 0 {
                let kind = [ErrorKind::InternalFailure, ErrorKind::ResourceInUse][n % 2];
                world.kinesis(|engine, _| engine.break_subscriptions(kind));
            }
        }
        reading.until(300).await;
        assert_eq!(reading.read, named("r", 300));
    });
}

/// `callProcessRecordsEvenForEmptyRecordList`: a sign of life is a batch, about every five seconds.
#[test]
fn empty_events_are_batches_where_that_is_wanted() {
    on_virtual_time(async {
        let mut world = World::new(1, Way::fan_out()).await;
        world.settings.deliver_empty = true;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        for n in 1..=5_u32 {
            let batch = reading.next().await.expect("a batch");
            assert_eq!((batch.encoded.records(), batch.up_to.is_none()), (0, true));
            let now = world.clock.now().since_origin();
            assert!(
                now >= 5 * SECOND * (n - 1) && now <= 6 * SECOND * n,
                "{now:?}"
            );
        }
        world.put(["a"]);
        reading.until(1).await;
    });
}

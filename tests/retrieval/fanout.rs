//! The life of subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kcl_daemon::aws::fanout::KinesisFanOut;
use kcl_daemon::aws::kinesis::StreamRef;
use kcl_daemon::core::aggregate::{Aggregator, NewRecord};
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::stream::IteratorStart;
use kcl_daemon::fetch::{
    Anchor, Budget, ConsumerChoice, Registration, RegistrationSettings, Retrieval,
};
use kcl_daemon::local::LocalStream;
use kcl_daemon::local::kinesis::{ErrorKind, Operation, Options};
use kcl_daemon::ports::{EnhancedFanOut as _, StreamError, StreamErrorKind};

use super::faults::{Fault, Plan};
use super::world::{Reading, STREAM, Way, World, named, on_virtual_time, texts};

const SECOND: Duration = Duration::from_secs(1);

/// The starting positions of all subscriptions so far.
fn starts(world: &World) -> Vec<String> {
    let calls = world.door.calls_of("SubscribeToShard");
    calls
        .iter()
        .map(|call| {
            let kind = &call.body["StartingPosition"]["Type"];
            kind.as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

fn consumer_arn(world: &World) -> String {
    world
        .kinesis(|engine, now| engine.describe_stream_consumer(STREAM, "app", now))
        .expect("the consumer")
        .arn
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
        reading.to_end().await;
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
        reading.to_end().await;
        assert_eq!(reading.read, [named("a", 10), named("b", 10)].concat());
        assert_eq!(reading.children.unwrap().len(), 2);
        // And by polling.
        world.ports.retrieval = Retrieval::Polling;
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.to_end().await;
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
        assert!(subscriptions < 8 * 30, "no storm: {subscriptions}");
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

/// Another process that was killed a moment ago: the service keeps its subscription for five seconds.
#[test]
fn a_subscription_of_the_dead_is_waited_out() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.put(named("a", 5));
        let mut dead = world.fetch(0, "TRIM_HORIZON");
        dead.until(5).await;
        drop(dead);
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(5).await;
        assert_eq!(reading.read, named("a", 5));
        let calls = world.door.calls_of("SubscribeToShard");
        assert!((3..=7).contains(&calls.len()), "{}", calls.len());
        assert!(world.clock.now().since_origin() < 10 * SECOND);
    });
}

/// Two workers believe that they hold the lease: they do not steal the shard from each other every
/// second, as Java's do.
#[test]
fn two_readers_with_one_consumer_do_not_fight() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        let mut first = world.fetch(0, "TRIM_HORIZON");
        let mut second = world.fetch(0, "TRIM_HORIZON");
        for n in 0..60 {
            world.put([format!("r-{n}")]);
            world.pass(SECOND).await;
        }
        let calls = world.door.calls_of("SubscribeToShard").len();
        assert!(calls <= 20, "{calls}");
        first.until(60).await;
        second.until(60).await;
        assert_eq!(first.read, named("r", 60));
        assert_eq!(second.read, named("r", 60));
    });
}

#[test]
fn a_consumer_deleted_under_us_is_registered_again() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        world.put(named("a", 5));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(5).await;
        let before = consumer_arn(&world);
        world.pass(6 * SECOND).await;
        world
            .kinesis(|engine, now| engine.deregister_stream_consumer(STREAM, "app", now))
            .expect("deregistered");
        world.put(named("b", 5));
        reading.until(10).await;
        assert_eq!(reading.read, [named("a", 5), named("b", 5)].concat());
        assert_ne!(consumer_arn(&world), before);
        assert_eq!(starts(&world).last().unwrap(), "AFTER_SEQUENCE_NUMBER");
    });
}

#[test]
fn a_consumer_named_by_arn_is_never_registered() {
    on_virtual_time(async {
        let owner = World::new(1, Way::fan_out()).await;
        owner
            .kinesis(|engine, now| engine.register_stream_consumer(STREAM, "theirs", now))
            .expect("registered");
        let arn = owner
            .kinesis(|engine, now| engine.describe_stream_consumer(STREAM, "theirs", now))
            .expect("described")
            .arn;
        let world = World::new(1, Way::FanOut(ConsumerChoice::Arn(arn.clone()))).await;
        world
            .kinesis(|engine, now| engine.register_stream_consumer(STREAM, "theirs", now))
            .expect("registered");
        world.put(named("a", 5));
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(5).await;
        assert_eq!(world.door.calls().len(), 1, "SubscribeToShard only");
        world.pass(6 * SECOND).await;
        world
            .kinesis(|engine, now| engine.deregister_stream_consumer(STREAM, "theirs", now))
            .expect("deregistered");
        world.put(named("b", 5));
        world.pass(120 * SECOND).await;
        assert!(world.door.calls_of("RegisterStreamConsumer").is_empty());
        let tries = world.door.calls_of("SubscribeToShard").len();
        assert!(tries < 15, "{tries}");
    });
}

/// Two subscriptions to a connection, so that what slow children leave unread stops nobody else.
#[test]
fn subscriptions_share_a_connection_by_twos() {
    on_virtual_time(async {
        let world = World::new(6, Way::fan_out()).await;
        let arn = world
            .kinesis(|engine, now| engine.register_stream_consumer(STREAM, "app", now))
            .expect("registered")
            .arn;
        let made = Arc::new(AtomicUsize::new(0));
        let (counter, http) = (Arc::clone(&made), world.door.client());
        let fan_out = KinesisFanOut::new(
            world.client.clone(),
            StreamRef::Name(STREAM.to_owned()),
            Arc::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                http.clone()
            }),
        );
        let subscribe = async |shard: usize| {
            let shard = ShardId::new(format!("shardId-{shard:012}"));
            let start = IteratorStart::TrimHorizon;
            fan_out.subscribe(&arn, &shard, &start).await.expect("open")
        };
        let mut open = Vec::new();
        for (shard, connections) in [1, 1, 2, 2, 3].into_iter().enumerate() {
            open.push(subscribe(shard).await);
            assert_eq!(made.load(Ordering::Relaxed), connections, "shard {shard}");
        }
        // A seat that became free is taken again; that of a distrusted connection is not.
        drop(open.remove(0));
        world.pass(6 * SECOND).await;
        open.push(subscribe(0).await);
        assert_eq!(made.load(Ordering::Relaxed), 3);
        open[0].distrust();
        drop(open.remove(0));
        world.pass(6 * SECOND).await;
        open.push(subscribe(1).await);
        assert_eq!(made.load(Ordering::Relaxed), 3, "beside the fifth");
        open.push(subscribe(5).await);
        assert_eq!(made.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn registration_waits_for_active_and_stands_limits() {
    on_virtual_time(async {
        let options = Options {
            transition_ms: 25_000,
            ..Options::default()
        };
        let world = World::with(1, Way::fan_out(), options).await;
        world.pass(26 * SECOND).await;
        world.put(["a"]);
        world.kinesis(|engine, _| {
            engine
                .faults
                .throttle
                .insert(Operation::RegisterStreamConsumer, 3);
        });
        let mut reading = world.fetch(0, "TRIM_HORIZON");
        reading.until(1).await;
        assert_eq!(world.door.calls_of("RegisterStreamConsumer").len(), 4);
        let took = world.clock.now().since_origin() - 26 * SECOND;
        assert!((25 * SECOND..35 * SECOND).contains(&took), "{took:?}");
    });
}

#[test]
fn hundreds_of_shards_register_once() {
    on_virtual_time(async {
        let world = World::new(300, Way::fan_out()).await;
        let mut readings: Vec<_> = (0..300)
            .map(|shard| world.fetch(shard, "TRIM_HORIZON"))
            .collect();
        world.pass(SECOND).await;
        assert_eq!(world.door.calls_of("RegisterStreamConsumer").len(), 1);
        assert_eq!(world.door.calls_of("SubscribeToShard").len(), 300);
        let width = u128::MAX / 300;
        for shard in 0..300 {
            world.put_at(width * shard + width / 2, format!("s-{shard}").as_bytes());
        }
        for (shard, reading) in readings.iter_mut().enumerate() {
            reading.until(1).await;
            assert_eq!(reading.read, [format!("s-{shard}")]);
        }
        // Renewals do not come in one burst.
        world.pass(300 * SECOND).await;
        let renewals = world.door.calls_of("SubscribeToShard").split_off(300);
        let mut per_second = std::collections::BTreeMap::<u64, usize>::new();
        for call in &renewals {
            *per_second.entry(call.at.as_secs()).or_default() += 1;
        }
        let most = per_second.values().max().copied().unwrap_or(0);
        assert!(
            renewals.len() >= 300 && most <= 25,
            "{} {most}",
            renewals.len()
        );
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

/// What a start-up check and a message need.
#[test]
fn a_full_stream_of_consumers_is_told() {
    on_virtual_time(async {
        let world = World::new(1, Way::fan_out()).await;
        for n in 0..20 {
            world
                .kinesis(|engine, now| {
                    engine.register_stream_consumer(STREAM, &format!("c-{n}"), now)
                })
                .expect("registered");
        }
        let Retrieval::FanOut(registration) = &world.ports.retrieval else {
            panic!("fan-out");
        };
        let error: StreamError = registration.arn().await.expect_err("no room");
        assert_eq!(error.kind, StreamErrorKind::SlowDown);
        assert!(
            error
                .message
                .contains("limited number of registered consumers"),
            "{error}"
        );
        assert_eq!(world.door.calls_of("RegisterStreamConsumer").len(), 10);
    });
}

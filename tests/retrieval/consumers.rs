//! Who subscribes: the registered consumer, its limits, others that use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kcl_daemon::aws::fanout::KinesisFanOut;
use kcl_daemon::aws::kinesis::StreamRef;
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::stream::IteratorStart;
use kcl_daemon::fetch::{ConsumerChoice, Retrieval};
use kcl_daemon::local::kinesis::{Operation, Options};
use kcl_daemon::ports::{EnhancedFanOut as _, StreamError, StreamErrorKind};

use super::fanout::starts;
use super::world::{STREAM, Way, World, named, on_virtual_time};

const SECOND: Duration = Duration::from_secs(1);

fn consumer_arn(world: &World) -> String {
    world
        .kinesis(|engine, now| engine.describe_stream_consumer(STREAM, "app", now))
        .expect("the consumer")
        .arn
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

//! The list of checks, run on every server.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kcl_daemon::local::kinesis::Options;
use kcl_daemon::local::{LocalAws, serve};
use kcl_daemon::os::clock::SystemClock;
use kcl_daemon::ports::{BoxFuture, Clock};

use super::place::{Begin, now_millis, refused};
use super::{Check, Outcome, Place, all};
use crate::peers::Peer;
use crate::support::{Sandbox, Services};

/// Runs the checks, except those that the server is known to get wrong; tells all that failed.
fn hold(server: &str, endpoint: &str, known_wrong: &[&str]) {
    for wrong in known_wrong {
        assert!(
            all().any(|check| check.name == *wrong),
            "there is no check {wrong}"
        );
    }
    let place = Place::new(endpoint);
    let failed: Vec<String> = all()
        .filter(|check| !known_wrong.contains(&check.name))
        .filter_map(|check| Some(format!("{}: {}", check.name, outcome(check, &place).err()?)))
        .collect();
    assert!(
        failed.is_empty(),
        "{server} fails {} checks:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// A helper that panics counts as a failed check, so that the others are still run.
fn outcome(check: &Check, place: &Place) -> Outcome {
    let run = std::panic::AssertUnwindSafe(|| (check.run)(place));
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err("panicked, see above".to_owned()))
}

#[test]
fn our_engine_does_what_kinesis_does() {
    let sandbox = Sandbox::new("checks-ours");
    let services = Services::embedded(&sandbox, &[]);
    hold("kcl-daemon local serve", services.kinesis_endpoint(), &[]);
}

#[test]
fn kinesis_local_does_what_kinesis_does() {
    let sandbox = Sandbox::new("checks-kinesis-local");
    let Some(peer) = Peer::kinesis_local(&sandbox) else {
        return;
    };
    let wrong = [
        "filter_trim_horizon_leaves_out_children",
        "more_than_five_hundred_are_refused",
        "iterators_are_checked",
        "sequence_numbers_of_others_are_refused",
    ];
    hold("kinesis-local", peer.endpoint(), &wrong);
}

#[test]
fn ferrokinesis_does_what_kinesis_does() {
    let sandbox = Sandbox::new("checks-ferrokinesis");
    let Some(peer) = Peer::ferrokinesis(&sandbox, &[]) else {
        return;
    };
    let wrong = [
        "shards_page_by_token_alone",
        "shards_by_arn",
        "iterators_by_arn",
        "filter_latest_leaves_out_closed_shards",
        "filter_after_shard_id",
        "filter_trim_horizon_leaves_out_children",
        "filter_timestamp_gives_the_shards_of_then",
        "on_demand_streams_have_four_shards",
        "arrival_times_are_in_milliseconds",
        "a_time_between_two_records_is_exact",
        "a_time_after_the_last_record_gives_what_comes_later",
        "millis_behind_latest_tells_the_age_of_what_is_unread",
        "an_answer_has_at_most_ten_megabytes",
        "the_end_of_a_split_shard_names_its_children",
        "the_end_of_a_merged_shard_names_its_child",
        "update_shard_count_names_parents",
    ];
    hold("ferrokinesis", peer.endpoint(), &wrong);
}

#[test]
fn ministack_does_what_kinesis_does() {
    let sandbox = Sandbox::new("checks-ministack");
    let Some(peer) = Peer::ministack(&sandbox) else {
        return;
    };
    let wrong = [
        "shards_page_by_token_alone",
        "filter_after_shard_id",
        "filter_trim_horizon_leaves_out_children",
        "filter_timestamp_gives_the_shards_of_then",
        "on_demand_streams_have_four_shards",
        "an_answer_has_at_most_ten_megabytes",
        "iterators_are_checked",
        "sequence_numbers_of_others_are_refused",
        "what_is_no_sequence_number_is_refused",
        // A closed shard and its records are gone.
        "split_names_the_parent",
        "merge_names_both_parents",
        "a_closed_shard_can_be_read_to_its_end",
        "the_end_of_a_split_shard_names_its_children",
        "the_end_of_a_merged_shard_names_its_child",
        "positions_work_in_closed_shards",
        "update_shard_count_names_parents",
    ];
    hold("ministack", peer.endpoint(), &wrong);
}

#[test]
fn moto_does_what_kinesis_does() {
    let sandbox = Sandbox::new("checks-moto");
    let Some(peer) = Peer::moto(&sandbox) else {
        return;
    };
    let wrong = [
        "shards_page_by_token_alone",
        "shards_start_after_an_id",
        "filter_latest_leaves_out_closed_shards",
        "filter_after_shard_id",
        "filter_trim_horizon_leaves_out_children",
        "filter_timestamp_gives_the_shards_of_then",
        "consumers_are_registered_once",
        "iterators_by_arn",
        "summary_counts_open_shards",
        // The highest hash key belongs to no shard.
        "explicit_hash_keys_choose_the_shard",
        "an_answer_has_at_most_ten_megabytes",
        "iterators_are_checked",
        "sequence_numbers_of_others_are_refused",
        "what_is_no_sequence_number_is_refused",
        // A closed shard goes on taking records.
        "split_names_the_parent",
        // The iterator of a closed shard never ends.
        "a_closed_shard_can_be_read_to_its_end",
        "the_end_of_a_split_shard_names_its_children",
        "the_end_of_a_merged_shard_names_its_child",
        "positions_work_in_closed_shards",
    ];
    hold("moto", peer.endpoint(), &wrong);
}

// --------------------------------------------------------------- what needs a server set up for it

/// An iterator of this age is refused; one made from it in time goes on.
fn iterators_expire(place: &Place, pass: impl Fn()) -> Outcome {
    let stream = place.stream(1);
    place.put(&stream, 0, b"a")?;
    let iterator = place.iterator(&stream, "shardId-000000000000", &Begin::Start)?;
    let page = place.get(&iterator, None)?;
    let next = page.next_shard_iterator.ok_or("an open shard ended")?;
    pass();
    refused(
        "an iterator of GetShardIterator past its time",
        "ExpiredIteratorException",
        place.get(&iterator, None),
    )?;
    refused(
        "an iterator of GetRecords past its time",
        "ExpiredIteratorException",
        place.get(&next, None),
    )
}

#[test]
fn iterators_expire_on_ferrokinesis() {
    let sandbox = Sandbox::new("expiry-ferrokinesis");
    let Some(peer) = Peer::ferrokinesis(&sandbox, &["--iterator-ttl-seconds", "2"]) else {
        return;
    };
    let outcome = iterators_expire(&Place::new(peer.endpoint()), || {
        std::thread::sleep(Duration::from_millis(3100))
    });
    assert_eq!(outcome, Ok(()));
}

#[test]
fn iterators_expire_on_our_engine() {
    let ahead = Arc::new(AtomicI64::new(0));
    let engine = Engine::start(
        Options::default(),
        Arc::new(ShiftedClock {
            ahead: Arc::clone(&ahead),
            real: SystemClock::new(),
        }),
    );
    let outcome = iterators_expire(&Place::new(&engine.endpoint), || {
        ahead.store(300_000, Ordering::Relaxed)
    });
    assert_eq!(outcome, Ok(()));
}

/// A shard takes 1,000 records a second; what is above is refused entry by entry, and can be put again.
fn writes_are_throttled(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let records: Vec<(String, Vec<u8>)> =
        (0..500).map(|n| (format!("key{n}"), vec![b'x'])).collect();
    let start = now_millis();
    let mut refused = 0;
    for _ in 0..6 {
        refused += place.put_many(&stream, &records)?;
    }
    let seconds = usize::try_from((now_millis() - start) / 1000).unwrap_or(0);
    let taken = 3000 - refused;
    // The limit counts seconds, of which one more may have begun before and one after.
    let most = 1000 * (seconds + 2);
    let stored = place
        .read(&stream, "shardId-000000000000", &Begin::Start)?
        .texts
        .len();
    if !(1000..=most).contains(&taken) || stored != taken {
        return Err(format!(
            "{taken} of 3000 records taken in {seconds} s, {stored} stored"
        ));
    }
    Ok(())
}

#[test]
fn writes_are_throttled_on_ferrokinesis() {
    let sandbox = Sandbox::new("throttle-ferrokinesis");
    let Some(peer) = Peer::ferrokinesis(&sandbox, &["--enforce-limits"]) else {
        return;
    };
    assert_eq!(writes_are_throttled(&Place::new(peer.endpoint())), Ok(()));
}

#[test]
fn writes_are_throttled_on_our_engine() {
    let engine = Engine::start(
        Options {
            enforce_limits: true,
            ..Options::default()
        },
        Arc::new(SystemClock::new()),
    );
    assert_eq!(writes_are_throttled(&Place::new(&engine.endpoint)), Ok(()));
}

/// No peer throttles reads, so only ours is asked: five calls a second and shard.
#[test]
fn reads_are_throttled_on_our_engine() {
    let engine = Engine::start(
        Options {
            enforce_limits: true,
            ..Options::default()
        },
        Arc::new(SystemClock::new()),
    );
    let place = Place::new(&engine.endpoint);
    let stream = place.stream(1);
    let iterator = place
        .iterator(&stream, "shardId-000000000000", &Begin::Start)
        .unwrap();
    let answers: Vec<_> = (0..20)
        .map(|_| place.get(&iterator, None).map(drop))
        .collect();
    assert!(answers[..5].iter().all(Result::is_ok), "{answers:?}");
    let throttled = answers
        .into_iter()
        .filter_map(Result::err)
        .collect::<Vec<_>>();
    assert!(throttled.len() >= 10, "{throttled:?}");
    assert!(
        throttled
            .iter()
            .all(|error| error.code == "ProvisionedThroughputExceededException"),
        "{throttled:?}"
    );
}

/// The engine in this process behind a port, with a clock and options that the command line does not offer.
struct Engine {
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
}

impl Engine {
    fn start(options: Options, clock: Arc<dyn Clock>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let local = Arc::new(LocalAws::new(options, clock).expect("an empty engine"));
        let (address, server) = runtime.block_on(serve(local, 0)).expect("a free port");
        runtime.spawn(server.run());
        Self {
            endpoint: format!("http://{address}"),
            _runtime: runtime,
        }
    }
}

/// The system's clock, some milliseconds ahead on the wall.
struct ShiftedClock {
    ahead: Arc<AtomicI64>,
    real: SystemClock,
}

impl Clock for ShiftedClock {
    fn now(&self) -> kcl_daemon::core::time::Moment {
        self.real.now()
    }

    fn wall_millis(&self) -> i64 {
        self.real.wall_millis() + self.ahead.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, moment: kcl_daemon::core::time::Moment) -> BoxFuture<'static, ()> {
        self.real.sleep_until(moment)
    }
}

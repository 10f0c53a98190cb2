//! What seeds of the simulation found in a single decision of the coordinator, one test for each.

use async_trait::async_trait;

use super::*;
use crate::ports::{ChildExit, Processor, ProcessorFactory};
use crate::worker::testing::Fault;

/// The row of a worker that goes on to write to it.
fn others(key: &str) -> Lease {
    Lease {
        counter: Counter(7),
        ..owned(key, "other")
    }
}

impl Bench {
    /// Lets the coordinator work until it has come so far.
    async fn work_until(&mut self, what: &str, there: impl Fn(&Coordinator) -> bool) {
        let end = self.clock.now() + F * 20;
        while !there(&self.coordinator) {
            assert!(self.clock.now() < end, "it never comes to this: {what}");
            self.coordinator.start_due_work();
            let wake = self.coordinator.next_wake();
            tokio::select! {
                biased;
                Some(done) = self.coordinator.beside.join_next() => self.coordinator.on_done(done.unwrap()),
                () = self.clock.sleep_until(wake) => {}
            }
        }
    }

    /// A worker that holds the lease of `key`, in the fleet that `standing` says, and its row.
    async fn holding(standing: Standing, key: &str, rows: Vec<Lease>) -> Self {
        let mut bench = Self::new(standing, F * 2, rows);
        let key = LeaseKey::new(key);
        bench
            .work_until("it holds its lease", |coordinator| {
                coordinator.held.contains_key(&key)
            })
            .await;
        bench
    }

    /// Waits for the keeper to find out that the lease is lost. The coordinator hears nothing yet.
    async fn lose(&self, key: &str) {
        let handle = self.coordinator.held[&LeaseKey::new(key)].handle.clone();
        let end = self.clock.now() + F;
        while handle.is_kept() {
            assert!(self.clock.now() < end, "the lease is never lost");
            self.clock
                .sleep_until(self.clock.now() + Duration::from_millis(50))
                .await;
        }
    }
}

/// The old owner of a lease that is on its way may live, so it counts as dead after the whole failover time
/// (I.3); what a former process of this worker had, after half of it.
#[tokio::test(start_paused = true)]
async fn a_lease_on_its_way_to_a_worker_of_2x_is_not_taken_before_its_old_owner_is_dead() {
    let former = owned("s", "me");
    let on_its_way = Lease {
        checkpoint_owner: Some(WorkerId::new("other")),
        ..former.clone()
    };
    let cases = [
        (&former, F / 2, true),
        (&on_its_way, F / 2, false),
        (&on_its_way, F, true),
    ];
    for (row, later, taken) in cases {
        let mut bench = Bench::new(Standing::PHASE1, F * 2, [row.clone()]);
        let now = bench.clock.now();
        bench.coordinator.learn(&row.key, Some(row.clone()), now);
        let then = now + later + Duration::from_secs(1);
        bench.coordinator.learn(&row.key, Some(row.clone()), then);
        bench.coordinator.decide(then);
        let takes = bench.coordinator.taking.contains(&row.key);
        assert_eq!(takes, taken, "{:?} {later:?}", row.checkpoint_owner);
    }
}

/// The row that a read shows may be the work of a former process of the same id (I.2, I.10).
#[tokio::test(start_paused = true)]
async fn a_take_of_which_only_a_read_tells_is_confirmed_by_a_renewal() {
    let cases = [(None, true), (Some(Fault::RequestLost), false)];
    for (second, holds) in cases {
        let mut bench = Bench::new(Standing::PHASE1, F * 2, [unowned("s")]);
        let seen = unowned("s");
        bench.store.fail_next(Fault::AnswerLost);
        if let Some(fault) = second {
            bench.store.fail_next(fault);
        }
        bench.coordinator.take(seen.clone(), How::Taken);
        bench.finish_one().await;
        let is_held = bench.coordinator.held.contains_key(&seen.key);
        assert_eq!(is_held, holds, "{second:?}");
        let writes = if holds { 2 } else { 1 };
        let row = bench.store.row("s");
        assert_eq!(row.owner, Some(WorkerId::new("me")));
        assert_eq!(row.counter.0, seen.counter.0 + writes, "{second:?}");
    }
}

/// At LATEST the second tenure would begin where the stream is by then (I.18).
#[tokio::test(start_paused = true)]
async fn a_leader_does_not_give_itself_a_lease_that_it_holds() {
    let mut bench = Bench::holding(Standing::FRESH, "s", vec![unowned("s")]).await;
    let now = bench.clock.now();
    assert!(bench.coordinator.is_leader(now));
    // A look that was asked for before, beside a lease that is really free.
    bench.coordinator.table = vec![unowned("s"), unowned("free")];
    bench.coordinator.own_writes.clear();
    let (table, limit) = (
        bench.coordinator.table.clone(),
        bench.coordinator.hand_off_limit(),
    );
    bench.coordinator.watch.record_scan(&table, now, limit);
    let before = bench.coordinator.beside.len();
    bench.coordinator.lead(now);
    assert_eq!(bench.coordinator.beside.len() - before, 1);
}

/// Whom the leader chose may have left by the time that its own keeper has said no (I.38).
#[tokio::test(start_paused = true)]
async fn a_decision_that_was_overtaken_is_not_written() {
    let row = others("s");
    let update = row.assigned_if_silent_to(&WorkerId::new("third"));
    let cases = [(None, "third"), (Some(Fault::Hangs), "other")];
    for (fault, owner) in cases {
        let mut bench = Bench::holding(Standing::PHASE1, "s", vec![unowned("s")]).await;
        bench.coordinator.beside.shutdown().await;
        if let Some(fault) = fault {
            bench.store.fail_next(fault);
        }
        bench.store.edit("s", |current| *current = row.clone());
        bench.coordinator.move_lease(row.clone(), update.clone());
        bench.finish_one().await;
        let found = bench.store.row("s").owner;
        assert_eq!(found, Some(WorkerId::new(owner)), "{fault:?}");
    }
}

/// Nobody else says a second time that the lease is lost (G.6).
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_while_its_shard_ends_is_not_held() {
    for lost in [true, false] {
        let mut bench = Bench::holding(Standing::PHASE1, "s", vec![unowned("s")]).await;
        if lost {
            bench.store.edit("s", |row| *row = others("s"));
            bench.lose("s").await;
        }
        let key = LeaseKey::new("s");
        bench
            .coordinator
            .on_consumer_ended(&key, &Outcome::ShardFinished);
        // A finished lease is kept until it is deleted.
        assert_eq!(bench.coordinator.held.contains_key(&key), !lost);
    }
}

/// It goes to whoever is there, by a single write (I.6).
#[tokio::test(start_paused = true)]
async fn a_lease_whose_child_died_is_released_once() {
    let other = WorkerMetricStats::written_by(
        WorkerId::new("other"),
        WallTime::from_millis(SystemClock::new().wall_millis()),
        BTreeMap::new(),
        BTreeMap::new(),
    );
    // In a 2.x fleet nobody is named.
    let cases = [
        (Standing::FRESH, Some(other.worker.clone())),
        (Standing::PHASE1, None),
    ];
    for (standing, heir) in cases {
        let mut bench = Bench::holding(standing, "s", vec![unowned("s")]).await;
        bench.store.report(other.clone());
        let key = LeaseKey::new("s");
        let held = bench.coordinator.held.get_mut(&key).unwrap();
        // One that has no word any more, as it would be over.
        let _consumer = held.consumer.take();
        let before = bench.store.row("s").counter.0;
        bench
            .coordinator
            .on_consumer_ended(&key, &Outcome::DaemonMustExit);
        bench
            .work_until("it is over", |coordinator| coordinator.is_over())
            .await;
        let row = bench.store.row("s");
        assert_eq!((row.owner, row.counter.0), (heir, before + 1));
    }
}

/// The look after the loss could not use it, as its consumer was still there (I.34).
#[tokio::test(start_paused = true)]
async fn a_lost_lease_that_is_ours_again_is_looked_for_at_once() {
    for standing in [Standing::FRESH, Standing::PHASE1] {
        let mut bench = Bench::holding(standing, "s", vec![unowned("s")]).await;
        let key = LeaseKey::new("s");
        let again = Lease {
            counter: Counter(9),
            ..owned("s", "me")
        };
        let now = bench.clock.now();
        bench.coordinator.learn(&key, Some(again), now);
        bench.coordinator.scan_wanted = false;
        bench.coordinator.next_look = None;
        bench
            .coordinator
            .on_consumer_ended(&key, &Outcome::LeaseLost);
        if standing == Standing::FRESH {
            assert!(bench.coordinator.scan_wanted);
        } else {
            let look = bench.coordinator.next_look.map(|at| at.since(now));
            assert!(look.is_some_and(|wait| wait <= F), "{look:?}");
        }
    }
}

/// Starts children that never come to life.
struct Stuck;

#[async_trait]
impl ProcessorFactory for Stuck {
    async fn start(&self, _: &ShardId) -> Result<Box<dyn Processor>, ChildExit> {
        std::future::pending().await
    }
}

/// A consumer waits for the child that it has begun to start; the worker does not wait for the consumer.
#[tokio::test(start_paused = true)]
async fn a_child_that_never_starts_does_not_hold_up_a_stop_for_ever() {
    let grace = Grace::of(Duration::from_secs(30));
    let cases = [
        (StopRequest::Graceful, grace.children + grace.release),
        (StopRequest::AtOnce, grace.release),
    ];
    for (request, most) in cases {
        let mut bench = Bench::new(Standing::PHASE1, F * 2, [unowned("s")]);
        bench.coordinator.ports.consumer.processors = Arc::new(Stuck);
        bench
            .work_until("it holds its lease", |coordinator| {
                !coordinator.held.is_empty()
            })
            .await;
        let (clock, stop) = (bench.clock.clone(), bench.stop);
        // Time for the consumer to ask for its child.
        clock.sleep_until(clock.now() + F / 2).await;
        let asked = clock.now();
        stop.send_replace(request);
        let end = tokio::select! {
            end = bench.coordinator.run() => end,
            () = clock.sleep_until(asked + most * 3) => panic!("it never ends: {request:?}"),
        };
        let took = clock.now().since(asked);
        assert_eq!(end, WorkerEnd::Cut, "{request:?}");
        assert!(
            took <= most + Duration::from_secs(1),
            "{request:?} took {took:?}"
        );
    }
}

/// With a leader that counts on the index nobody's new leases may wait for its look at a large table.
#[tokio::test(start_paused = true)]
async fn whoever_does_not_lead_asks_the_index_when_the_table_is_large() {
    const LARGE: usize = 64 * 1024;
    // The table, whether this worker leads, the index; whether it will be asked within a failover time.
    let cases = [
        (LARGE, false, OwnerIndex::Active, true),
        (LARGE, true, OwnerIndex::Active, false),
        (LARGE, false, OwnerIndex::Absent, false),
        (1024, false, OwnerIndex::Active, false),
    ];
    for (bytes, leads, index, asks) in cases {
        let mut bench = if leads {
            Bench::holding(Standing::FRESH, "s", vec![unowned("s")]).await
        } else {
            Bench::new(Standing::FRESH, F * 2, [others("s")])
        };
        let now = bench.clock.now();
        assert_eq!(bench.coordinator.is_leader(now), leads);
        // It reports, so that it is the leader or a deputy, and looks at the whole table.
        let wall = WallTime::from_millis(bench.clock.wall_millis());
        let report = (BTreeMap::new(), BTreeMap::new());
        let mine = WorkerMetricStats::written_by(WorkerId::new("me"), wall, report.0, report.1);
        bench.coordinator.members = vec![mine];
        bench.coordinator.table_bytes = bytes;
        assert!(bench.coordinator.watches(now));
        bench.coordinator.index = index;
        bench.coordinator.plan_next_look(now, true);
        let query = bench.coordinator.next_query;
        assert_eq!(
            query.is_some_and(|at| at < now + F),
            asks,
            "{bytes} {leads} {index:?}"
        );
    }
}

/// The old owner may have died just before the hand-off began, and in a large table the next look is far.
#[tokio::test(start_paused = true)]
async fn a_leader_reads_what_it_hands_off_when_it_would_expire() {
    let handing_off = Lease {
        checkpoint_owner: Some(WorkerId::new("dead")),
        ..others("moving")
    };
    for (row, looks) in [(&handing_off, true), (&others("moving"), false)] {
        let mut bench = Bench::holding(Standing::FRESH, "s", vec![unowned("s")]).await;
        let now = bench.clock.now();
        let coordinator = &mut bench.coordinator;
        // The look at the table that is just over found a counter that it had not seen before.
        coordinator.table = vec![row.clone()];
        coordinator.scanned_at = now;
        let limit = coordinator.hand_off_limit();
        coordinator.observations.record(row, now);
        coordinator.watch.record(row, now, limit);
        coordinator.schedule_look(now);
        let look = coordinator.next_look;
        assert_eq!(
            look.is_some_and(|at| at <= now + F + Duration::from_millis(1)),
            looks
        );
        if looks {
            let running = coordinator.beside.len();
            let then = now + F + Duration::from_millis(1);
            bench.clock.sleep_until(then).await;
            bench.coordinator.start_look(then);
            let reads = bench.coordinator.beside.len() - running;
            assert_eq!(reads, 1, "the row is read");
        }
    }
}

/// A worker of Java renews by the counter alone: whoever is given its lease in the table and ended over that
/// would end again after each start.
#[tokio::test(start_paused = true)]
async fn a_lease_of_javas_that_somebody_gives_to_this_worker_is_taken() {
    // By whom the row was written; so many failover times between two such leases; whether the last is
    // taken, and whether this worker takes itself for one of two.
    let cases = [
        (false, None, true, false),
        (true, None, false, true),
        (false, Some(31), true, false),
        (false, Some(20), false, true),
    ];
    for (marked, pause, taken, twin) in cases {
        let mut bench = Bench::new(Standing::PHASE1, F * 2, []);
        let coordinator = &mut bench.coordinator;
        let mut look = |second: u32, key: &str, counter: u64| {
            let row = Lease {
                counter: Counter(counter),
                marked,
                ..owned(key, "me")
            };
            coordinator.table = vec![row];
            coordinator.scanned_at = Moment::from_origin(F * second);
            coordinator.check_own_id();
            coordinator.taking.contains(&LeaseKey::new(key))
        };
        assert!(!look(1, "s", 5), "it may be what a former process left");
        let mut is_taken = look(2, "s", 6);
        if let Some(pause) = pause {
            assert!(is_taken);
            look(pause, "t", 5);
            is_taken = look(pause + 2, "t", 6);
        }
        assert_eq!(is_taken, taken, "{marked} {pause:?}");
        assert_eq!(coordinator.shares_its_id, twin, "{marked} {pause:?}");
    }
}

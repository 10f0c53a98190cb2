use super::*;
use crate::core::lease::Counter;
use crate::os::clock::SystemClock;
use crate::os::entropy::SystemEntropy;
use crate::os::tasks::Spawner;
use crate::ports::Clock;
use crate::worker::testing::{Fault, MemoryStore, at, owned};

const F: Duration = Duration::from_secs(9);
const HAND_OFF: Duration = Duration::from_secs(30);

struct Bench {
    store: Arc<MemoryStore>,
    clock: Arc<SystemClock>,
    handle: LeaseHandle,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::with([owned("s", "me")]));
        let clock = Arc::new(SystemClock::new());
        let ports = KeeperPorts {
            store: store.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy::from_seed(1)),
            spawner: Spawner::current().unwrap(),
            style: Arc::default(),
        };
        let settings = KeeperSettings {
            failover: F,
            hand_off_timeout: HAND_OFF,
        };
        let me = WorkerId::new("me");
        let handle = LeaseHandle::keep(ports, me, store.row("s"), clock.now(), settings);
        Self {
            store,
            clock,
            handle,
        }
    }

    async fn pass(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }

    fn is_held(&self) -> bool {
        match self.handle.state() {
            LeaseState::Held { until } => self.clock.now() < until,
            _ => false,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_renews_three_times_in_the_failover_time() {
    let bench = Bench::new();
    bench.pass(F * 4).await;
    let renewals = bench.store.row("s").counter.0 - 1;
    assert!((11..=13).contains(&renewals), "{renewals}");
    assert!(bench.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_counts_as_a_renewal() {
    let bench = Bench::new();
    for number in 1..=10 {
        bench.pass(Duration::from_millis(2500)).await;
        bench
            .handle
            .checkpoint(at(&number.to_string()))
            .await
            .unwrap();
    }
    assert_eq!(bench.store.row("s").counter, Counter(11));
    assert_eq!(bench.store.row("s").checkpoint, at("10"));
    assert!(bench.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_loses_nothing() {
    let bench = Bench::new();
    bench.store.fail_next(Fault::AnswerLost);
    bench.handle.checkpoint(at("5")).await.unwrap();
    assert_eq!(bench.store.row("s").checkpoint, at("5"));
    bench.store.fail_next(Fault::RequestLost);
    bench.handle.checkpoint(at("6")).await.unwrap();
    assert_eq!(bench.store.row("s").checkpoint, at("6"));
    bench.pass(F * 2).await;
    assert!(bench.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_is_cut_off_and_resolved_by_reading() {
    let bench = Bench::new();
    bench.store.fail_next(Fault::Hangs);
    bench.handle.checkpoint(at("5")).await.unwrap();
    assert_eq!(bench.store.row("s").checkpoint, at("5"));
    assert!(bench.is_held());
}

#[tokio::test(start_paused = true)]
async fn throttling_is_told_after_a_few_tries() {
    let bench = Bench::new();
    bench.store.fail_next(Fault::Throttled);
    bench.handle.checkpoint(at("5")).await.unwrap();
    for _ in 0..3 {
        bench.store.fail_next(Fault::Throttled);
    }
    let error = bench.handle.checkpoint(at("6")).await.unwrap_err();
    assert_eq!(error.name, CheckpointErrorName::Throttling);
    // I.22: as if nothing had been asked.
    bench.handle.checkpoint(at("6")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_another_worker_is_lost_at_once() {
    let bench = Bench::new();
    bench.store.edit("s", |row| {
        *row = row.taken_by(&WorkerId::new("other")).applied_to(row)
    });
    let error = bench.handle.checkpoint(at("5")).await.unwrap_err();
    assert_eq!(error.name, CheckpointErrorName::Shutdown);
    assert_eq!(
        bench.handle.state(),
        LeaseState::Lost(Loss::TakenBy(WorkerId::new("other")))
    );
    // I.6: no write after the loss.
    let after = bench.store.row("s");
    bench.pass(F * 3).await;
    assert_eq!(bench.store.row("s"), after);
}

#[tokio::test(start_paused = true)]
async fn who_took_it_is_told() {
    let bench = Bench::new();
    bench.store.edit("s", |row| row.counter = Counter(40));
    bench.pass(F).await;
    assert_eq!(bench.handle.state(), LeaseState::Lost(Loss::SameWorkerId));
    let bench = Bench::new();
    bench.store.rows().clear();
    bench.pass(F).await;
    assert_eq!(bench.handle.state(), LeaseState::Lost(Loss::RowGone));
    let bench = Bench::new();
    bench.store.edit("s", |row| {
        *row = row.released(&WorkerId::new("me")).applied_to(row)
    });
    bench.pass(F).await;
    assert_eq!(bench.handle.state(), LeaseState::Lost(Loss::Changed));
}

#[tokio::test(start_paused = true)]
async fn during_an_outage_it_goes_stale_and_comes_back_if_nobody_took_it() {
    let bench = Bench::new();
    bench.pass(Duration::from_secs(1)).await;
    *bench.store.down.lock().unwrap() = true;
    let mut went_stale = None;
    for step in 0..400 {
        bench.pass(Duration::from_millis(100)).await;
        if !bench.is_held() && went_stale.is_none() {
            went_stale = Some(step);
        }
    }
    // I.2: no later than F after the last successful write was sent.
    assert!(went_stale.is_some_and(|step| step <= 90), "{went_stale:?}");
    assert_eq!(bench.handle.state(), LeaseState::Stale);
    *bench.store.down.lock().unwrap() = false;
    bench.pass(Duration::from_secs(4)).await;
    assert!(bench.is_held(), "{:?}", bench.handle.state());
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_which_somebody_took_it_loses_it() {
    let bench = Bench::new();
    *bench.store.down.lock().unwrap() = true;
    bench.pass(F * 2).await;
    bench.store.edit("s", |row| {
        *row = row.taken_by(&WorkerId::new("other")).applied_to(row)
    });
    *bench.store.down.lock().unwrap() = false;
    bench.pass(Duration::from_secs(4)).await;
    assert!(matches!(
        bench.handle.state(),
        LeaseState::Lost(Loss::TakenBy(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_arrives_late_is_recognised_as_ours() {
    let bench = Bench::new();
    bench.store.fail_next(Fault::RequestLost);
    let before = bench.store.row("s");
    // The renewal at F/3 is lost on its way, and read as not written.
    bench.pass(Duration::from_millis(2980)).await;
    assert_eq!(bench.store.row("s").counter, before.counter);
    // Now it arrives after all; the next attempt finds a counter that it did not expect.
    bench
        .store
        .edit("s", |row| *row = row.renewal().applied_to(row));
    bench.pass(F).await;
    assert!(bench.is_held(), "{:?}", bench.handle.state());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_proven_by_an_earlier_one_counts_from_that() {
    let bench = Bench::new();
    let start = bench.clock.now();
    bench.store.fail_next(Fault::RequestLost);
    bench.store.fail_next(Fault::RequestLost);
    bench.pass(Duration::from_millis(2980)).await;
    // The first renewal arrives late, the second not at all; read back, they are the same.
    bench
        .store
        .edit("s", |row| *row = row.renewal().applied_to(row));
    bench.pass(Duration::from_millis(700)).await;
    match bench.handle.state() {
        LeaseState::Held { until } => {
            assert!(
                until <= start + Duration::from_millis(2980) + F,
                "{until:?}"
            );
            assert!(until > start + F, "the renewal was not recognised");
        }
        other => panic!("{other:?}"),
    }
}

/// A service that hangs carries out what it was sent when it wakes up, the oldest first: here the
/// checkpoint, which was given up long ago and followed by renewals.
#[tokio::test(start_paused = true)]
async fn of_several_writes_in_doubt_any_may_arrive_late() {
    let bench = Bench::new();
    let before = bench.store.row("s");
    *bench.store.down.lock().unwrap() = true;
    let error = bench.handle.checkpoint(at("5")).await.unwrap_err();
    assert_eq!(error.name, CheckpointErrorName::Dependency);
    bench.pass(F * 2).await;
    bench.store.edit("s", |row| {
        *row = before.checkpointed(at("5")).applied_to(row);
    });
    *bench.store.down.lock().unwrap() = false;
    bench.pass(F).await;
    assert!(bench.is_held(), "{:?}", bench.handle.state());
    // I.15: a child that was told of a failure may ask for less now; the table does not go back.
    bench.handle.checkpoint(at("3")).await.unwrap();
    assert_eq!(bench.store.row("s").checkpoint, at("5"));
    bench.handle.checkpoint(at("6")).await.unwrap();
    assert_eq!(bench.store.row("s").checkpoint, at("6"));
}

#[tokio::test(start_paused = true)]
async fn after_the_release_nothing_is_written() {
    let bench = Bench::new();
    assert!(bench.handle.release().await);
    let row = bench.store.row("s");
    assert_eq!((row.owner.clone(), row.counter), (None, Counter(2)));
    bench.pass(F * 3).await;
    assert_eq!(bench.store.row("s"), row);
    assert_eq!(bench.handle.state(), LeaseState::Released);
    let error = bench.handle.checkpoint(at("5")).await.unwrap_err();
    assert_eq!(error.name, CheckpointErrorName::Shutdown);
}

/// What a leader does to move the lease.
fn begin_hand_off(bench: &Bench, to: &str) {
    bench.store.edit("s", |row| {
        *row = row
            .handed_off_to(&WorkerId::new(to))
            .unwrap()
            .applied_to(row);
    });
}

fn owners(bench: &Bench) -> (Option<WorkerId>, Option<WorkerId>) {
    let row = bench.store.row("s");
    (row.owner, row.checkpoint_owner)
}

#[tokio::test(start_paused = true)]
async fn a_renewal_or_a_checkpoint_tells_of_a_hand_off_and_the_release_ends_it() {
    for by_checkpoint in [false, true] {
        let bench = Bench::new();
        begin_hand_off(&bench, "next");
        if by_checkpoint {
            bench.handle.checkpoint(at("5")).await.unwrap();
        } else {
            bench.pass(F / 3).await;
        }
        let to = WorkerId::new("next");
        assert!(
            matches!(bench.handle.state(), LeaseState::HandingOff { to: next, .. } if next == to),
            "{:?}",
            bench.handle.state()
        );
        // It is still renewed, and may be checkpointed for the last time.
        bench.handle.checkpoint(at("7")).await.unwrap();
        bench.pass(F).await;
        let before = bench.store.row("s").counter;
        assert!(bench.handle.release().await);
        assert_eq!(owners(&bench), (Some(to), None));
        let row = bench.store.row("s");
        assert_eq!((row.counter, row.checkpoint), (before.next(), at("7")));
        assert_eq!(bench.handle.state(), LeaseState::Released);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_meets_a_hand_off_nobody_told_of_ends_it() {
    let bench = Bench::new();
    begin_hand_off(&bench, "next");
    assert!(bench.handle.release().await);
    assert_eq!(owners(&bench), (Some(WorkerId::new("next")), None));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_end_its_work_loses_the_lease_after_the_hand_off_time() {
    let bench = Bench::new();
    begin_hand_off(&bench, "next");
    bench.pass(F / 3).await;
    bench.pass(HAND_OFF - F / 3).await;
    assert!(matches!(
        bench.handle.state(),
        LeaseState::HandingOff { .. }
    ));
    bench.pass(F / 2).await;
    let next = WorkerId::new("next");
    assert_eq!(
        bench.handle.state(),
        LeaseState::Lost(Loss::TakenBy(next.clone()))
    );
    assert_eq!(owners(&bench), (Some(next), None));
    assert_eq!(
        bench.handle.checkpoint(at("9")).await.unwrap_err().name,
        CheckpointErrorName::Shutdown
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_during_a_hand_off_loses_nothing() {
    let bench = Bench::new();
    bench.store.fail_next(Fault::AnswerLost);
    begin_hand_off(&bench, "next");
    bench.handle.checkpoint(at("5")).await.unwrap();
    assert!(matches!(
        bench.handle.state(),
        LeaseState::HandingOff { .. }
    ));
    bench.store.fail_next(Fault::RequestLost);
    assert!(bench.handle.release().await);
    assert_eq!(owners(&bench), (Some(WorkerId::new("next")), None));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_leader_moved_at_once_is_lost() {
    let bench = Bench::new();
    bench.store.edit("s", |row| {
        *row = row.assigned_to(&WorkerId::new("next")).applied_to(row);
    });
    bench.pass(F / 2).await;
    assert_eq!(
        bench.handle.state(),
        LeaseState::Lost(Loss::TakenBy(WorkerId::new("next")))
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_an_heir_goes_to_it() {
    let bench = Bench::new();
    bench.handle.leave_to(WorkerId::new("peer"));
    bench.store.fail_next(Fault::AnswerLost);
    assert!(bench.handle.release().await);
    assert_eq!(owners(&bench), (Some(WorkerId::new("peer")), None));
    assert_eq!(bench.store.row("s").counter, Counter(2));
}

#[tokio::test(start_paused = true)]
async fn a_leader_passes_its_own_lease_on_through_its_keeper() {
    for fault in [None, Some(Fault::AnswerLost)] {
        let bench = Bench::new();
        fault
            .into_iter()
            .for_each(|fault| bench.store.fail_next(fault));
        let next = WorkerId::new("next");
        let row = bench.handle.pass_to(next.clone()).await.unwrap().unwrap();
        assert_eq!(row, bench.store.row("s"));
        assert_eq!(
            (owners(&bench), row.counter),
            ((Some(next.clone()), None), Counter(2))
        );
        assert_eq!(bench.handle.state(), LeaseState::Lost(Loss::TakenBy(next)));
        bench.pass(F * 2).await;
        assert_eq!(
            bench.store.row("s"),
            row,
            "written although it was passed on"
        );
        assert!(!bench.handle.is_kept());
        assert!(bench.handle.pass_to(WorkerId::new("third")).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_passed_on_is_kept() {
    let bench = Bench::new();
    bench.store.fail_next(Fault::Throttled);
    let passed = bench.handle.pass_to(WorkerId::new("next")).await;
    assert_eq!(passed, Ok(None));
    bench.pass(F * 2).await;
    assert!(bench.is_held() && bench.handle.is_kept());
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_passing_on_arrived_late_is_not_renewed() {
    let bench = Bench::new();
    *bench.store.down.lock().unwrap() = true;
    let before = bench.store.row("s");
    let next = WorkerId::new("next");
    assert_eq!(bench.handle.pass_to(next.clone()).await, Ok(None));
    let after = before
        .assigned_if_silent_to(&next)
        .marked()
        .applied_to(&before);
    bench.store.edit("s", |row| *row = after.clone());
    *bench.store.down.lock().unwrap() = false;
    bench.pass(F).await;
    assert_eq!(bench.store.row("s"), after);
    assert_eq!(bench.handle.state(), LeaseState::Lost(Loss::TakenBy(next)));
}

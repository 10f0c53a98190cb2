use super::*;
use proptest::prelude::*;

fn at(seconds: f64) -> Moment {
    Moment::from_origin(Duration::from_secs_f64(seconds))
}

fn me() -> WorkerId {
    WorkerId::new("me")
}

fn version(text: &str) -> RecordVersion {
    RecordVersion::new(text)
}

fn row(owner: &str, number: &str) -> LockItem {
    LockItem {
        owner: WorkerId::new(owner),
        lease_duration: JAVA_LEASE,
        version: version(number),
        released: false,
    }
}

fn lock() -> LeaderLock {
    LeaderLock::new(me(), LockSettings::quick(Duration::from_secs(10)), at(0.0))
}

/// The write that is asked for; panics when none is.
fn write(lock: &LeaderLock, now: Moment, fresh: &str) -> LockWrite {
    match lock.next(now, version(fresh)) {
        LockStep::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

fn leading() -> LeaderLock {
    let mut lock = lock();
    lock.saw(None, at(0.0), at(0.1));
    let acquire = write(&lock, at(0.1), "v1");
    lock.wrote(&acquire, LockOutcome::Applied, at(0.1), at(0.2));
    assert!(lock.is_leader(at(0.2)));
    lock
}

#[test]
fn numbers_are_uuids() {
    assert_eq!(
        RecordVersion::from_random(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210).as_str(),
        "01234567-89ab-4def-bedc-ba9876543210"
    );
    assert_eq!(
        RecordVersion::from_random(0, 0).as_str(),
        "00000000-0000-4000-8000-000000000000"
    );
}

#[test]
fn a_missing_or_released_row_is_taken_at_once() {
    let mut lock = lock();
    assert_eq!(lock.next(at(0.0), version("v")), LockStep::Look);
    lock.saw(None, at(0.0), at(0.1));
    let acquire = write(&lock, at(0.1), "v");
    assert_eq!(acquire.condition, LockCondition::Absent);
    assert!(acquire.is_permitted_on(None));
    assert!(!acquire.is_permitted_on(Some(&row("x", "v9"))));
    assert_eq!(
        acquire.applied_to(None).map(|row| (row.owner, row.version)),
        Some((me(), version("v")))
    );

    let released = LockItem {
        released: true,
        ..row("x", "v0")
    };
    lock.saw(Some(&released), at(1.0), at(1.1));
    assert_eq!(
        write(&lock, at(1.1), "v").condition,
        LockCondition::Released
    );
    assert_eq!(lock.known_leader(), None);
}

#[test]
fn a_foreign_lock_is_taken_only_after_its_own_duration_without_change() {
    let mut lock = lock();
    let java = row("java", "j1");
    lock.saw(Some(&java), at(0.0), at(0.5));
    assert_eq!(lock.known_leader(), Some(&WorkerId::new("java")));
    // Looks every 10 s and not before.
    assert_eq!(
        lock.next(at(5.0), version("v")),
        LockStep::WaitUntil(at(10.5))
    );
    assert_eq!(lock.next(at(10.5), version("v")), LockStep::Look);
    // The answer at 120.4 was asked for before the 120 s from 0.5 were over.
    lock.saw(Some(&java), at(120.4), at(125.0));
    assert_eq!(lock.next(at(125.0), version("v")), LockStep::Look);
    lock.saw(Some(&java), at(125.0), at(125.1));
    assert_eq!(
        write(&lock, at(125.1), "v").condition,
        LockCondition::Version(version("j1"))
    );
}

#[test]
fn a_heartbeat_of_the_leader_starts_the_watch_anew() {
    let mut lock = lock();
    lock.saw(Some(&row("java", "j1")), at(0.0), at(0.0));
    lock.saw(Some(&row("java", "j2")), at(100.0), at(100.0));
    lock.saw(Some(&row("java", "j2")), at(130.0), at(130.0));
    assert!(matches!(
        lock.next(at(130.0), version("v")),
        LockStep::WaitUntil(_)
    ));
    lock.saw(Some(&row("java", "j2")), at(220.1), at(220.1));
    assert_eq!(
        write(&lock, at(220.1), "v").condition,
        LockCondition::Version(version("j2"))
    );
}

#[test]
fn the_look_comes_just_when_a_short_lease_ends() {
    let mut lock = lock();
    let short = LockItem {
        lease_duration: Duration::from_secs(4),
        ..row("peer", "p1")
    };
    lock.saw(Some(&short), at(0.0), at(1.0));
    assert_eq!(
        lock.next(at(1.0), version("v")),
        LockStep::WaitUntil(at(5.001))
    );
    lock.saw(Some(&short), at(5.001), at(5.1));
    assert_eq!(
        write(&lock, at(5.1), "v").condition,
        LockCondition::Version(version("p1"))
    );
}

#[test]
fn who_does_not_stand_by_looks_at_its_own_pace_and_takes_the_lock_all_the_same() {
    let mut lock = lock();
    lock.look_every(Duration::from_secs(30), false, at(0.0));
    let short = |number: &str| LockItem {
        lease_duration: Duration::from_secs(4),
        ..row("peer", number)
    };
    for turn in 0..5 {
        let now = 30.0 * f64::from(turn);
        lock.saw(Some(&short(&format!("p{turn}"))), at(now), at(now));
        assert_eq!(
            lock.next(at(now), version("v")),
            LockStep::WaitUntil(at(now + 30.0))
        );
    }
    lock.saw(Some(&short("p4")), at(150.0), at(150.0));
    assert_eq!(
        write(&lock, at(150.0), "v").condition,
        LockCondition::Version(version("p4"))
    );
}

#[test]
fn ones_own_old_lock_waits_unless_the_former_self_is_dead() {
    let mut careful = lock();
    careful.saw(Some(&row("me", "old")), at(0.0), at(0.1));
    assert!(matches!(
        careful.next(at(0.1), version("v")),
        LockStep::WaitUntil(_)
    ));
    let mut sure = LeaderLock::new(
        me(),
        LockSettings {
            former_self_is_dead: true,
            ..LockSettings::quick(Duration::from_secs(10))
        },
        at(0.0),
    );
    sure.saw(Some(&row("me", "old")), at(0.0), at(0.1));
    assert_eq!(
        write(&sure, at(0.1), "v").condition,
        LockCondition::Version(version("old"))
    );
}

#[test]
fn leadership_counts_from_the_sending_of_the_last_write() {
    let mut lock = leading();
    assert!(lock.is_leader(at(10.0)));
    assert!(!lock.is_leader(at(10.1)), "sent at 0.1, ten seconds long");
    assert!(matches!(
        lock.next(at(3.0), version("v2")),
        LockStep::WaitUntil(_)
    ));
    let beat = write(&lock, at(3.5), "v2");
    assert_eq!(beat.condition, LockCondition::Mine(version("v1"), me()));
    lock.wrote(&beat, LockOutcome::Applied, at(3.5), at(5.0));
    assert!(lock.is_leader(at(13.4)));
    assert!(!lock.is_leader(at(13.5)));
    // The next one relies on the new number.
    assert_eq!(
        write(&lock, at(7.0), "v3").condition,
        LockCondition::Mine(version("v2"), me())
    );
}

#[test]
fn a_refused_heartbeat_ends_leadership_at_once() {
    let mut lock = leading();
    let beat = write(&lock, at(4.0), "v2");
    lock.wrote(&beat, LockOutcome::Refused, at(4.0), at(4.1));
    assert!(!lock.is_leader(at(4.1)));
    assert_eq!(lock.next(at(4.1), version("v3")), LockStep::Look);
}

#[test]
fn an_unknown_heartbeat_is_resolved_by_looking() {
    for (found, leads_until) in [("v2", 13.9), ("v1", 10.0), ("x9", 0.0)] {
        let mut lock = leading();
        let beat = write(&lock, at(4.0), "v2");
        lock.wrote(&beat, LockOutcome::Unknown, at(4.0), at(6.0));
        assert!(
            lock.is_leader(at(6.0)),
            "the last certain write still counts"
        );
        assert_eq!(lock.next(at(6.0), version("v3")), LockStep::Look);
        let owner = if found == "x9" { "x" } else { "me" };
        lock.saw(Some(&row(owner, found)), at(6.0), at(6.1));
        assert_eq!(lock.is_leader(at(6.2)), leads_until > 6.2, "{found}");
        if leads_until > 0.0 {
            assert!(lock.is_leader(at(leads_until)), "{found}");
            assert!(!lock.is_leader(at(leads_until + 0.2)), "{found}");
            // And it goes on from the number that is in the row.
            assert_eq!(
                write(&lock, at(8.0), "v3").condition,
                LockCondition::Mine(version(found), me()),
                "{found}"
            );
        }
    }
}

#[test]
fn an_unknown_acquisition_is_resolved_by_looking() {
    for (found, mine) in [
        (Some(("me", "v1")), true),
        (Some(("x", "x1")), false),
        (None, false),
    ] {
        let mut lock = lock();
        lock.saw(None, at(0.0), at(0.1));
        let acquire = write(&lock, at(0.1), "v1");
        lock.wrote(&acquire, LockOutcome::Unknown, at(0.1), at(2.0));
        assert!(!lock.is_leader(at(2.0)), "not before it is certain");
        assert_eq!(lock.next(at(2.0), version("v2")), LockStep::Look);
        let found = found.map(|(owner, number)| row(owner, number));
        lock.saw(found.as_ref(), at(2.0), at(2.1));
        assert_eq!(lock.is_leader(at(2.2)), mine, "{found:?}");
        assert!(!lock.is_leader(at(10.2)));
    }
}

#[test]
fn failures_are_not_repeated_without_a_break() {
    let mut lock = leading();
    let beat = write(&lock, at(4.0), "v2");
    lock.wrote(&beat, LockOutcome::Failed, at(4.0), at(4.0));
    assert!(lock.is_leader(at(4.1)));
    assert!(matches!(
        lock.next(at(4.1), version("v3")),
        LockStep::WaitUntil(_)
    ));
    assert_eq!(
        write(&lock, at(5.0), "v3").condition,
        LockCondition::Mine(version("v1"), me())
    );
    // A look that fails in doubt is not repeated without a break either.
    let beat = write(&lock, at(5.0), "v3");
    lock.wrote(&beat, LockOutcome::Unknown, at(5.0), at(5.5));
    assert_eq!(lock.next(at(5.5), version("v4")), LockStep::Look);
    lock.could_not_look(at(5.6));
    assert!(matches!(
        lock.next(at(5.7), version("v4")),
        LockStep::WaitUntil(_)
    ));
    let mut follower = super::tests::lock();
    follower.could_not_look(at(1.0));
    assert!(matches!(
        follower.next(at(1.1), version("v")),
        LockStep::WaitUntil(_)
    ));
}

#[test]
fn giving_up_deletes_the_row_and_a_retired_worker_never_returns() {
    let mut lock = leading();
    let release = lock.step_down(at(5.0)).unwrap();
    assert_eq!(
        release,
        LockWrite {
            condition: LockCondition::Mine(version("v1"), me()),
            change: LockChange::Delete,
        }
    );
    assert_eq!(release.applied_to(Some(&row("me", "v1"))), None);
    assert!(!lock.is_leader(at(5.0)));
    lock.wrote(&release, LockOutcome::Applied, at(5.0), at(5.1));
    assert_eq!(
        lock.next(at(6.0), version("v")),
        LockStep::WaitUntil(at(15.0))
    );
    assert_eq!(lock.step_down(at(6.0)), None);

    let mut stopping = leading();
    assert!(stopping.retire().is_some());
    assert!(!stopping.is_leader(at(1.0)));
    stopping.saw(None, at(2.0), at(2.0));
    assert_eq!(stopping.next(at(2.0), version("v")), LockStep::Done);
    // A heartbeat that was under way does not bring it back.
    let late = LockWrite {
        condition: LockCondition::Mine(version("v1"), me()),
        change: LockChange::Heartbeat {
            version: version("v2"),
            lease_duration: JAVA_LEASE,
        },
    };
    stopping.wrote(&late, LockOutcome::Applied, at(2.0), at(2.0));
    assert!(!stopping.is_leader(at(2.0)));
}

#[test]
fn a_leader_that_gets_nowhere_steps_down() {
    let interval = Duration::from_secs(20);
    for (failures, finished, now, expected) in [
        (0, 0.0, 60.0, false),
        (0, 0.0, 60.1, true),
        (2, 50.0, 60.0, false),
        (3, 60.0, 60.0, true),
    ] {
        assert_eq!(
            must_step_down(failures, at(finished), at(now), interval),
            expected,
            "{failures} {finished} {now}"
        );
    }
}

/// What one of the workers of the property below is asked to do.
#[derive(Debug, Clone)]
enum Act {
    /// It does what is due; the answer is lost when `lost`, the write when `dropped`.
    Step {
        who: usize,
        lost: bool,
        dropped: bool,
    },
    /// Time passes.
    Wait(u64),
    /// It crashes and starts again as another worker.
    Crash(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(
        prop_oneof![
            6 => (0..3usize, prop::bool::weighted(0.15), prop::bool::weighted(0.15))
                .prop_map(|(who, lost, dropped)| Act::Step { who, lost, dropped }),
            3 => (1..4000u64).prop_map(Act::Wait),
            1 => (0..3usize).prop_map(Act::Crash),
        ],
        1..200,
    )
}

proptest! {
    /// Never two leaders at one time, whatever gets lost; and once things are calm there is one.
    #[test]
    fn there_is_at_most_one_leader_and_soon_one(acts in acts()) {
        let mut now = at(0.0);
        let mut table: Option<LockItem> = None;
        let mut fresh = 0u64;
        let mut names = 3;
        let start = |name: usize, now| LeaderLock::new(
            WorkerId::new(format!("w{name}")),
            LockSettings::quick(Duration::from_secs(10)),
            now,
        );
        let mut workers: Vec<LeaderLock> = (0..3).map(|name| start(name, now)).collect();
        let mut perform = |worker: &mut LeaderLock, table: &mut Option<LockItem>, lost: bool, dropped: bool, now: Moment| {
            fresh += 1;
            match worker.next(now, RecordVersion::from_random(0, fresh)) {
                LockStep::WaitUntil(_) | LockStep::Done => {}
                LockStep::Look if lost => worker.could_not_look(now),
                LockStep::Look => worker.saw(table.as_ref(), now, now),
                LockStep::Write(write) => {
                    let permitted = write.is_permitted_on(table.as_ref());
                    if permitted && !dropped {
                        *table = write.applied_to(table.as_ref());
                    }
                    let outcome = if lost || dropped {
                        LockOutcome::Unknown
                    } else if permitted {
                        LockOutcome::Applied
                    } else {
                        LockOutcome::Refused
                    };
                    worker.wrote(&write, outcome, now, now);
                }
            }
        };
        let leaders = |workers: &[LeaderLock], now| workers.iter().filter(|w| w.is_leader(now)).count();
        for act in acts {
            match act {
                Act::Step { who, lost, dropped } => perform(&mut workers[who], &mut table, lost, dropped, now),
                Act::Wait(millis) => now = now + Duration::from_millis(millis),
                Act::Crash(who) => {
                    workers[who] = start(names, now);
                    names += 1;
                }
            }
            prop_assert!(leaders(&workers, now) <= 1);
        }
        for _ in 0..40 {
            now = now + Duration::from_secs(1);
            for worker in &mut workers {
                perform(worker, &mut table, false, false, now);
                perform(worker, &mut table, false, false, now);
            }
            prop_assert!(leaders(&workers, now) <= 1);
        }
        prop_assert_eq!(leaders(&workers, now), 1);
    }
}

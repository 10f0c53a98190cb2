//! The rules of a run one by one, each case worked out by hand from the table in the head of `problem.rs`
//! and `leases.md` C.4 to C.6.

use super::*;

/// A fleet from `"a:50% b"` (workers: one with this CPU, one that measures nothing) and
/// `"a=100*3 -=5 b/a=7 c!=9 d#=?"` (leases: owner, KB/s, how many; `-` unowned, `b/a` in hand-off from a
/// to b, `!` silent, `#` finished, `?` throughput unknown).
fn fleet(workers: &str, leases: &str) -> Fleet {
    let mut fleet = Fleet::new();
    for word in workers.split_whitespace() {
        match word.split_once(':') {
            Some((id, percent)) => fleet.cpu(id, percent.trim_end_matches('%').parse().unwrap()),
            None => {
                fleet.worker(word);
            }
        }
    }
    for word in leases.split_whitespace() {
        let (owners, rest) = word.split_once('=').unwrap();
        let (kbps, count) = rest.split_once('*').unwrap_or((rest, "1"));
        let silent = owners.ends_with('!');
        let finished = owners.ends_with('#');
        let owners = owners.trim_end_matches(['!', '#']);
        let owners = if owners == "-" { "" } else { owners };
        for _ in 0..count.parse().unwrap() {
            let lease = fleet.lease(owners, kbps.parse().ok());
            if finished {
                lease.checkpoint = ExtendedSequenceNumber::SHARD_END;
            }
            let key = lease.key.clone();
            if silent {
                fleet.silent.push(key);
            }
        }
    }
    fleet
}

/// The moves in words: `"a>b hand off 2, ->c assign 1"`.
fn words(fleet: &Fleet, plan: &Plan) -> String {
    let words: Vec<String> = fleet
        .summary(plan)
        .into_iter()
        .map(|((from, to, how), count)| {
            format!("{}>{to} {how} {count}", from.as_deref().unwrap_or("-"))
        })
        .collect();
    words.join(", ")
}

fn plan_of(fleet: &Fleet) -> String {
    words(fleet, &fleet.run(&mut chance(1)))
}

#[test]
fn what_is_moved_and_how() {
    // workers, leases, moves
    let cases = [
        // Nobody there, nothing to do.
        ("", "", ""),
        ("", "-=100*3", ""),
        ("a:50%", "", ""),
        // Unowned leases are assigned.
        ("a:50%", "-=?*3", "->a assign 3"),
        // An expired one of a worker that is gone as well, a living one is left to it.
        ("a:50%", "x!=100 a=100", "x>a assign 1"),
        ("a:50%", "x=100 a=100", ""),
        // Its best worker is its owner, which lives and finds it by itself.
        ("a:50%", "a!=100 a=100", ""),
        // The same in a hand-off that got stuck: it is ended.
        ("a:50%", "b/a!=100 a=100", "a>a assign 1"),
        // A hand-off under way is left alone, even if its next owner is gone.
        ("a:50% b:50%", "b/a=100 a=100 b=100*2", ""),
        ("a:50%", "b/a=100 a=100", ""),
        // Load goes from the busy to the idle; 60 % of what is too much.
        ("a:80% b:20%", "a=100*10 b=100*2", "a>b hand off 2"),
        // Finished leases are not handed off but assigned.
        ("a:80% b:20%", "a#=100*10 b=100*2", "a>b assign 2"),
    ];
    for (workers, leases, expected) in cases {
        assert_eq!(
            plan_of(&fleet(workers, leases)),
            expected,
            "{workers} / {leases}"
        );
    }
}

#[test]
fn without_graceful_hand_off_leases_are_assigned() {
    let mut fleet = fleet("a:80% b:20%", "a=100*10 b=100*2");
    fleet.settings.graceful_hand_off = false;
    assert_eq!(plan_of(&fleet), "a>b assign 2");
}

#[test]
fn load_is_evened_out_only_when_asked() {
    let mut fleet = fleet("a:80% b:20%", "a=100*10 b=100*2");
    fleet.balance = false;
    assert_eq!(plan_of(&fleet), "");
    // Free leases are given away in every run.
    fleet.lease("", Some(100.0));
    assert_eq!(plan_of(&fleet), "->b assign 1");
}

#[test]
fn small_differences_move_nothing() {
    let cases = [
        // 3 % beside 1 %: 50 % above the average, and one percentage point.
        ("a:3% b:1%", "a=100*5 b=100*5", ""),
        ("a:6% b:1.9%", "a=100*5 b=100*5", "a>b hand off 1"),
        // Throughput: 15 KB/s from the average, and 25.
        ("a b", "a=10*6 b=10*3", ""),
        ("a b", "a=10*8 b=10*3", "a>b hand off 1"),
        // Above its operating range: at once.
        ("a:103% b:102%", "a=100*5 b=100*5", ""),
    ];
    for (workers, leases, expected) in cases {
        assert_eq!(
            plan_of(&fleet(workers, leases)),
            expected,
            "{workers} / {leases}"
        );
    }
}

#[test]
fn a_worker_that_has_nothing_gets_its_full_share_when_it_joins() {
    let cases = [
        // Dampened as Java: 60 % of the half that is too much, each lease below what is left.
        (false, "a:50% b:0%", "a=100*10", "a>b hand off 2"),
        (true, "a:50% b:0%", "a=100*10", "a>b hand off 5"),
        (true, "a b", "a=100*10", "a>b hand off 5"),
        (
            true,
            "a b c",
            "a=100*5 b=100*5",
            "a>c hand off 2, b>c hand off 1",
        ),
        // Also when the difference would be too small to matter.
        (true, "a:2% b:1%", "a=100*9", "a>b hand off 2"),
        // Whoever has one lease gives none.
        (true, "a:50% b:0%", "a=100", ""),
    ];
    for (full, workers, leases, expected) in cases {
        let mut fleet = fleet(workers, leases);
        fleet.settings.full_share_on_joining = full;
        assert_eq!(plan_of(&fleet), expected, "{full} {workers} / {leases}");
    }
}

/// Leases are never quite alike: the half that is chosen at random may be the larger one.
#[test]
fn a_full_share_does_not_depend_on_which_leases_are_chosen() {
    for workers in ["a b", "a:50% b:0%"] {
        let mut fleet = fleet(workers, "a=97 a=99 a=101 a=103");
        fleet.settings.full_share_on_joining = true;
        for seed in 0..50 {
            let plan = fleet.run(&mut chance(seed));
            assert_eq!(words(&fleet, &plan), "a>b hand off 2", "{workers} {seed}");
        }
    }
}

#[test]
fn an_idle_fleet_is_balanced_by_count() {
    let cases = [
        ("a b", "-=?*4", "->a assign 2, ->b assign 2"),
        ("a b", "a=0*4", "a>b hand off 2"),
        ("a:9% b:1%", "a=1*4 b=1*4", ""),
        ("a:9% b:1%", "b=1*8", "b>a hand off 4"),
        ("a b c", "a=0*4", "a>b hand off 1, a>c hand off 1"),
        // In hand-off already: it counts for the next owner.
        ("a b", "a=0*2 b/a=0*2", ""),
        // Expired ones are no load of whoever lets them expire.
        ("a b", "x!=0*3 a=0", "x>a assign 1, x>b assign 2"),
    ];
    for (workers, leases, expected) in cases {
        let fleet = fleet(workers, leases);
        let plan = fleet.run(&mut chance(1));
        assert!(plan.idle);
        assert_eq!(words(&fleet, &plan), expected, "{workers} / {leases}");
    }
}

#[test]
fn idle_ends_later_than_it_begins() {
    for (kbps, before, idle) in [
        (20.0, false, true),
        (20.1, false, false),
        (20.1, true, true),
        (40.0, true, true),
        (40.1, true, false),
    ] {
        let mut fleet = fleet("a", "");
        fleet.lease("a", Some(kbps));
        fleet.idle_before = before;
        assert_eq!(fleet.run(&mut chance(1)).idle, idle, "{kbps} {before}");
    }
}

#[test]
fn limits_are_kept() {
    let mut limited = fleet("a:50% b:10%", "a=100*3 -=100*9");
    limited.settings.max_leases = 4;
    let plan = limited.run(&mut chance(1));
    assert_eq!(words(&limited, &plan), "->a assign 1, ->b assign 4");
    assert_eq!(plan.unplaced.len(), 4);
    // By count: the same.
    limited.settings.strategy = Strategy::LeaseCountBased;
    let plan = limited.run(&mut chance(1));
    assert_eq!(words(&limited, &plan), "->a assign 1, ->b assign 4");
    assert_eq!(plan.unplaced.len(), 4);
    // Throughput is tested before a lease is added: at the limit one more fits.
    let mut slow = fleet("a:50%", "a=100 -=100*9");
    slow.settings.max_throughput_kbps = 300.0;
    assert_eq!(plan_of(&slow), "->a assign 3");
}

#[test]
fn a_dead_worker_is_no_target() {
    // Its metrics are fresh, all its leases are expired.
    let fleet = fleet("a:50% dead:1%", "dead!=100*4 a=100*2");
    let plan = fleet.run(&mut chance(1));
    assert_eq!(words(&fleet, &plan), "dead>a assign 4");
    assert_eq!(plan.dead, [WorkerId::new("dead")]);
    assert_eq!(plan.active, 1);
    // One that has a living lease is alive, and so is the leader, whatever its leases look like.
    let fleet = super::rules::fleet("a:50% b:1%", "b!=100*4 b=100 a=100*2");
    assert!(fleet.run(&mut chance(1)).dead.is_empty());
    // But what it let expire goes to another one: it may have died a moment ago.
    for balance in [false, true] {
        let mut fleet = super::rules::fleet("a:50% b:1%", "b!=100 b=100 a=100*2");
        fleet.balance = balance;
        assert_eq!(words(&fleet, &fleet.run(&mut chance(1))), "b>a assign 1");
    }
    let alone = super::rules::fleet("b:1%", "b!=100 b=100");
    assert_eq!(alone.run(&mut chance(1)).active, 1);
    let fleet = super::rules::fleet("a:50% leader:1%", "leader!=100 a=100*2");
    assert!(fleet.run(&mut chance(1)).dead.is_empty());
}

#[test]
fn only_workers_with_good_fresh_metrics_are_targets() {
    let mut fleet = fleet("a:50% old:1% failing:1% invalid:1%", "-=100*6");
    let stats = &mut fleet.workers;
    stats[1].last_update = Some(WALL.seconds() - 61);
    stats[2].stats.get_mut("C").unwrap().push(-1.0);
    stats[3].operating_range.clear();
    // The same worker in both tables counts once, by its newer item.
    let mut twin = stats[0].clone();
    twin.last_update = Some(WALL.seconds() - 61);
    stats.push(twin);
    let plan = fleet.run(&mut chance(1));
    assert_eq!(
        (words(&fleet, &plan).as_str(), plan.active),
        ("->a assign 6", 1)
    );
}

#[test]
fn a_hand_off_past_its_deadline_is_finished() {
    let limit = Duration::from_secs(40);
    for (workers, expected) in [
        // For the next owner, or for another one if that is gone.
        ("a:50% b:50% c:10%", "a>b assign 1"),
        ("a:50% c:10%", "a>c assign 1"),
    ] {
        let mut fleet = fleet(workers, "b/a=100 a=100 b=100 c=100");
        let mut watch = Watch::default();
        for second in (0..=40).step_by(5) {
            for lease in &mut fleet.leases {
                lease.counter = lease.counter.next();
            }
            watch.record_scan(&fleet.leases, at(second), limit);
            fleet.balance = false;
            let plan = fleet.decide(&fleet.leases, &watch, second, &mut chance(1));
            let expected = if second < 40 { "" } else { expected };
            assert_eq!(words(&fleet, &plan), expected, "{workers} {second}");
            assert!(plan.moves.iter().all(|planned| planned.how == How::Assign));
        }
    }
}

#[test]
fn silent_owners_lose_their_leases_only_while_they_are_silent() {
    let fleet = fleet("a:50%", "x!=100 -=100 a=100");
    let plan = fleet.run(&mut chance(1));
    for planned in &plan.moves {
        let lease = &fleet.leases[planned.lease];
        let update = planned.update(lease).unwrap();
        assert_eq!(planned.how, How::AssignIfSilent);
        assert!(update.is_permitted_on(Some(lease)));
        let alive = lease.renewal().applied_to(lease);
        assert!(!update.is_permitted_on(Some(&alive)));
    }
}

#[test]
fn finished_leases_weigh_nothing_when_the_fleet_is_ours() {
    let mut fleet = fleet("a b", "a#=0*6 a=0*2 b=0*2");
    assert_eq!(fleet.run(&mut chance(1)).moves.len(), 3);
    fleet.settings.count_finished = false;
    assert_eq!(plan_of(&fleet), "");
    // They still need an owner, for cleaning up, even if all are full.
    fleet.lease("", None).checkpoint = ExtendedSequenceNumber::SHARD_END;
    fleet.settings.max_leases = 2;
    assert_eq!(plan_of(&fleet), "->b assign 1");
}

#[test]
fn finished_leases_leave_room_under_the_maximum() {
    // Java counts them, and leaves the shards that the finished ones became to nobody (#202).
    for words in ["a#=0*2 a=0*1 -=0*1", "a#=100*2 a=100*1 -=100*1"] {
        let mut fleet = fleet("a", words);
        fleet.settings.max_leases = 2;
        assert_eq!(plan_of(&fleet), "->a assign 1", "{words}");
        // What is finished finds an owner even where nobody has room, what is not does not.
        fleet.settings.max_leases = 1;
        fleet.lease("", Some(100.0)).checkpoint = ExtendedSequenceNumber::SHARD_END;
        let plan = fleet.run(&mut chance(1));
        assert_eq!(self::words(&fleet, &plan), "->a assign 1", "{words}");
        assert_eq!(plan.moves[0].lease, 4);
        assert_eq!(plan.unplaced, [3]);
    }
}

#[test]
fn a_fleet_is_all_ours_when_everybody_in_it_says_so() {
    let ours = |fleet: &Fleet| {
        let workers = fleet.workers.iter();
        is_all_ours(
            &fleet.leases,
            workers.filter(|w| w.is_fresh(WALL, INTERVAL)),
        )
    };
    const INTERVAL: Duration = Duration::from_secs(30);
    assert!(ours(&fleet("", "-=0")), "nobody is there");
    let mut fleet = fleet("a b", "a=0 b=0 -=0");
    assert!(ours(&fleet));
    fleet.lease("a/b", None);
    assert!(ours(&fleet));
    fleet.lease("c", None);
    assert!(!ours(&fleet), "an owner that reports nothing");
    fleet.leases.pop();
    fleet.lease("a/c", None);
    assert!(!ours(&fleet), "an old owner that reports nothing");
    fleet.leases.pop();
    fleet.workers[1].ours_updated = None;
    assert!(!ours(&fleet), "a worker of Java's");
    fleet.workers[1].last_update = Some(WALL.seconds() - 3600);
    fleet.leases.retain(|lease| {
        lease.owner != Some(WorkerId::new("b")) && lease.checkpoint_owner.is_none()
    });
    assert!(ours(&fleet), "it is gone");
}

#[test]
fn old_leases_come_first() {
    // Room for one: the one that was never owned, before the one that expired.
    let mut fleet = fleet("a:50%", "x!=100 -=100");
    fleet.settings.max_leases = 1;
    let plan = fleet.run(&mut chance(1));
    assert_eq!(words(&fleet, &plan), "->a assign 1");
    assert_eq!(plan.unplaced, [0]);
}

use super::*;
use crate::core::assignment::taker::{self, Availability, Candidate, Limits};
use crate::core::lease::Counter;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use proptest::prelude::*;

const F: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Moment {
    Moment::from_origin(Duration::from_secs(seconds))
}

/// `"a a! -"`: owners; `!` is not marked, `-` unowned.
fn table(text: &str) -> Vec<Lease> {
    text.split_whitespace()
        .enumerate()
        .map(|(index, word)| {
            let mut lease = Lease::new(
                LeaseKey::new(format!("s{index}")),
                ExtendedSequenceNumber::sentinel(Position::Latest),
                vec![],
                None,
            );
            lease.counter = Counter(5);
            let owner = word.trim_end_matches('!');
            lease.owner = (owner != "-").then(|| WorkerId::new(owner));
            lease.marked = !word.ends_with('!');
            lease
        })
        .collect()
}

#[test]
fn what_a_pure_fleet_is() {
    let unmarked = |lease: &str, worker: &str| NotPure::Unmarked {
        lease: LeaseKey::new(lease),
        worker: WorkerId::new(worker),
    };
    let few = |leases, owners| NotPure::TooFewLeases { leases, owners };
    let cases = [
        ("a a b", false, Ok(())),
        ("a a b -", false, Ok(())),
        ("- - -", false, Ok(())),
        ("a a b", true, Err(NotPure::OtherItems)),
        ("", false, Err(NotPure::NoLeases)),
        ("a a! b", false, Err(unmarked("s1", "a"))),
        ("a b c", false, Err(few(3, 3))),
        ("a", false, Err(few(1, 1))),
    ];
    for (text, other, expected) in cases {
        assert_eq!(judge(&table(text), other), expected, "{text}");
    }
}

#[test]
fn it_must_be_seen_for_long() {
    let mut fleet = PureFleet::default();
    let ours = table("a a b");
    let mut look = |leases: &[Lease], seconds, failover| {
        fleet.record_scan(leases, false, at(seconds), failover)
    };
    assert_eq!(look(&ours, 0, F), Err(NotPure::Since(at(0))));
    assert_eq!(look(&ours, 599, F), Err(NotPure::Since(at(0))));
    assert_eq!(look(&ours, 600, F), Ok(()));
    // One write of somebody else, and the time starts anew.
    assert!(look(&table("a x! b"), 700, F).is_err());
    assert_eq!(look(&ours, 710, F), Err(NotPure::Since(at(710))));
    assert_eq!(look(&ours, 1309, F), Err(NotPure::Since(at(710))));
    // A longer failover time needs a longer look.
    assert_eq!(look(&ours, 1310, F * 6), Err(NotPure::Since(at(710))));
    assert_eq!(look(&ours, 1910, F * 6), Ok(()));
}

#[test]
fn it_sets_out_on_javas_way() {
    let write = set_going(&WorkerId::new("me"), WallTime::from_millis(1)).unwrap();
    assert_eq!(write.item.now.state, ClientVersion::UpgradeFrom2x);
    assert_eq!(
        write.condition,
        crate::core::migration::ItemCondition::Absent
    );
}

proptest! {
    /// The proof in the head of the file: a hidden worker of the 2.x algorithm takes a lease at once,
    /// whatever the distribution, when there are more leases than owners.
    #[test]
    fn nobody_can_hide(owners in prop::collection::vec(0usize..8, 1..40), max in 1usize..50) {
        let leases = table(&owners.iter().map(|owner| format!("w{owner} ")).collect::<String>());
        prop_assume!(judge(&leases, false).is_ok());
        let candidates: Vec<Candidate> = leases
            .into_iter()
            .map(|lease| Candidate { lease, availability: Availability::Owned })
            .collect();
        let limits = Limits { max_leases: max, max_steals: 1, very_old_first: true, count_finished: true };
        let plan = taker::plan(&candidates, &WorkerId::new("hidden"), limits, &mut |_| 0);
        prop_assert_eq!(plan.steal.len(), 1);
    }
}

use super::*;
use crate::core::ids::LeaseKey;
use crate::core::lease::Counter;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use proptest::prelude::*;

const LIMIT: Duration = Duration::from_secs(30);

fn me() -> WorkerId {
    WorkerId::new("me")
}

fn at(seconds: u64) -> Moment {
    Moment::from_origin(Duration::from_secs(seconds))
}

/// `"n/o"` is a hand-off from o to n.
fn row(owners: &str, counter: u64) -> Lease {
    let mut lease = Lease::new(
        LeaseKey::new("s"),
        ExtendedSequenceNumber::sentinel(Position::Latest),
        vec![],
        None,
    );
    let (owner, leaving) = owners.split_once('/').unwrap_or((owners, ""));
    lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
    lease.checkpoint_owner = (!leaving.is_empty()).then(|| WorkerId::new(leaving));
    lease.counter = Counter(counter);
    lease
}

#[test]
fn what_a_row_means() {
    let x = || WorkerId::new("x");
    let cases = [
        ("me", Role::Owner),
        ("x/me", Role::GivingWay { to: x() }),
        ("me/x", Role::Next { from: x() }),
        ("me/me", Role::Knotted),
        ("x", Role::Stranger),
        ("x/y", Role::Stranger),
        ("", Role::Stranger),
        ("/me", Role::Stranger),
    ];
    for (owners, expected) in cases {
        assert_eq!(role(&row(owners, 1), &me()), expected, "{owners}");
    }
}

#[test]
fn whose_a_row_is() {
    // row; whose with a leader, and in the 2.x algorithm
    let cases = [
        ("me", true, true),
        ("me/x", false, true),
        // Nobody else will ever let go of it.
        ("me/me", true, true),
        ("x/me", false, false),
        ("x", false, false),
        ("", false, false),
        ("/me", false, false),
    ];
    for (owners, assigned, taken) in cases {
        let row = row(owners, 1);
        let is = (is_of(&row, &me(), true), is_of(&row, &me(), false));
        assert_eq!(is, (assigned, taken), "{owners}");
    }
}

#[test]
fn what_a_refused_renewal_means() {
    // held, row found; what it means
    let cases = [
        (("me", 7), Some(("me", 8)), "happened"),
        (("me", 7), Some(("x/me", 8)), "happened"),
        (("x/me", 7), Some(("x/me", 8)), "happened"),
        (("me", 7), Some(("x/me", 7)), "give way"),
        (("me", 7), Some(("x", 8)), "lost"),
        (("me", 7), Some(("me", 9)), "lost"),
        // Begun, but somebody wrote in between who was not me.
        (("me", 7), Some(("x/me", 9)), "lost"),
        (("me", 7), Some(("me/x", 7)), "lost"),
        (("me", 7), Some(("me/me", 7)), "lost"),
        (("x/me", 7), Some(("x", 8)), "lost"),
        (("me", 7), Some(("", 8)), "lost"),
        (("me", 7), None, "lost"),
    ];
    for ((held, counter), found, expected) in cases {
        let held = row(held, counter);
        let found = found.map(|(owners, counter)| row(owners, counter));
        let renewal = held.renewal_noticing_hand_off();
        let meaning = on_refused_renewal(&renewal, &held, found.as_ref(), &me());
        let word = match &meaning {
            Refusal::Happened(_) => "happened",
            Refusal::GiveWay(_) => "give way",
            Refusal::Lost => "lost",
        };
        assert_eq!(word, expected, "{held:?} {found:?}");
        if let Refusal::GiveWay(learnt) = meaning {
            assert!(
                learnt
                    .renewal_noticing_hand_off()
                    .is_permitted_on(found.as_ref())
            );
        }
    }
}

#[test]
fn how_the_old_owner_gives_way() {
    // consumer, seconds since it learnt; what it does
    let cases = [
        (Consumer::Running, 0, "ask"),
        (Consumer::Asked, 0, "wait"),
        (Consumer::Asked, 29, "wait"),
        (Consumer::Asked, 30, "hand over"),
        (Consumer::Running, 30, "hand over"),
        (Consumer::Ended, 1, "hand over"),
        (Consumer::None, 0, "hand over"),
    ];
    let lease = row("x/me", 7);
    for (consumer, seconds, expected) in cases {
        let step = give_way(&lease, &me(), consumer, at(100), at(100 + seconds), LIMIT);
        let word = match &step {
            GiveWay::Ask => "ask",
            GiveWay::WaitUntil(deadline) => {
                assert_eq!(*deadline, at(130));
                "wait"
            }
            GiveWay::HandOver(update) => {
                let after = update.applied_to(&lease);
                assert_eq!(role(&after, &WorkerId::new("x")), Role::Owner);
                assert_eq!(after.counter, Counter(8));
                "hand over"
            }
            GiveWay::Nothing => "nothing",
        };
        assert_eq!(word, expected, "{consumer:?} {seconds}");
    }
    for owners in ["me", "x", "me/x", "x/y", "me/me", ""] {
        let step = give_way(&row(owners, 7), &me(), Consumer::None, at(0), at(99), LIMIT);
        assert_eq!(step, GiveWay::Nothing, "{owners}");
    }
}

#[test]
fn what_is_adopted() {
    let cases = [
        ("me", Some("me"), "adopt"),
        ("me/me", Some("me"), "adopt"),
        ("me/x", None, "wait"),
        ("x/me", Some("x"), "let go"),
        ("x", None, "ignore"),
        ("", None, "ignore"),
        ("/me", None, "ignore"),
    ];
    for (owners, after, expected) in cases {
        let lease = row(owners, 7);
        let (word, update) = match adoption(&lease, &me()) {
            Adoption::Adopt(update) => ("adopt", Some(update)),
            Adoption::Wait { .. } => ("wait", None),
            Adoption::LetGo(update) => ("let go", Some(update)),
            Adoption::Ignore => ("ignore", None),
        };
        assert_eq!(word, expected, "{owners}");
        assert_eq!(update.is_some(), after.is_some());
        if let (Some(update), Some(owner)) = (update, after) {
            assert!(update.is_permitted_on(Some(&lease)));
            let written = update.applied_to(&lease);
            assert_eq!(written.actual_owner(), Some(&WorkerId::new(owner)));
            assert_eq!(written.counter, Counter(8));
        }
    }
}

#[test]
fn a_stale_read_adopts_nothing() {
    let stale = row("me", 7);
    let Adoption::Adopt(update) = adoption(&stale, &me()) else {
        panic!("it looks like mine");
    };
    for now in [row("x", 8), row("x/me", 7), row("", 8), row("me", 8)] {
        assert!(!update.is_permitted_on(Some(&now)), "{now:?}");
    }
}

/// What happens to the one row of the property below.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// The leader hands off to, or assigns to, a worker.
    HandOff(usize),
    Assign(usize),
    /// A worker renews from its copy.
    Renew(usize),
    /// A worker reads the row and adopts it or lets go.
    Discover(usize),
    /// A worker gives way as it knows.
    GiveWay(usize),
    /// A worker restarts: it forgets what it holds.
    Restart(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0..6usize, 0..3usize).prop_map(|(kind, who)| match kind {
        0 => Act::HandOff(who),
        1 => Act::Assign(who),
        2 => Act::Renew(who),
        3 => Act::Discover(who),
        4 => Act::GiveWay(who),
        _ => Act::Restart(who),
    });
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// Whoever was just confirmed by a write is the only one to process, the pair of owners is always a
    /// legal one, and a hand-off always ends when the old owner is asked.
    #[test]
    fn a_hand_off_is_always_legal(acts in acts()) {
        let names: Vec<WorkerId> = ["a", "b", "c"].iter().map(WorkerId::new).collect();
        let mut table = row("", 0);
        let mut held: Vec<Option<Lease>> = vec![None; 3];
        let write = |table: &mut Lease, update: &LeaseUpdate| -> bool {
            let permitted = update.is_permitted_on(Some(table));
            if permitted {
                *table = update.applied_to(table);
            }
            permitted
        };
        for act in acts {
            match act {
                Act::HandOff(who) => {
                    if let Some(update) = table.handed_off_to(&names[who]) {
                        write(&mut table, &update);
                    }
                }
                Act::Assign(who) => {
                    let update = table.assigned_to(&names[who]);
                    write(&mut table, &update);
                }
                Act::Renew(who) => if let Some(copy) = held[who].clone() {
                    let renewal = copy.renewal_noticing_hand_off();
                    held[who] = if write(&mut table, &renewal) {
                        Some(table.clone())
                    } else {
                        match on_refused_renewal(&renewal, &copy, Some(&table), &names[who]) {
                            Refusal::Happened(row) | Refusal::GiveWay(row) => Some(row),
                            Refusal::Lost => None,
                        }
                    };
                    // Whoever still holds it after asking the table is the one who may process.
                    if held[who].is_some() {
                        prop_assert_eq!(table.actual_owner(), Some(&names[who]));
                    }
                },
                Act::Discover(who) => if held[who].is_none() {
                    match adoption(&table, &names[who]) {
                        Adoption::Adopt(update) => if write(&mut table, &update) {
                            held[who] = Some(table.clone());
                            // The one before cannot renew any more.
                            for (other, copy) in held.iter().enumerate() {
                                if let Some(copy) = copy.as_ref().filter(|_| other != who) {
                                    prop_assert!(!copy.renewal_noticing_hand_off().is_permitted_on(Some(&table)));
                                }
                            }
                        },
                        Adoption::LetGo(update) => {
                            write(&mut table, &update);
                            prop_assert!(!table.in_hand_off());
                        }
                        Adoption::Wait { .. } | Adoption::Ignore => {}
                    }
                },
                Act::GiveWay(who) => if let Some(copy) = held[who].clone() {
                    match give_way(&copy, &names[who], Consumer::Ended, at(0), at(1), LIMIT) {
                        GiveWay::HandOver(update) => {
                            write(&mut table, &update);
                            held[who] = None;
                        }
                        GiveWay::Nothing => {}
                        other => prop_assert!(false, "{:?}", other),
                    }
                },
                Act::Restart(who) => held[who] = None,
            }
            // The two owners of a hand-off are two.
            if let Some(from) = &table.checkpoint_owner {
                prop_assert!(table.owner.as_ref().is_some_and(|owner| owner != from));
            }
        }
    }
}

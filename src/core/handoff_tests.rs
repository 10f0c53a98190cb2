use super::*;
use crate::core::ids::LeaseKey;
use crate::core::lease::Counter;
use crate::core::sequence::{ExtendedSequenceNumber, Position};
use crate::core::tenure::{Lesson, Tenure};
use crate::core::time::Moment;
use proptest::prelude::*;
use std::time::Duration;

fn me() -> WorkerId {
    WorkerId::new("me")
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
    /// A worker gives up what it holds, or gives way as far as it knows.
    GiveUp(usize),
    /// A worker restarts: it forgets what it holds.
    Restart(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0..6usize, 0..3usize).prop_map(|(kind, who)| match kind {
        0 => Act::HandOff(who),
        1 => Act::Assign(who),
        2 => Act::Renew(who),
        3 => Act::Discover(who),
        4 => Act::GiveUp(who),
        _ => Act::Restart(who),
    });
    prop::collection::vec(act, 1..60)
}

/// Writes if the condition holds; whether it did.
fn write(table: &mut Lease, update: &LeaseUpdate) -> bool {
    let permitted = update.is_permitted_on(Some(table));
    if permitted {
        *table = update.applied_to(table);
    }
    permitted
}

proptest! {
    /// Whoever was just confirmed by a write is the only one to process, the pair of owners is always a
    /// legal one, and a hand-off always ends when the old owner is asked.
    #[test]
    fn a_hand_off_is_always_legal(acts in acts()) {
        let names: Vec<WorkerId> = ["a", "b", "c"].iter().map(WorkerId::new).collect();
        let now = Moment::from_origin(Duration::ZERO);
        let mut table = row("", 0);
        let mut held: Vec<Option<Tenure>> = vec![None; 3];
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
                Act::Renew(who) => if let Some(tenure) = &mut held[who] {
                    if write(&mut table, &tenure.lease().renewal()) {
                        tenure.applied(table.clone(), now);
                    } else {
                        tenure.refused(Some(table.clone()));
                    }
                    if tenure.is_over() {
                        held[who] = None;
                    } else {
                        // Whoever still holds it after asking the table is the one who may process.
                        prop_assert_eq!(table.actual_owner(), Some(&names[who]));
                        prop_assert_eq!(tenure.handing_off_to().is_some(), table.in_hand_off());
                    }
                },
                Act::Discover(who) => if held[who].is_none() {
                    match adoption(&table, &names[who]) {
                        Adoption::Adopt(update) => if write(&mut table, &update) {
                            held[who] = Some(Tenure::begin(names[who].clone(), table.clone(), now));
                            // The one before cannot renew any more.
                            for (other, tenure) in held.iter().enumerate() {
                                if let Some(tenure) = tenure.as_ref().filter(|_| other != who) {
                                    prop_assert!(!tenure.lease().renewal().is_permitted_on(Some(&table)));
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
                Act::GiveUp(who) => if let Some(mut tenure) = held[who].take() {
                    let untouched = table.counter == tenure.lease().counter
                        && table.actual_owner() == Some(&names[who]);
                    let next = table.in_hand_off().then(|| table.owner.clone()).flatten();
                    let mut given_up = write(&mut table, &tenure.giving_up(None).unwrap());
                    // It may learn only now that the lease is being moved, and to whom.
                    if !given_up && tenure.refused(Some(table.clone())) == Lesson::HandOffBegan {
                        given_up = write(&mut table, &tenure.giving_up(None).unwrap());
                    }
                    prop_assert!(given_up || !untouched);
                    if given_up {
                        prop_assert_eq!((&table.owner, &table.checkpoint_owner), (&next, &None));
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

use super::*;
use crate::core::sequence::{Position, SequenceNumber};

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

fn lease() -> Lease {
    let mut lease = Lease::new(
        LeaseKey::new("shardId-0"),
        ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
        vec![],
        None,
    );
    lease.counter = Counter(7);
    lease.owner = Some(worker("a"));
    lease
}

fn at(number: &str) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber::record(SequenceNumber::parse(number).unwrap(), 0)
}

#[test]
fn every_owners_write_raises_the_counter_by_one_and_others_leave_it() {
    let lease = lease();
    let raising = [
        lease.renewal(),
        lease.taken_by(&worker("b")),
        lease.checkpointed(at("5")),
        lease.released(&worker("a")),
    ];
    for update in raising {
        assert!(update.is_permitted_on(Some(&lease)), "{update:?}");
        assert_eq!(update.applied_to(&lease).counter, Counter(8), "{update:?}");
        let mut moved = lease.clone();
        moved.counter = Counter(8);
        assert!(
            !update.is_permitted_on(Some(&moved)),
            "{update:?} on a moved counter"
        );
        assert!(!update.is_permitted_on(None), "{update:?} on a missing row");
    }
    for update in [
        lease.with_children(vec![ShardId::new("shardId-1")]),
        lease.with_hash_range(HashRange::FULL),
    ] {
        assert_eq!(update.applied_to(&lease).counter, Counter(7));
        assert!(!update.is_permitted_on(None));
    }
}

#[test]
fn taking_counts_a_switch_only_from_another_owner() {
    let mut own = lease();
    assert_eq!(
        own.taken_by(&worker("b")).applied_to(&own).owner_switches,
        1
    );
    assert_eq!(
        own.taken_by(&worker("a")).applied_to(&own).owner_switches,
        0
    );
    own.owner = None;
    assert_eq!(
        own.taken_by(&worker("b")).applied_to(&own).owner_switches,
        0
    );
}

#[test]
fn taking_drops_a_stray_hand_off() {
    let mut stray = lease();
    stray.checkpoint_owner = Some(worker("c"));
    assert_eq!(
        stray
            .taken_by(&worker("b"))
            .applied_to(&stray)
            .checkpoint_owner,
        None
    );
}

#[test]
fn release_is_only_for_the_owner() {
    let lease = lease();
    assert!(!lease.released(&worker("b")).is_permitted_on(Some(&lease)));
    assert_eq!(lease.released(&worker("a")).applied_to(&lease).owner, None);
}

#[test]
fn a_lost_answer_is_told_from_a_lost_lease() {
    let before = lease();
    let update = before.checkpointed(at("5"));
    assert!(update.is_proven_by(&before, &update.applied_to(&before)));
    // Not applied.
    assert!(!update.is_proven_by(&before, &before));
    // Somebody took it.
    let taken = before.taken_by(&worker("b")).applied_to(&before);
    assert!(!update.is_proven_by(&before, &taken));
    // A renewal of mine went through instead: the checkpoint did not.
    assert!(!update.is_proven_by(&before, &before.renewal().applied_to(&before)));
    // Applied, and somebody wrote after it.
    let later = update.applied_to(&before);
    let later = later.renewal().applied_to(&later);
    assert!(!update.is_proven_by(&before, &later));
}

#[test]
fn children_have_no_order() {
    let ids = |names: &[&str]| names.iter().map(ShardId::new).collect::<Vec<_>>();
    let before = lease();
    let update = before.with_children(ids(&["b", "a"]));
    let mut read_back = update.applied_to(&before);
    read_back.children = ids(&["a", "b"]);
    assert!(update.is_proven_by(&before, &read_back));
    read_back.children = ids(&["a"]);
    assert!(!update.is_proven_by(&before, &read_back));
}

#[test]
fn a_delete_needs_the_row_that_was_looked_at() {
    let lease = lease();
    let deletion = LeaseDeletion::of(&lease);
    assert!(deletion.is_permitted_on(Some(&lease)));
    assert!(!deletion.is_permitted_on(Some(&lease.renewal().applied_to(&lease))));
    assert!(!deletion.is_permitted_on(None));
}

/// `"n/o"` is a hand-off from o to n.
fn owned(owners: &str) -> Lease {
    let mut lease = lease();
    let (owner, leaving) = owners.split_once('/').unwrap_or((owners, ""));
    lease.owner = (!owner.is_empty()).then(|| worker(owner));
    lease.checkpoint_owner = (!leaving.is_empty()).then(|| worker(leaving));
    lease
}

fn owners(lease: &Lease) -> String {
    let name = |id: &Option<WorkerId>| id.as_ref().map_or_else(String::new, ToString::to_string);
    match &lease.checkpoint_owner {
        None => name(&lease.owner),
        Some(leaving) => format!("{}/{leaving}", name(&lease.owner)),
    }
}

#[test]
fn a_renewal_of_3x_notices_a_hand_off_it_does_not_know() {
    let mine = owned("a");
    let moving = owned("b/a");
    let renewal = mine.renewal_noticing_hand_off();
    assert!(renewal.is_permitted_on(Some(&mine)));
    assert!(!renewal.is_permitted_on(Some(&moving)));
    // One that knows goes through, and the owners stay.
    let informed = moving.renewal_noticing_hand_off();
    assert!(informed.is_permitted_on(Some(&moving)));
    assert_eq!(owners(&informed.applied_to(&moving)), "b/a");
}

#[test]
fn assigning_ends_a_hand_off_and_relies_on_the_owners() {
    // row, new owner, changes of owner, row after
    let cases = [
        ("", "b", 0, "b"),
        ("a", "b", 1, "b"),
        ("a", "a", 0, "a"),
        ("b/a", "b", 0, "b"),
        ("b/a", "c", 1, "c"),
        ("b/a", "a", 1, "a"),
    ];
    for (before, new, switches, after) in cases {
        let row = owned(before);
        for update in [
            row.assigned_to(&worker(new)),
            row.assigned_if_silent_to(&worker(new)),
        ] {
            assert!(update.is_permitted_on(Some(&row)), "{before} {new}");
            let written = update.applied_to(&row);
            assert_eq!(owners(&written), after, "{before} {new}");
            assert_eq!(written.owner_switches, switches, "{before} {new}");
            assert_eq!(written.counter, Counter(8), "{before} {new}");
            assert!(update.is_proven_by(&row, &written));
            assert!(!update.is_permitted_on(None));
            for other in ["x", "", "b/x", "x/a"].iter().filter(|o| **o != before) {
                assert!(!update.is_permitted_on(Some(&owned(other))), "{other}");
            }
        }
        // The owner shows life: only the write that thinks it dead fails.
        let alive = row.renewal().applied_to(&row);
        assert!(
            row.assigned_to(&worker(new)).is_permitted_on(Some(&alive)),
            "{before} {new}"
        );
        assert!(
            !row.assigned_if_silent_to(&worker(new))
                .is_permitted_on(Some(&alive)),
            "{before} {new}"
        );
    }
}

#[test]
fn a_hand_off_begins_without_touching_the_counter() {
    let row = owned("a");
    let begin = row.handed_off_to(&worker("b")).unwrap();
    let moving = begin.applied_to(&row);
    assert_eq!(
        (owners(&moving).as_str(), moving.counter),
        ("b/a", row.counter)
    );
    assert_eq!(moving.actual_owner(), Some(&worker("a")));
    assert!(begin.is_proven_by(&row, &moving));
    // The old owner renews meanwhile: neither in the way nor a disproof.
    let renewed = row.renewal().applied_to(&row);
    assert!(begin.is_permitted_on(Some(&renewed)));
    assert!(begin.is_proven_by(&row, &begin.applied_to(&renewed)));
    assert!(!begin.is_proven_by(&row, &row));
    for impossible in ["", "b", "b/a", "c/b"] {
        assert_eq!(
            owned(impossible).handed_off_to(&worker("b")),
            None,
            "{impossible}"
        );
    }
}

#[test]
fn giving_up_finishes_a_hand_off_or_releases() {
    let cases = [
        ("a", Some("")),
        ("b/a", Some("b")),
        ("b", None),
        ("a/b", None),
        ("", None),
        ("a/a", None),
    ];
    for (before, after) in cases {
        let row = owned(before);
        let update = row.given_up_by(&worker("a"));
        assert_eq!(
            update
                .map(|update| owners(&update.applied_to(&row)))
                .as_deref(),
            after,
            "{before}"
        );
    }
}

#[test]
fn taking_what_carries_ones_id_proves_nothing() {
    let row = owned("a");
    let own = row.taken_by(&worker("a"));
    assert!(!own.is_proven_by(&row, &own.applied_to(&row)));
    let foreign = row.taken_by(&worker("b"));
    assert!(foreign.is_proven_by(&row, &foreign.applied_to(&row)));
}

#[test]
fn a_hand_off_right_after_an_owners_write_does_not_disprove_it() {
    let row = owned("a");
    for update in [row.renewal_noticing_hand_off(), row.checkpointed(at("5"))] {
        let written = update.applied_to(&row);
        let moving = written
            .handed_off_to(&worker("b"))
            .unwrap()
            .applied_to(&written);
        assert!(update.is_proven_by(&row, &moving), "{update:?}");
        // Begun before it, the row of a renewal that failed for it proves nothing.
        let begun = row.handed_off_to(&worker("b")).unwrap().applied_to(&row);
        assert!(!update.is_proven_by(&row, &begun), "{update:?}");
        // Somebody else took it.
        let taken = row.taken_by(&worker("c")).applied_to(&row);
        assert!(!update.is_proven_by(&row, &taken), "{update:?}");
    }
}

#[test]
fn the_throughput_rides_on_a_write() {
    let row = owned("a");
    let cases = [
        (None, None),
        (Some(1.234_567_8), Some(1.234_568)),
        (Some(0.0), Some(0.0)),
        (Some(f64::NAN), None),
        (Some(-1.0), None),
        (Some(f64::INFINITY), None),
    ];
    for (given, stored) in cases {
        let update = row.renewal_noticing_hand_off().with_throughput(given);
        assert_eq!(update.applied_to(&row).throughput_kbps, stored, "{given:?}");
    }
    // A write without one keeps the old one.
    let mut known = row.clone();
    known.throughput_kbps = Some(3.0);
    assert_eq!(
        known.renewal().applied_to(&known).throughput_kbps,
        Some(3.0)
    );
}

#[test]
fn a_mark_holds_until_somebody_else_writes() {
    let row = owned("a");
    assert!(!row.marked);
    let marked = row.renewal().marked().applied_to(&row);
    assert!(marked.marked);
    // A Java worker of the same name goes on: its write leaves the mark behind.
    assert!(!marked.renewal().applied_to(&marked).marked);
    // Writes that leave the counter leave the mark.
    let moving = marked.handed_off_to(&worker("b")).unwrap().marked();
    assert!(!moving.mark);
    assert!(moving.applied_to(&marked).marked);
    // One that does not know the counter cannot leave one.
    assert!(!marked.assigned_to(&worker("b")).marked().mark);
    for update in [
        row.taken_by(&worker("b")),
        row.checkpointed(at("5")),
        row.released(&worker("a")),
        row.renewal_noticing_hand_off(),
        row.assigned_if_silent_to(&worker("b")),
    ] {
        assert!(update.marked().applied_to(&row).marked);
    }
}

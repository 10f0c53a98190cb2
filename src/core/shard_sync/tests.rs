use super::*;
use crate::core::lease::LeaseDeletion;
use crate::core::sequence::SequenceNumber;
use proptest::prelude::*;

fn shard(number: usize, parents: &[usize], range: (u128, u128), closed: bool) -> Shard {
    Shard {
        id: id(number),
        parents: parents.iter().map(|p| id(*p)).collect(),
        hash_range: HashRange {
            start: range.0,
            end: range.1,
        },
        starting_sequence: SequenceNumber::parse(&(1000 + number * 10).to_string()).unwrap(),
        closed,
    }
}

fn id(number: usize) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

fn lease(shard: &Shard, checkpoint: &str) -> Lease {
    lease_of(
        shard,
        ExtendedSequenceNumber::sentinel(checkpoint.parse().unwrap()),
    )
}

const MAX: u128 = u128::MAX;

/// The example of `leases.md` E.1: roots 0-5; 6 = merge(0,1), 7 = merge(2,3), 8 = merge(6,7),
/// {9,10} = split(5); open: 4, 8, 9, 10.
fn example() -> Vec<Shard> {
    vec![
        shard(0, &[], (0, 9), true),
        shard(1, &[], (10, 19), true),
        shard(2, &[], (20, 29), true),
        shard(3, &[], (30, 39), true),
        shard(4, &[], (40, 49), false),
        shard(5, &[], (50, MAX), true),
        shard(6, &[0, 1], (0, 19), true),
        shard(7, &[2, 3], (20, 39), true),
        shard(8, &[6, 7], (0, 39), false),
        shard(9, &[5], (50, 59), false),
        shard(10, &[5], (60, MAX), false),
    ]
}

fn described(leases: &[Lease]) -> Vec<String> {
    leases
        .iter()
        .map(|lease| {
            let number: usize = lease.key.as_str()[8..].parse().unwrap();
            format!("{number} {}", lease.checkpoint)
        })
        .collect()
}

#[test]
fn the_example_of_the_reference() {
    let shards = example();
    let leases: Vec<Lease> = [4, 5, 7].iter().map(|n| lease(&shards[*n], "5")).collect();
    let cases = [
        (InitialPosition::Latest, vec!["6 LATEST"]),
        (
            InitialPosition::TrimHorizon,
            vec!["0 TRIM_HORIZON", "1 TRIM_HORIZON"],
        ),
        (
            InitialPosition::AtTimestamp(1),
            vec!["0 AT_TIMESTAMP", "1 AT_TIMESTAMP"],
        ),
    ];
    for (position, expected) in cases {
        let planned = missing_leases(&shards, &leases, position, false).unwrap();
        assert_eq!(described(&planned), expected, "{position:?}");
    }
}

#[test]
fn children_of_tracked_shards_wait_for_their_parents() {
    let shards = example();
    let all: Vec<Lease> = [4, 5, 6, 7]
        .iter()
        .map(|n| lease(&shards[*n], "5"))
        .collect();
    for position in [InitialPosition::Latest, InitialPosition::TrimHorizon] {
        assert_eq!(missing_leases(&shards, &all, position, false), Ok(vec![]));
    }
}

#[test]
fn an_open_shard_without_ancestors_starts_at_the_configured_position() {
    let shards = vec![
        shard(0, &[], (0, 9), false),
        shard(1, &[], (10, MAX), false),
    ];
    let leases = vec![lease(&shards[0], "7")];
    let planned = missing_leases(&shards, &leases, InitialPosition::Latest, false).unwrap();
    assert_eq!(described(&planned), ["1 LATEST"]);
    assert_eq!(planned[0].hash_range, Some(shards[1].hash_range));
}

#[test]
fn a_child_lease_lost_after_its_parents_end_is_made_again() {
    // Java reports this hole for ever (leases.md E.1, unrepairable case).
    let shards = vec![
        shard(0, &[], (0, MAX), true),
        shard(1, &[0], (0, 9), false),
        shard(2, &[0], (10, MAX), false),
    ];
    let leases = vec![lease(&shards[0], "SHARD_END"), lease(&shards[1], "5")];
    for position in [InitialPosition::Latest, InitialPosition::AtTimestamp(9)] {
        let planned = missing_leases(&shards, &leases, position, false).unwrap();
        assert_eq!(described(&planned), ["2 TRIM_HORIZON"]);
        assert_eq!(planned[0].parents, [id(0)]);
    }
}

#[test]
fn a_finished_child_whose_own_children_go_on_is_not_made_again() {
    // 0 -> 1 -> 2; the lease of 1 is gone, that of 2 is there.
    let shards = vec![
        shard(0, &[], (0, MAX), true),
        shard(1, &[0], (0, MAX), true),
        shard(2, &[1], (0, MAX), false),
    ];
    let leases = vec![lease(&shards[0], "SHARD_END"), lease(&shards[2], "5")];
    assert_eq!(
        missing_leases(&shards, &leases, InitialPosition::TrimHorizon, false),
        Ok(vec![])
    );
}

#[test]
fn a_merged_child_waits_for_its_other_parent() {
    let shards = vec![
        shard(0, &[], (0, 9), true),
        shard(1, &[], (10, MAX), true),
        shard(2, &[0, 1], (0, MAX), false),
    ];
    let leases = vec![lease(&shards[0], "SHARD_END"), lease(&shards[1], "5")];
    assert_eq!(
        missing_leases(&shards, &leases, InitialPosition::TrimHorizon, false),
        Ok(vec![])
    );
}

#[test]
fn contradictory_lists_create_nothing() {
    let half = vec![shard(0, &[], (0, 9), false)];
    assert!(matches!(
        missing_leases(
            &half,
            &[lease(&half[0], "5")],
            InitialPosition::Latest,
            false
        ),
        Err(Inconsistent::Hole(_))
    ));
    assert!(matches!(
        initial_leases(&half, InitialPosition::Latest),
        Err(Inconsistent::Hole(_))
    ));
    assert_eq!(
        missing_leases(&[], &[], InitialPosition::Latest, false),
        Err(Inconsistent::Empty)
    );
    assert_eq!(
        initial_leases(&[], InitialPosition::TrimHorizon),
        Err(Inconsistent::Empty)
    );
    let open_parent = vec![
        shard(0, &[], (0, MAX), false),
        shard(1, &[0], (0, MAX), false),
    ];
    assert!(matches!(
        missing_leases(&open_parent, &[], InitialPosition::Latest, false),
        Err(Inconsistent::OpenParent { .. })
    ));
    let planned = missing_leases(&open_parent, &[], InitialPosition::Latest, true).unwrap();
    assert_eq!(described(&planned), ["0 LATEST"]);
}

#[test]
fn a_new_application() {
    let open = vec![
        shard(4, &[], (40, MAX), false),
        shard(8, &[6, 7], (0, 39), false),
    ];
    let leases = initial_leases(&open, InitialPosition::Latest).unwrap();
    assert_eq!(described(&leases), ["4 LATEST", "8 LATEST"]);
    assert_eq!(leases[1].parents, [id(6), id(7)]);
    // A service that ignores the filter lists everything.
    let all = example();
    assert_eq!(
        described(&initial_leases(&all, InitialPosition::Latest).unwrap()),
        ["4 LATEST", "8 LATEST", "9 LATEST", "10 LATEST"]
    );
    assert_eq!(
        described(&initial_leases(&all, InitialPosition::TrimHorizon).unwrap()),
        (0..6)
            .map(|n| format!("{n} TRIM_HORIZON"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn audits() {
    let shards = example();
    let of = |numbers: &[usize]| -> Vec<Lease> {
        numbers.iter().map(|n| lease(&shards[*n], "5")).collect()
    };
    assert_eq!(audit(&[]), Finding::NoLeases);
    assert_eq!(audit(&of(&[4, 8, 9, 10])), Finding::Covered);
    // Parents and children side by side.
    assert_eq!(audit(&of(&[0, 1, 8, 4, 5, 9])), Finding::Covered);
    assert_eq!(
        audit(&of(&[4, 8, 9])),
        Finding::Hole(HashRange {
            start: 60,
            end: MAX
        })
    );
    let mut finished = of(&[4, 8, 9, 10]);
    finished[1].checkpoint = ExtendedSequenceNumber::SHARD_END;
    assert_eq!(
        audit(&finished),
        Finding::Hole(HashRange { start: 0, end: 39 })
    );
    let mut old = of(&[4, 8, 9, 10]);
    old[2].hash_range = None;
    assert_eq!(
        audit(&old),
        Finding::UnknownRanges(vec![old[2].key.clone()])
    );
}

#[test]
fn finished_leases_go_when_their_children_are_under_way() {
    let shards = example();
    let mut parent = lease(&shards[5], "SHARD_END");
    parent.children = vec![id(9), id(10)];
    let with = |parent: &Lease, others: &[(usize, &str)]| {
        let others: Vec<Lease> = others.iter().map(|(n, c)| lease(&shards[*n], c)).collect();
        let mut map: HashMap<ShardId, &Lease> = others.iter().map(|l| (l.shard_id(), l)).collect();
        map.insert(parent.shard_id(), parent);
        clean_up(parent, &map)
    };
    assert_eq!(
        with(&parent, &[(9, "5"), (10, "SHARD_END")]),
        CleanUp::Delete(LeaseDeletion::of(&parent))
    );
    assert_eq!(
        with(&parent, &[(9, "5"), (10, "TRIM_HORIZON")]),
        CleanUp::Keep
    );
    assert_eq!(with(&parent, &[(9, "5")]), CleanUp::MissingChild(id(10)));
    let mut unknown = parent.clone();
    unknown.children.clear();
    assert_eq!(with(&unknown, &[]), CleanUp::AskService);
    let mut unfinished = parent.clone();
    unfinished.checkpoint = ExtendedSequenceNumber::sentinel("5".parse().unwrap());
    assert_eq!(with(&unfinished, &[(9, "5"), (10, "5")]), CleanUp::Keep);
    // Grandparents go before parents.
    let mut middle = lease(&shards[6], "SHARD_END");
    middle.children = vec![id(8)];
    assert_eq!(with(&middle, &[(0, "SHARD_END"), (8, "5")]), CleanUp::Keep);
}

/// A random history of splits and merges over the whole hash space.
fn history(choices: &[(u8, u16)]) -> Vec<Shard> {
    let mut shards = vec![
        shard(0, &[], (0, MAX / 2), false),
        shard(1, &[], (MAX / 2 + 1, MAX), false),
    ];
    for (kind, pick) in choices {
        let open: Vec<usize> = (0..shards.len()).filter(|i| !shards[*i].closed).collect();
        let chosen = open[*pick as usize % open.len()];
        let range = shards[chosen].hash_range;
        let next = shards.len();
        if kind % 2 == 0 && range.end - range.start > 4 {
            let middle = range.start + (range.end - range.start) / 2;
            shards[chosen].closed = true;
            shards.push(shard(next, &[chosen], (range.start, middle), false));
            shards.push(shard(next + 1, &[chosen], (middle + 1, range.end), false));
        } else if let Some(neighbour) = open
            .iter()
            .find(|i| range.end.checked_add(1) == Some(shards[**i].hash_range.start))
        {
            let end = shards[*neighbour].hash_range.end;
            shards[chosen].closed = true;
            shards[*neighbour].closed = true;
            shards.push(shard(
                next,
                &[chosen, *neighbour],
                (range.start, end),
                false,
            ));
        }
    }
    shards
}

proptest! {
    /// I.26: whatever rows exist, after a sync every part of the hash space has a lease that will lead
    /// to its open shard: an unfinished one covering it, reached by ends of shards.
    #[test]
    fn a_sync_leaves_no_hole(
        choices in prop::collection::vec((any::<u8>(), any::<u16>()), 0..12),
        kept in prop::collection::vec((any::<bool>(), any::<bool>()), 40),
        position in 0u8..3,
    ) {
        let shards = history(&choices);
        let position = [InitialPosition::Latest, InitialPosition::TrimHorizon, InitialPosition::AtTimestamp(1)][position as usize];
        let mut leases: Vec<Lease> = shards.iter().zip(&kept).filter(|(_, (keep, _))| *keep)
            .map(|(s, (_, finished))| lease(s, if s.closed && *finished { "SHARD_END" } else { "5" })).collect();
        // Sync, then let every unfinished lease of a closed shard end and create its children; repeat.
        for _round in 0..shards.len() + 2 {
            let new = missing_leases(&shards, &leases, position, false).unwrap();
            for lease in &new {
                prop_assert!(leases.iter().all(|l| l.key != lease.key), "created twice");
            }
            leases.extend(new);
            for index in 0..leases.len() {
                let shard = shards.iter().find(|s| s.id == leases[index].shard_id()).unwrap();
                let parents_done = shard.parents.iter().all(|p| leases.iter().all(|l| l.shard_id() != *p || l.is_finished()));
                if shard.closed && !leases[index].is_finished() && parents_done {
                    for child in child_leases(&children_of(&shard.id, &shards)) {
                        if leases.iter().all(|l| l.key != child.key) { leases.push(child); }
                    }
                    leases[index].checkpoint = ExtendedSequenceNumber::SHARD_END;
                }
            }
        }
        prop_assert_eq!(audit(&leases), Finding::Covered);
    }
}

#[test]
fn an_initial_sync_is_completed_as_it_was_begun() {
    let shards = example();
    let initial: Vec<Lease> = [4, 8, 9]
        .iter()
        .map(|n| lease(&shards[*n], "AT_TIMESTAMP"))
        .collect();
    let mut begun = initial[..1].to_vec();
    begun[0].checkpoint = "7".parse().map(ExtendedSequenceNumber::sentinel).unwrap();
    let rest = rest_of_initial_leases(&initial, &begun).unwrap();
    assert_eq!(described(&rest), ["8 AT_TIMESTAMP", "9 AT_TIMESTAMP"]);
    // A child of later days: the walk has to say what is missing.
    begun.push(lease(&shards[10], "TRIM_HORIZON"));
    assert_eq!(rest_of_initial_leases(&initial, &begun), None);
    // All of it is there; what is missing came later, and the walk has to say it, too.
    assert_eq!(rest_of_initial_leases(&initial, &initial), None);
}

#[test]
fn half_an_initial_sync_at_latest_says_nothing_of_ancestors() {
    let shards = example();
    let at = |checkpoint: &str| {
        let leases = [lease(&shards[4], "LATEST"), lease(&shards[9], checkpoint)];
        described(&missing_leases(&shards, &leases, InitialPosition::Latest, false).unwrap())
    };
    assert_eq!(at("LATEST"), ["8 LATEST", "10 LATEST"]);
    // Shard 9 has been read: its lease was made at the end of shard 5, whose other child is lost.
    assert_eq!(at("7"), ["8 LATEST", "10 TRIM_HORIZON"]);
}

#[test]
fn a_lost_child_is_one_without_leased_descendants() {
    let shards = example();
    let children = children_of(&id(0), &shards);
    let leased = |numbers: &[usize]| numbers.iter().map(|n| id(*n)).collect();
    assert_eq!(lost_children(&children, &shards, &leased(&[0])).len(), 1);
    assert_eq!(lost_children(&children, &shards, &leased(&[0, 6])).len(), 0);
    assert_eq!(lost_children(&children, &shards, &leased(&[0, 8])).len(), 0);
}

#[test]
fn what_came_of_a_shard() {
    let named = |ids: Vec<ShardId>| -> Vec<String> {
        let short = |id: &ShardId| id.as_str()[18..].to_owned();
        ids.iter().map(short).collect()
    };
    let of = |number| named(ancestors(&id(number), &example()));
    assert_eq!(of(8), ["06", "07", "00", "01", "02", "03"]);
    assert_eq!(of(9), ["05"]);
    assert!(of(0).is_empty());
    // Its parents are known, though they are not listed.
    let one = [shard(8, &[6, 7], (0, MAX), false)];
    assert_eq!(named(ancestors(&id(8), &one)), ["06", "07"]);
    let of = |number| named(descendants(&id(number), &example()));
    assert_eq!(of(0), ["06", "08"]);
    assert_eq!(of(5), ["09", "10"]);
    assert!(of(8).is_empty());
    assert!(of(77).is_empty());
}

#[test]
fn a_list_that_lacks_the_children_of_an_ended_shard_is_not_used() {
    let shards = example();
    let ids = |children: Vec<ChildShard>| children.into_iter().map(|c| c.id).collect::<Vec<_>>();
    assert_eq!(
        children_at_end(&id(5), &shards).map(ids),
        Ok(vec![id(9), id(10)])
    );
    assert!(children_at_end(&id(5), &shards[..9]).is_err());
    assert_eq!(children_at_end(&id(5), &[]), Err(Inconsistent::Empty));
    // So old that its children are trimmed too.
    assert_eq!(children_at_end(&id(99), &shards), Ok(vec![]));
}

/// 0 became 1 and 2, 1 became 3 and 4; what is left is the lease of 2.
#[test]
fn what_was_read_already_is_not_begun_anew() {
    let shards = [
        shard(0, &[], (0, MAX), true),
        shard(1, &[0], (0, 9), true),
        shard(2, &[0], (10, MAX), false),
        shard(3, &[1], (0, 4), false),
        shard(4, &[1], (5, 9), false),
    ];
    for position in [InitialPosition::TrimHorizon, InitialPosition::Latest] {
        let missing = missing_leases(&shards, &[lease(&shards[2], "7")], position, false);
        assert_eq!(
            described(&missing.unwrap()),
            ["1 TRIM_HORIZON"],
            "{position:?}"
        );
    }
}

//! Splits and merges: parents, ends, children.

use super::place::{Begin, closed, range};
use super::{Outcome, Place, checks, must};

checks![
    split_names_the_parent,
    merge_names_both_parents,
    a_closed_shard_can_be_read_to_its_end,
    the_end_of_a_split_shard_names_its_children,
    the_end_of_a_merged_shard_names_its_child,
    positions_work_in_closed_shards,
    update_shard_count_names_parents,
];

const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";

fn split_names_the_parent(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let children = place.aws().split(&stream, FIRST);
    must!(children.len() == 2, "children {children:?}");
    let shards = place.shards(&stream)?;
    must!(shards.len() == 3 && closed(&shards[0]), "{shards:?}");
    must!(
        shards[1..]
            .iter()
            .all(|shard| !closed(shard) && shard.adjacent_parent_shard_id().is_none()),
        "{shards:?}"
    );
    let (whole, left, right) = (range(&shards[0])?, range(&shards[1])?, range(&shards[2])?);
    must!(
        left.0 == whole.0 && left.1 + 1 == right.0 && right.1 == whole.1,
        "{whole:?} became {left:?} and {right:?}"
    );
    for (hash, child) in [(0, &children[0]), (u128::MAX, &children[1])] {
        let (taken, _) = place.put(&stream, hash, b"x")?;
        must!(taken == *child, "{hash} went to {taken}, not to {child}");
    }
    Ok(())
}

fn merge_names_both_parents(place: &Place) -> Outcome {
    let stream = place.stream(2);
    let child = place.aws().merge(&stream, FIRST, SECOND);
    let shards = place.shards(&stream)?;
    let merged = shards
        .iter()
        .find(|shard| shard.shard_id == child)
        .ok_or("no child")?;
    let mut parents = vec![merged.parent_shard_id(), merged.adjacent_parent_shard_id()];
    parents.sort_unstable();
    must!(
        parents == [Some(FIRST), Some(SECOND)],
        "parents {parents:?}"
    );
    must!(
        range(merged)? == (0, u128::MAX),
        "range {:?}",
        range(merged)?
    );
    must!(
        shards.iter().filter(|shard| closed(shard)).count() == 2,
        "{shards:?}"
    );
    Ok(())
}

fn a_closed_shard_can_be_read_to_its_end(place: &Place) -> Outcome {
    let stream = place.stream(1);
    for text in ["a", "b"] {
        place.put(&stream, 0, text.as_bytes())?;
    }
    let before = place.iterator(&stream, FIRST, &Begin::Start)?;
    let children = place.aws().split(&stream, FIRST);
    place.put(&stream, 0, b"c")?;
    for (what, read) in [
        ("an iterator from before", place.read_on(before)?),
        ("a new iterator", place.read(&stream, FIRST, &Begin::Start)?),
    ] {
        must!(read.texts == ["a", "b"], "{what} gave {:?}", read.texts);
        must!(read.end.is_some(), "{what} does not come to an end");
    }
    let child = place.read(&stream, &children[0], &Begin::Start)?;
    must!(
        child.texts == ["c"] && child.end.is_none(),
        "the child gave {child:?}"
    );
    Ok(())
}

fn the_end_of_a_split_shard_names_its_children(place: &Place) -> Outcome {
    let stream = place.stream(1);
    place.put(&stream, 0, b"a")?;
    let expected = place.aws().split(&stream, FIRST);
    let shards = place.shards(&stream)?;
    let end = place
        .read(&stream, FIRST, &Begin::Start)?
        .end
        .ok_or("no end")?;
    let mut children = end.child_shards.unwrap_or_default();
    children.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
    let ids: Vec<&str> = children.iter().map(|child| child.shard_id()).collect();
    must!(ids == expected, "{ids:?}, expected {expected:?}");
    for (child, shard) in children.iter().zip(&shards[1..]) {
        must!(
            child.parent_shards() == [FIRST],
            "parents {:?}",
            child.parent_shards()
        );
        must!(
            child.hash_key_range() == shard.hash_key_range(),
            "{:?} differs from ListShards",
            child.hash_key_range()
        );
    }
    Ok(())
}

fn the_end_of_a_merged_shard_names_its_child(place: &Place) -> Outcome {
    let stream = place.stream(2);
    let expected = place.aws().merge(&stream, FIRST, SECOND);
    for parent in [FIRST, SECOND] {
        let end = place
            .read(&stream, parent, &Begin::Start)?
            .end
            .ok_or("no end")?;
        let children = end.child_shards.unwrap_or_default();
        must!(
            children.len() == 1 && children[0].shard_id == expected,
            "{parent} names {children:?}"
        );
        let mut parents = children[0].parent_shards().to_vec();
        parents.sort();
        must!(parents == [FIRST, SECOND], "parents {parents:?}");
    }
    Ok(())
}

fn positions_work_in_closed_shards(place: &Place) -> Outcome {
    let stream = place.stream(1);
    let (_, first) = place.put(&stream, 0, b"a")?;
    let (_, second) = place.put(&stream, 0, b"b")?;
    place.aws().split(&stream, FIRST);
    let table: [(Begin, &[&str]); 3] = [
        (Begin::At(first.clone()), &["a", "b"]),
        (Begin::After(first), &["b"]),
        (Begin::After(second), &[]),
    ];
    for (begin, expected) in table {
        let read = place.read(&stream, FIRST, &begin)?;
        must!(
            read.texts == expected && read.end.is_some(),
            "{begin:?} gave {read:?}"
        );
    }
    Ok(())
}

fn update_shard_count_names_parents(place: &Place) -> Outcome {
    let stream = place.stream(2);
    place.aws().update_shard_count(&stream, 4);
    let shards = place.shards(&stream)?;
    let open: Vec<_> = shards.iter().filter(|shard| !closed(shard)).collect();
    must!(open.len() == 4, "{} open shards", open.len());
    must!(
        open.iter().all(|shard| shard.parent_shard_id().is_some()),
        "children without parents: {open:?}"
    );
    Ok(())
}

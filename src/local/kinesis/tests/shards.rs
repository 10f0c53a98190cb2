//! Listing shards and changing them.

use super::*;

const HALF: u128 = 1 << 127;

fn all(stream: &str) -> ShardQuery<'_> {
    ShardQuery::Of {
        stream,
        exclusive_start: None,
        filter: None,
    }
}

/// Shard 0 is split at T0 + 100 into 1 and 2, these are merged at T0 + 200 into 3.
fn split_and_merged() -> Kinesis {
    let mut kinesis = with_stream(1);
    kinesis
        .split_shard("s", ShardId(0), HALF, T0 + 100)
        .unwrap();
    kinesis
        .merge_shards("s", ShardId(1), ShardId(2), T0 + 200)
        .unwrap();
    kinesis
}

#[test]
fn filters() {
    use ShardFilter::*;
    let mut kinesis = split_and_merged();
    let now = T0 + 300;
    let table: &[(ShardFilter, &[u64])] = &[
        (FromTrimHorizon, &[0, 1, 2, 3]),
        (AtTrimHorizon, &[0]),
        (AtLatest, &[3]),
        (AfterShardId(ShardId(1)), &[2, 3]),
        (AfterShardId(ShardId(9)), &[]),
        (AtTimestamp(0), &[0]),
        (AtTimestamp(T0), &[0]),
        (AtTimestamp(T0 + 99), &[0]),
        (AtTimestamp(T0 + 100), &[1, 2]),
        (AtTimestamp(T0 + 199), &[1, 2]),
        (AtTimestamp(T0 + 200), &[3]),
        (AtTimestamp(T0 + 9_999), &[3]),
        (FromTimestamp(0), &[0, 1, 2, 3]),
        (FromTimestamp(T0 + 100), &[0, 1, 2, 3]),
        (FromTimestamp(T0 + 101), &[1, 2, 3]),
        (FromTimestamp(T0 + 201), &[3]),
    ];
    for (filter, expected) in table {
        assert_eq!(&list(&mut kinesis, *filter, now), expected, "{filter:?}");
    }
    // The trim horizon moves on: at T0 + 150 both children of the split were open.
    assert_eq!(list(&mut kinesis, AtTrimHorizon, T0 + 150 + DAY), [1, 2]);
    assert_eq!(list(&mut kinesis, AtTimestamp(T0), T0 + 150 + DAY), [1, 2]);
}

#[test]
fn pages_go_on_by_token_alone() {
    let mut kinesis = split_and_merged();
    let filter = Some(ShardFilter::FromTimestamp(T0 + 101));
    let query = ShardQuery::Of {
        stream: "s",
        exclusive_start: None,
        filter,
    };
    let first = kinesis.list_shards(query, Some(2), T0 + 300).unwrap();
    assert_eq!(ids(&first.shards), [1, 2]);
    let token = first.next_token.unwrap();
    let second = kinesis
        .list_shards(ShardQuery::Next(&token), Some(2), T0 + 300)
        .unwrap();
    assert_eq!((ids(&second.shards), second.next_token), (vec![3], None));
    let query = ShardQuery::Of {
        stream: "s",
        exclusive_start: Some(ShardId(2)),
        filter: None,
    };
    assert_eq!(
        ids(&kinesis.list_shards(query, None, T0 + 300).unwrap().shards),
        [3]
    );

    let iterator = iterator(&mut kinesis, 3, Position::TrimHorizon, T0 + 300);
    for wrong in ["", "abc", &iterator] {
        assert_eq!(
            kind(kinesis.list_shards(ShardQuery::Next(wrong), None, T0 + 300)),
            ErrorKind::InvalidArgument
        );
    }
    for size in [0, 10_001] {
        assert_eq!(
            kind(kinesis.list_shards(all("s"), Some(size), T0 + 300)),
            ErrorKind::Validation
        );
    }
    let late = T0 + 300 + 300_000;
    assert_eq!(
        kind(kinesis.list_shards(ShardQuery::Next(&token), None, late)),
        ErrorKind::ExpiredNextToken
    );
    assert_eq!(
        kind(kinesis.list_shards(all("t"), None, T0)),
        ErrorKind::ResourceNotFound
    );
}

#[test]
fn listings_show_parents_and_boundaries() {
    let mut kinesis = split_and_merged();
    let shards = kinesis
        .list_shards(all("s"), None, T0 + 300)
        .unwrap()
        .shards;
    let parents: Vec<_> = shards
        .iter()
        .map(|s| (s.parent.map(|p| p.0), s.adjacent_parent.map(|p| p.0)))
        .collect();
    assert_eq!(
        parents,
        [
            (None, None),
            (Some(0), None),
            (Some(0), None),
            (Some(1), Some(2))
        ]
    );
    let ended: Vec<_> = shards
        .iter()
        .map(|s| s.ending_sequence_number.is_some())
        .collect();
    assert_eq!(ended, [true, true, true, false]);
    for (parent, child) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        assert!(
            shards[parent].ending_sequence_number.unwrap() < shards[child].starting_sequence_number
        );
    }
}

#[test]
fn wholly_trimmed_shards_vanish() {
    let mut kinesis = split_and_merged();
    put(&mut kinesis, "x", T0 + 250);
    let mut listed = |now| ids(&kinesis.list_shards(all("s"), None, now).unwrap().shards);
    assert_eq!(listed(T0 + 100 + DAY), [0, 1, 2, 3]);
    assert_eq!(listed(T0 + 101 + DAY), [1, 2, 3]);
    assert_eq!(listed(T0 + 201 + DAY), [3]);
    assert_eq!(listed(T0 + 999 * DAY), [3], "an open shard stays");
    let gone = kinesis.get_shard_iterator("s", ShardId(0), &Position::TrimHorizon, T0 + 999 * DAY);
    assert_eq!(kind(gone), ErrorKind::ResourceNotFound);
}

#[test]
fn resharding_is_refused_where_it_must_be() {
    let mut kinesis = with_options(
        2,
        Options {
            shard_limit: 3,
            enforce_limits: true,
            ..Options::default()
        },
    );
    kinesis
        .create_stream("d", StreamMode::OnDemand, 0, T0)
        .unwrap();
    assert_eq!(
        kind(kinesis.split_shard("d", ShardId(0), 9, T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.merge_shards("d", ShardId(0), ShardId(1), T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.update_shard_count("d", 8, T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.split_shard("t", ShardId(0), 9, T0)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kind(kinesis.split_shard("s", ShardId(7), 9, T0)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kind(kinesis.split_shard("s", ShardId(0), 0, T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.merge_shards("s", ShardId(0), ShardId(0), T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.update_shard_count("s", 0, T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.update_shard_count("s", 5, T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.update_shard_count("s", 4, T0)),
        ErrorKind::LimitExceeded
    );
    assert_eq!(kinesis.update_shard_count("s", 3, T0), Ok(2));
    assert_eq!(
        kind(kinesis.split_shard("s", ShardId(0), 9, T0)),
        ErrorKind::LimitExceeded
    );
    assert_eq!(
        kinesis
            .describe_stream_summary("s", T0)
            .unwrap()
            .open_shards,
        3
    );
    assert_eq!(
        kind(kinesis.update_shard_count("s", 1, T0)),
        ErrorKind::InvalidArgument,
        "less than half"
    );
}

//! Streams as a whole.

use std::collections::BTreeMap;

use super::*;

#[test]
fn a_new_stream_is_described() {
    let mut kinesis = with_stream(3);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    for reference in ["s", arn] {
        let summary = kinesis.describe_stream_summary(reference, T0 + 5).unwrap();
        let expected = StreamDescription {
            name: "s".into(),
            arn: arn.into(),
            status: StreamStatus::Active,
            mode: StreamMode::Provisioned,
            retention_hours: 24,
            created_ms: T0,
            open_shards: 3,
            consumers: 0,
        };
        assert_eq!(summary, expected);
    }
    let (_, shards, more) = kinesis.describe_stream("s", None, Some(2), T0).unwrap();
    assert_eq!((ids(&shards), more), (vec![0, 1], true));
    let (_, shards, more) = kinesis
        .describe_stream("s", Some(ShardId(1)), Some(2), T0)
        .unwrap();
    assert_eq!((ids(&shards), more), (vec![2], false));
    assert_eq!(
        kind(kinesis.describe_stream("s", None, Some(0), T0)),
        ErrorKind::Validation
    );
    assert_eq!(
        kind(kinesis.describe_stream_summary("t", T0)),
        ErrorKind::ResourceNotFound
    );
}

#[test]
fn what_cannot_be_created() {
    let mut kinesis = with_options(
        2,
        Options {
            shard_limit: 5,
            ..Options::default()
        },
    );
    let mut create = |name, mode, shards| kinesis.create_stream(name, mode, shards, T0);
    let provisioned = StreamMode::Provisioned;
    assert_eq!(kind(create("s", provisioned, 1)), ErrorKind::ResourceInUse);
    assert_eq!(kind(create("a b", provisioned, 1)), ErrorKind::Validation);
    assert_eq!(kind(create("t", provisioned, 0)), ErrorKind::Validation);
    assert_eq!(kind(create("t", provisioned, 4)), ErrorKind::LimitExceeded);
    assert_eq!(create("t", provisioned, 3), Ok(()));
    assert_eq!(
        create("u", StreamMode::OnDemand, 0),
        Ok(()),
        "not counted against the limit"
    );
    assert_eq!(
        kinesis
            .describe_stream_summary("u", T0)
            .unwrap()
            .open_shards,
        4
    );
    let limits = kinesis.describe_limits(T0).unwrap();
    assert_eq!(
        (
            limits.shard_limit,
            limits.open_shards,
            limits.on_demand_streams
        ),
        (5, 5, 1)
    );
}

#[test]
fn states_pass_in_time_and_forbid_what_they_should() {
    let mut kinesis = slow(1);
    let status =
        |kinesis: &mut Kinesis, now| kinesis.describe_stream_summary("s", now).unwrap().status;
    let all = ShardQuery::Of {
        stream: "s",
        exclusive_start: None,
        filter: None,
    };
    assert_eq!(status(&mut kinesis, T0), StreamStatus::Creating);
    assert_eq!(
        kind(kinesis.put_record("s", entry("k", b"x"), T0)),
        ErrorKind::ResourceNotFound
    );
    assert_eq!(
        kind(kinesis.list_shards(all, None, T0)),
        ErrorKind::ResourceInUse
    );
    assert_eq!(
        kind(kinesis.split_shard("s", ShardId(0), 9, T0 + 999)),
        ErrorKind::ResourceInUse
    );
    assert!(
        kinesis
            .describe_stream("s", None, None, T0)
            .unwrap()
            .1
            .is_empty()
    );

    assert_eq!(status(&mut kinesis, T0 + 1_000), StreamStatus::Active);
    kinesis.split_shard("s", ShardId(0), 9, T0 + 1_000).unwrap();
    assert_eq!(status(&mut kinesis, T0 + 1_999), StreamStatus::Updating);
    assert_eq!(
        kind(kinesis.update_shard_count("s", 4, T0 + 1_999)),
        ErrorKind::ResourceInUse
    );
    put(&mut kinesis, "while UPDATING", T0 + 1_999);

    kinesis.delete_stream("s", false, T0 + 2_000).unwrap();
    assert_eq!(status(&mut kinesis, T0 + 2_999), StreamStatus::Deleting);
    assert_eq!(
        kind(kinesis.delete_stream("s", false, T0 + 2_999)),
        ErrorKind::ResourceInUse
    );
    assert_eq!(
        kind(kinesis.create_stream("s", StreamMode::OnDemand, 0, T0 + 2_999)),
        ErrorKind::ResourceInUse
    );
    assert_eq!(
        kind(kinesis.describe_stream_summary("s", T0 + 3_000)),
        ErrorKind::ResourceNotFound
    );
    kinesis
        .create_stream("s", StreamMode::OnDemand, 0, T0 + 3_000)
        .unwrap();
}

#[test]
fn a_stream_made_again_is_another() {
    let mut kinesis = with_stream(1);
    let old = put(&mut kinesis, "old", T0).sequence_number.to_string();
    let from_old = iterator(&mut kinesis, 0, Position::TrimHorizon, T0);
    kinesis.delete_stream("s", false, T0).unwrap();
    assert_eq!(
        kind(kinesis.get_records(&from_old, None, None, T0)),
        ErrorKind::ResourceNotFound
    );
    kinesis
        .create_stream("s", StreamMode::Provisioned, 1, T0)
        .unwrap();
    assert_eq!(
        kind(kinesis.get_records(&from_old, None, None, T0)),
        ErrorKind::InvalidArgument
    );
    for position in [
        Position::AtSequenceNumber(old.clone()),
        Position::AfterSequenceNumber(old),
    ] {
        assert_eq!(
            kind(kinesis.get_shard_iterator("s", ShardId(0), &position, T0)),
            ErrorKind::InvalidArgument
        );
    }
    assert!(read(&mut kinesis, 0, Position::TrimHorizon, T0).is_empty());
}

#[test]
fn streams_are_listed_in_pages() {
    let mut kinesis = Kinesis::new(Options::default());
    for name in ["c", "a", "b"] {
        kinesis
            .create_stream(name, StreamMode::Provisioned, 1, T0)
            .unwrap();
    }
    let names = |page: &StreamPage| {
        page.streams
            .iter()
            .map(|s| s.name.clone())
            .collect::<Vec<_>>()
    };
    let first = kinesis.list_streams(None, None, Some(2), T0).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    let token = first.next_token.unwrap();
    let second = kinesis
        .list_streams(None, Some(&token), Some(2), T0 + 299_999)
        .unwrap();
    assert_eq!(
        (names(&second), second.next_token),
        (vec!["c".to_owned()], None)
    );
    assert_eq!(
        names(&kinesis.list_streams(Some("a"), None, None, T0).unwrap()),
        ["b", "c"]
    );
    assert_eq!(
        kind(kinesis.list_streams(None, Some("x"), None, T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.list_streams(None, Some(&token), None, T0 + 300_000)),
        ErrorKind::ExpiredNextToken
    );
}

#[test]
fn tags() {
    let mut kinesis = with_stream(1);
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    kinesis
        .add_tags("s", &tags(&[("a", "1"), ("b", "2"), ("c", "")]), T0)
        .unwrap();
    kinesis.add_tags("s", &tags(&[("a", "3")]), T0).unwrap();
    kinesis
        .remove_tags("s", &["b".into(), "zz".into()], T0)
        .unwrap();
    let page = kinesis.list_tags("s", None, Some(1), T0).unwrap();
    assert_eq!(
        (page.tags, page.has_more),
        (vec![("a".into(), "3".into())], true)
    );
    let page = kinesis.list_tags("s", Some("a"), None, T0).unwrap();
    assert_eq!(
        (page.tags, page.has_more),
        (vec![("c".into(), String::new())], false)
    );
    assert_eq!(
        kind(kinesis.add_tags("s", &tags(&[("", "1")]), T0)),
        ErrorKind::Validation
    );
    let many: BTreeMap<_, _> = (0..50).map(|i| (format!("t{i}"), String::new())).collect();
    assert_eq!(
        kind(kinesis.add_tags("s", &many, T0)),
        ErrorKind::LimitExceeded
    );
    assert_eq!(
        kind(kinesis.list_tags("s", None, Some(51), T0)),
        ErrorKind::Validation
    );
}

#[test]
fn retention_can_be_changed_one_way_at_a_time() {
    let mut kinesis = with_stream(1);
    assert_eq!(
        kind(kinesis.increase_retention("s", 23, T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.increase_retention("s", 8_761, T0)),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(kinesis.decrease_retention("s", 48, T0)),
        ErrorKind::InvalidArgument
    );
    kinesis.increase_retention("s", 48, T0).unwrap();
    assert_eq!(
        kinesis
            .describe_stream_summary("s", T0)
            .unwrap()
            .retention_hours,
        48
    );
    kinesis.decrease_retention("s", 25, T0).unwrap();
    assert_eq!(
        kind(kinesis.decrease_retention("s", 23, T0)),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn the_clock_does_not_run_backwards() {
    let mut kinesis = with_stream(1);
    put(&mut kinesis, "a", T0 + 100);
    put(&mut kinesis, "b", T0 + 50);
    put(&mut kinesis, "c", i64::MIN);
    assert_eq!(
        read(&mut kinesis, 0, Position::AtTimestamp(T0 + 100), T0),
        ["a", "b", "c"]
    );
    put(&mut kinesis, "d", i64::MAX);
    assert_eq!(
        read(&mut kinesis, 0, Position::TrimHorizon, i64::MAX),
        ["d"],
        "the others are long trimmed"
    );
}

//! Iterators and reading.

use super::*;

#[test]
fn all_positions() {
    let mut kinesis = with_stream(1);
    let first = put(&mut kinesis, "a", T0 + 10).sequence_number.to_string();
    let second = put(&mut kinesis, "b", T0 + 20).sequence_number.to_string();
    put(&mut kinesis, "c", T0 + 20);
    let start = kinesis.describe_stream("s", None, None, T0).unwrap().1[0]
        .starting_sequence_number
        .to_string();
    let table: &[(Position, &[&str])] = &[
        (Position::TrimHorizon, &["a", "b", "c"]),
        (Position::Latest, &[]),
        (Position::AtSequenceNumber(start.clone()), &["a", "b", "c"]),
        (Position::AfterSequenceNumber(start), &["a", "b", "c"]),
        (Position::AtSequenceNumber(first.clone()), &["a", "b", "c"]),
        (Position::AfterSequenceNumber(first), &["b", "c"]),
        (Position::AtSequenceNumber(second.clone()), &["b", "c"]),
        (Position::AfterSequenceNumber(second), &["c"]),
        (Position::AtTimestamp(0), &["a", "b", "c"]),
        (Position::AtTimestamp(T0 + 10), &["a", "b", "c"]),
        (Position::AtTimestamp(T0 + 11), &["b", "c"]),
        (Position::AtTimestamp(T0 + 20), &["b", "c"]),
        (Position::AtTimestamp(T0 + 21), &[]),
    ];
    for (position, expected) in table {
        assert_eq!(
            &read(&mut kinesis, 0, position.clone(), T0 + 30),
            expected,
            "{position:?}"
        );
    }
}

#[test]
fn an_iterator_sees_what_is_written_after_it_was_made() {
    for position in [Position::Latest, Position::AtTimestamp(T0 + 1)] {
        let mut kinesis = with_stream(1);
        put(&mut kinesis, "a", T0);
        let it = iterator(&mut kinesis, 0, position, T0 + 5);
        let empty = kinesis.get_records(&it, None, None, T0 + 5).unwrap();
        assert!(empty.records.is_empty() && empty.millis_behind_latest == 0);
        put(&mut kinesis, "b", T0 + 5);
        for again in [&it, empty.next_iterator.as_ref().unwrap()] {
            assert_eq!(
                texts(
                    &kinesis
                        .get_records(again, None, None, T0 + 5)
                        .unwrap()
                        .records
                ),
                ["b"]
            );
        }
    }
}

#[test]
fn what_is_no_position_here() {
    let mut kinesis = with_stream(2);
    let own = kinesis
        .put_record(
            "s",
            PutEntry {
                explicit_hash_key: Some(0),
                ..entry("k", b"x")
            },
            T0,
        )
        .unwrap();
    let number = own.sequence_number.to_string();
    let mut get = |stream, shard, position| {
        kind(kinesis.get_shard_iterator(stream, ShardId(shard), &position, T0))
    };
    assert_eq!(
        get("s", 1, Position::AtSequenceNumber(number.clone())),
        ErrorKind::InvalidArgument,
        "other shard"
    );
    assert_eq!(
        get("s", 0, Position::AtSequenceNumber("49".into())),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        get("s", 0, Position::AfterSequenceNumber("LATEST".into())),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        get("s", 0, Position::AtTimestamp(T0 + 1)),
        ErrorKind::InvalidArgument,
        "future"
    );
    assert_eq!(get("s", 2, Position::Latest), ErrorKind::ResourceNotFound);
    assert_eq!(get("t", 0, Position::Latest), ErrorKind::ResourceNotFound);
    let mut other = Kinesis::new(Options {
        seed: 1,
        ..Options::default()
    });
    other
        .create_stream("s", StreamMode::Provisioned, 2, T0)
        .unwrap();
    let foreign =
        other.get_shard_iterator("s", ShardId(0), &Position::AtSequenceNumber(number), T0);
    assert_eq!(kind(foreign), ErrorKind::InvalidArgument, "another engine");
}

#[test]
fn iterators_expire_and_are_checked() {
    let mut kinesis = with_stream(1);
    let it = iterator(&mut kinesis, 0, Position::TrimHorizon, T0);
    assert!(kinesis.get_records(&it, None, None, T0 + 299_999).is_ok());
    let expired = kinesis.get_records(&it, None, None, T0 + 300_000);
    assert_eq!(kind(expired), ErrorKind::ExpiredIterator);
    let now = T0 + 300_000;
    let it = iterator(&mut kinesis, 0, Position::TrimHorizon, now);
    kinesis.expire_iterators();
    assert_eq!(
        kind(kinesis.get_records(&it, None, None, now)),
        ErrorKind::ExpiredIterator
    );
    let it = iterator(&mut kinesis, 0, Position::TrimHorizon, now);
    assert!(
        kinesis
            .get_records(&it, Some(10_000), Some("arn:aws:kinesis:r:a:stream/s"), now)
            .is_ok()
    );
    assert_eq!(
        kind(kinesis.get_records(&it, None, Some("t"), now)),
        ErrorKind::InvalidArgument
    );
    for limit in [0, 10_001] {
        assert_eq!(
            kind(kinesis.get_records(&it, Some(limit), None, now)),
            ErrorKind::Validation
        );
    }
    assert_eq!(
        kind(kinesis.get_records("AAAA", None, None, now)),
        ErrorKind::InvalidArgument
    );
    let next = kinesis
        .get_records(&it, None, None, now)
        .unwrap()
        .next_iterator
        .unwrap();
    assert_ne!(
        next,
        kinesis
            .get_records(&it, None, None, now)
            .unwrap()
            .next_iterator
            .unwrap()
    );
}

#[test]
fn millis_behind_latest_is_how_long_the_next_record_waits() {
    let mut kinesis = with_stream(1);
    for (data, at) in [("a", 0), ("b", 100), ("c", 1_000)] {
        put(&mut kinesis, data, T0 + at);
    }
    let mut it = iterator(&mut kinesis, 0, Position::TrimHorizon, T0 + 1_000);
    for expected in [900, 1, 0] {
        let page = kinesis.get_records(&it, Some(1), None, T0 + 1_000).unwrap();
        assert_eq!(page.millis_behind_latest, expected);
        it = page.next_iterator.unwrap();
    }
}

#[test]
fn answers_are_capped_at_ten_mebibytes() {
    let mut kinesis = with_stream(1);
    let data = vec![b'x'; (1 << 20) - 1];
    for _ in 0..11 {
        kinesis.put_record("s", entry("k", &data), T0).unwrap();
    }
    let it = iterator(&mut kinesis, 0, Position::TrimHorizon, T0);
    let page = kinesis.get_records(&it, None, None, T0).unwrap();
    assert_eq!((page.records.len(), page.millis_behind_latest), (10, 1));
    let rest = kinesis
        .get_records(&page.next_iterator.unwrap(), None, None, T0)
        .unwrap();
    assert_eq!((rest.records.len(), rest.millis_behind_latest), (1, 0));
}

#[test]
fn a_closed_shard_is_read_to_its_end_and_names_its_children() {
    for last_records_with_end in [false, true] {
        let mut kinesis = with_options(
            1,
            Options {
                last_records_with_end,
                ..Options::default()
            },
        );
        put(&mut kinesis, "a", T0);
        put(&mut kinesis, "b", T0);
        kinesis
            .split_shard("s", ShardId(0), 1 << 127, T0 + 1)
            .unwrap();
        let it = iterator(&mut kinesis, 0, Position::TrimHorizon, T0 + 1);
        let first = kinesis.get_records(&it, Some(1), None, T0 + 1).unwrap();
        assert!(first.next_iterator.is_some() && first.child_shards.is_empty());
        let mut last = kinesis
            .get_records(&first.next_iterator.unwrap(), None, None, T0 + 1)
            .unwrap();
        assert_eq!(texts(&last.records), ["b"]);
        assert_eq!(last.next_iterator.is_none(), last_records_with_end);
        if let Some(it) = last.next_iterator {
            last = kinesis.get_records(&it, None, None, T0 + 1).unwrap();
        }
        let children: Vec<_> = last
            .child_shards
            .iter()
            .map(|c| (c.shard_id.0, c.parent_shards.clone()))
            .collect();
        assert_eq!(children, [(1, vec![ShardId(0)]), (2, vec![ShardId(0)])]);
        assert_eq!((last.next_iterator, last.millis_behind_latest), (None, 0));

        let at_end = iterator(&mut kinesis, 0, Position::Latest, T0 + 1);
        let page = kinesis.get_records(&at_end, None, None, T0 + 1).unwrap();
        assert_eq!(
            (page.child_shards.len(), page.next_iterator),
            (2, None),
            "LATEST of a closed shard is its end"
        );
    }
}

#[test]
fn reads_beyond_a_shards_rate_are_throttled() {
    let throttled = ErrorKind::ProvisionedThroughputExceeded;
    let options = Options {
        enforce_limits: true,
        ..Options::default()
    };
    let mut kinesis = with_options(1, options);
    let it = iterator(&mut kinesis, 0, Position::TrimHorizon, T0);
    for _ in 0..5 {
        assert!(kinesis.get_records(&it, None, None, T0).is_ok());
    }
    assert_eq!(kind(kinesis.get_records(&it, None, None, T0)), throttled);
    assert!(kinesis.get_records(&it, None, None, T0 + 200).is_ok());

    let data = vec![b'x'; (1 << 20) - 1];
    for second in 1..=10 {
        kinesis
            .put_record("s", entry("k", &data), T0 + second * 1_000)
            .unwrap();
    }
    let now = T0 + 60_000;
    assert_eq!(
        kinesis
            .get_records(&it, None, None, now)
            .unwrap()
            .records
            .len(),
        10
    );
    assert_eq!(
        kind(kinesis.get_records(&it, None, None, now + 5_000)),
        throttled,
        "10 MiB block for 5 seconds"
    );
    assert!(kinesis.get_records(&it, None, None, now + 5_001).is_ok());
}

#[test]
fn retention_hides_what_is_older() {
    let mut kinesis = with_stream(1);
    put(&mut kinesis, "a", T0);
    let old = put(&mut kinesis, "b", T0 + 1).sequence_number.to_string();
    put(&mut kinesis, "c", T0 + HOUR);
    assert_eq!(
        read(&mut kinesis, 0, Position::TrimHorizon, T0 + DAY),
        ["a", "b", "c"]
    );
    assert_eq!(
        read(&mut kinesis, 0, Position::TrimHorizon, T0 + DAY + 1),
        ["b", "c"]
    );
    kinesis.increase_retention("s", 48, T0 + DAY + 2).unwrap();
    let now = T0 + DAY + 2 * HOUR;
    assert_eq!(
        read(&mut kinesis, 0, Position::TrimHorizon, now),
        ["c"],
        "a longer retention brings nothing back"
    );
    assert_eq!(
        read(&mut kinesis, 0, Position::AtSequenceNumber(old), now),
        ["c"]
    );
    kinesis.decrease_retention("s", 24, now).unwrap();
    assert!(read(&mut kinesis, 0, Position::AtTimestamp(0), now).is_empty());
}

#[test]
fn ordered_faults_hit_reads() {
    let mut kinesis = with_stream(1);
    put(&mut kinesis, "a", T0);
    kinesis.faults.throttle.insert(Operation::GetRecords, 1);
    kinesis.faults.fail.insert(Operation::GetRecords, 1);
    kinesis.faults.empty_reads = 1;
    let it = iterator(&mut kinesis, 0, Position::TrimHorizon, T0);
    assert_eq!(
        kind(kinesis.get_records(&it, None, None, T0)),
        ErrorKind::ProvisionedThroughputExceeded
    );
    assert_eq!(
        kind(kinesis.get_records(&it, None, None, T0)),
        ErrorKind::InternalFailure
    );
    kinesis.split_shard("s", ShardId(0), 9, T0 + 5).unwrap();
    let empty = kinesis.get_records(&it, None, None, T0 + 5).unwrap();
    assert_eq!(
        (texts(&empty.records), empty.millis_behind_latest),
        (vec![], 5)
    );
    let full = kinesis
        .get_records(&empty.next_iterator.unwrap(), None, None, T0 + 5)
        .unwrap();
    assert_eq!(texts(&full.records), ["a"]);
    kinesis.faults.omit_child_shards = true;
    let end = kinesis
        .get_records(&full.next_iterator.unwrap(), None, None, T0 + 5)
        .unwrap();
    assert!(end.next_iterator.is_none() && end.child_shards.is_empty());
}

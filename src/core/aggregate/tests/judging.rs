use super::*;

#[test]
fn malformed_records_cost_only_themselves() {
    use Malformed::*;
    let of = |bad: Vec<u8>, more: &[Vec<u8>]| {
        let tables = [
            partition_key(b"k"),
            hash_key(b"7"),
            hash_key(b"x"),
            hash_key(b"\xFF"),
            hash_key(b""),
            hash_key(b"-5"),
        ];
        let records = [record(0, None, b"1"), bad, record(0, Some(0), b"3")];
        aggregate(&[&tables[..], &records, more].concat())
    };
    let cases = [
        (
            record(1, None, b"2"),
            PartitionKeyIndex {
                index: 1,
                table_length: 1,
            },
        ),
        (
            record(u64::MAX, None, b"2"),
            PartitionKeyIndex {
                index: u64::MAX,
                table_length: 1,
            },
        ),
        (
            record(0, Some(5), b"2"),
            ExplicitHashKeyIndex {
                index: 5,
                table_length: 5,
            },
        ),
        (record(0, Some(1), b"2"), ExplicitHashKey { index: 1 }),
        (record(0, Some(2), b"2"), ExplicitHashKey { index: 2 }),
        (record(0, Some(3), b"2"), ExplicitHashKey { index: 3 }),
        (record(0, Some(4), b"2"), ExplicitHashKey { index: 4 }),
    ];
    for (bad, reason) in cases {
        for filter in [RangeFilter::Whole, RangeFilter::Record] {
            let data = of(bad.clone(), &[]);
            let Deaggregated::UserRecords { records, dropped } =
                deaggregate(&data, HashRange::FULL, filter)
            else {
                panic!("{reason}");
            };
            let delivered: Vec<_> = records
                .iter()
                .map(|record| (record.sub_sequence, record.data))
                .collect();
            assert_eq!(delivered, [(0, &b"1"[..]), (2, b"3")], "{reason}");
            let first = MalformedRecord {
                sub_sequence: 1,
                reason: reason.clone(),
            };
            let expected = Dropped {
                outside_range: 0,
                malformed: 1,
                first_malformed: Some(first),
            };
            assert_eq!(dropped, expected);
        }
        // Several are counted, the first is described.
        let data = of(bad, &[record(9, None, b"4"), record(0, None, b"5")]);
        let Deaggregated::UserRecords { records, dropped } =
            deaggregate(&data, HashRange::FULL, RangeFilter::Whole)
        else {
            panic!("{reason}");
        };
        assert_eq!(
            records
                .iter()
                .map(|record| record.sub_sequence)
                .collect::<Vec<_>>(),
            [0, 2, 4]
        );
        assert_eq!(dropped.malformed, 2);
        assert_eq!(
            dropped.first_malformed,
            Some(MalformedRecord {
                sub_sequence: 1,
                reason
            })
        );
    }
}

#[test]
fn malformed_records_are_described() {
    let record = MalformedRecord {
        sub_sequence: 4,
        reason: Malformed::PartitionKeyIndex {
            index: 3,
            table_length: 2,
        },
    };
    assert_eq!(
        record.to_string(),
        "user record 4 of the aggregate is dropped: its partition key is number 3 of a table of 2; its producer has to be repaired"
    );
}

#[test]
fn filters() {
    // Hashes: "a" 0x0cc1…, "b" 0x92eb…, "d" 0x8277…, "e" 0xe167….
    let mixed = aggregate(&[
        partition_key(b"a"),
        partition_key(b"b"),
        record(0, None, b"1"),
        record(1, None, b"2"),
        record(0, None, b"3"),
    ]);
    // An explicit hash key wins over the partition key, in either direction.
    let explicit = aggregate(&[
        partition_key(b"a"),
        partition_key(b"b"),
        hash_key(b"5"),
        hash_key(b"340282366920938463463374607431768211455"),
        record(1, Some(0), b"1"),
        record(0, Some(1), b"2"),
        record(0, None, b"3"),
    ]);
    let malformed_then_outside = aggregate(&[
        partition_key(b"a"),
        partition_key(b"b"),
        record(0, None, b"1"),
        record(7, None, b"2"),
        record(0, None, b"3"),
        record(1, None, b"4"),
        record(0, None, b"5"),
    ]);
    let outside_then_malformed = aggregate(&[
        partition_key(b"a"),
        partition_key(b"b"),
        record(0, None, b"1"),
        record(1, None, b"2"),
        record(7, None, b"3"),
    ]);
    let unreadable = aggregate(&[
        partition_key(b"a"),
        hash_key(b"x"),
        record(0, Some(0), b"1"),
        record(0, Some(9), b"2"),
        record(1, None, b"3"),
    ]);
    let too_large = aggregate(&[
        partition_key(b"a"),
        hash_key(b"340282366920938463463374607431768211456"),
        record(0, Some(0), b"1"),
        record(0, None, b"2"),
    ]);
    use RangeFilter::*;
    let full = HashRange::FULL;
    let cases: Vec<(&str, &[u8], HashRange, RangeFilter, &str)> = vec![
        (
            "mixed",
            &mixed,
            full,
            Whole,
            "0:a:1 1:b:2 2:a:3 outside 0 malformed 0",
        ),
        ("mixed", &mixed, LOWER_HALF, Whole, "outside 3 malformed 0"),
        (
            "mixed",
            &mixed,
            LOWER_HALF,
            Record,
            "0:a:1 2:a:3 outside 1 malformed 0",
        ),
        (
            "mixed",
            &mixed,
            LOWER_HALF,
            Off,
            "0:a:1 1:b:2 2:a:3 outside 0 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            full,
            Whole,
            "0:b:1 1:a:2 2:a:3 outside 0 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            LOWER_HALF,
            Whole,
            "outside 3 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            LOWER_HALF,
            Record,
            "0:b:1 2:a:3 outside 1 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            range(6, u128::MAX),
            Record,
            "1:a:2 2:a:3 outside 1 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            range(5, u128::MAX),
            Whole,
            "0:b:1 1:a:2 2:a:3 outside 0 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            range(0, u128::MAX - 1),
            Record,
            "0:b:1 2:a:3 outside 1 malformed 0",
        ),
        (
            "explicit",
            &explicit,
            LOWER_HALF,
            Off,
            "0:b:1 1:a:2 2:a:3 outside 0 malformed 0",
        ),
        (
            "malformed, outside",
            &malformed_then_outside,
            LOWER_HALF,
            Whole,
            "0:a:1 outside 3 malformed 1",
        ),
        (
            "malformed, outside",
            &malformed_then_outside,
            LOWER_HALF,
            Record,
            "0:a:1 2:a:3 4:a:5 outside 1 malformed 1",
        ),
        (
            "malformed, outside",
            &malformed_then_outside,
            LOWER_HALF,
            Off,
            "0:a:1 2:a:3 3:b:4 4:a:5 outside 0 malformed 1",
        ),
        (
            "outside, malformed",
            &outside_then_malformed,
            LOWER_HALF,
            Whole,
            "outside 3 malformed 0",
        ),
        (
            "outside, malformed",
            &outside_then_malformed,
            LOWER_HALF,
            Record,
            "0:a:1 outside 1 malformed 1",
        ),
        (
            "unreadable",
            &unreadable,
            full,
            Record,
            "outside 0 malformed 3",
        ),
        (
            "unreadable",
            &unreadable,
            full,
            Off,
            "0:a:1 1:a:2 outside 0 malformed 1",
        ),
        (
            "too large",
            &too_large,
            full,
            Whole,
            "outside 2 malformed 0",
        ),
        (
            "too large",
            &too_large,
            full,
            Record,
            "1:a:2 outside 1 malformed 0",
        ),
        (
            "too large",
            &too_large,
            full,
            Off,
            "0:a:1 1:a:2 outside 0 malformed 0",
        ),
    ];
    for (name, data, range, filter, expected) in cases {
        assert_eq!(
            outcome(data, range, filter),
            expected,
            "{name} {range:?} {filter:?}"
        );
    }
}

#[test]
fn both_ends_of_the_range_are_inside() {
    let hash = partition_key_hash("a");
    let data = aggregate(&[partition_key(b"a"), record(0, None, b"d")]);
    let cases = [
        (range(hash, hash), true),
        (range(0, hash), true),
        (range(hash, u128::MAX), true),
        (range(0, hash - 1), false),
        (range(hash + 1, u128::MAX), false),
    ];
    for (range, inside) in cases {
        let expected = if inside {
            "0:a:d outside 0 malformed 0"
        } else {
            "outside 1 malformed 0"
        };
        assert_eq!(
            outcome(&data, range, RangeFilter::Whole),
            expected,
            "{range:?}"
        );
    }
}

#[test]
fn explicit_hash_key_texts() {
    let cases: [(&[u8], HashRange, &str); 6] = [
        (b"7", range(7, 7), "0:a:d outside 0 malformed 0"),
        (b"007", range(7, 7), "0:a:d outside 0 malformed 0"),
        (b"+7", range(7, 7), "0:a:d outside 0 malformed 0"),
        (b"++7", range(7, 7), "outside 0 malformed 1"),
        (&[b'9'; 100], HashRange::FULL, "outside 1 malformed 0"),
        ("٧".as_bytes(), HashRange::FULL, "outside 0 malformed 1"),
    ];
    for (text, range, expected) in cases {
        let data = aggregate(&[
            partition_key(b"a"),
            hash_key(text),
            record(0, Some(0), b"d"),
        ]);
        assert_eq!(
            outcome(&data, range, RangeFilter::Whole),
            expected,
            "{text:?}"
        );
    }
}

use super::*;

#[test]
fn passed_on_raw() {
    let good = aggregate(&[partition_key(b"k"), record(0, None, b"d")]);
    let mut bad_digest = good.clone();
    *bad_digest.last_mut().unwrap() ^= 1;
    let mut bad_message = good.clone();
    bad_message[6] ^= 1;
    let index = || varint_field(field::RECORD_PARTITION_KEY_INDEX, 0);
    let data = || bytes_field(field::RECORD_DATA, b"d");
    let of_record = |inner: &[Vec<u8>]| {
        aggregate(&[
            partition_key(b"k"),
            bytes_field(field::RECORDS, &concat(inner)),
        ])
    };
    let tag = |inner: &[u8]| bytes_field(field::RECORD_TAGS, inner);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("no magic", b"just some data of an ordinary record".to_vec()),
        ("only magic", MAGIC.to_vec()),
        ("20 bytes: empty message", envelope(&[])),
        ("wrong digest", bad_digest),
        ("wrong message", bad_message),
        ("something behind", [good, vec![0]].concat()),
        (
            "erlmld plain",
            [&[0x00, 0x89, 0x9A, 0xC2], &[7; 40][..]].concat(),
        ),
        (
            "erlmld zlib",
            [&[0x01, 0x89, 0x9A, 0xC2], &[7; 40][..]].concat(),
        ),
        ("no partition key index", of_record(&[data()])),
        ("no data", of_record(&[index()])),
        ("empty record", of_record(&[])),
        (
            "index of another wire type",
            of_record(&[bytes_field(1, b"0"), data()]),
        ),
        (
            "data of another wire type",
            of_record(&[index(), varint_field(3, 0)]),
        ),
        (
            "tag without key",
            of_record(&[index(), data(), tag(&bytes_field(2, b"v"))]),
        ),
        (
            "tag with a number for a key",
            of_record(&[index(), data(), tag(&varint_field(1, 1))]),
        ),
        (
            "one good record, one bad",
            aggregate(&[
                partition_key(b"k"),
                record(0, None, b"d"),
                bytes_field(3, &index()),
            ]),
        ),
        ("field number 0", envelope(&[0x02, 0x00])),
        ("wire type 6", envelope(&[0x0E])),
        ("wire type 7", envelope(&[0x0F])),
        ("end of no group", envelope(&[0x0C])),
        ("end of another group", envelope(&[0x4B, 0x54])),
        ("group without end", envelope(&[0x4B, 0x08, 0x01])),
        ("length beyond the end", envelope(&[0x0A, 0x05, b'k'])),
        (
            "length 2^31",
            envelope(&[0x0A, 0x80, 0x80, 0x80, 0x80, 0x08]),
        ),
        (
            "length 2^32 - 1",
            envelope(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        ),
        ("tag without value", envelope(&[0x0A])),
        ("varint cut off", envelope(&[0x08, 0x80])),
        (
            "varint of 11 bytes",
            envelope(&[&[0x08][..], &[0x80; 10], &[0x00]].concat()),
        ),
        ("fixed64 cut off", envelope(&[0x09, 1, 2, 3, 4, 5, 6, 7])),
        ("fixed32 cut off", envelope(&[0x0D, 1, 2, 3])),
        (
            "record longer than its field",
            aggregate(&[bytes_field(3, &[0x08, 0x00, 0x1A, 0x02, b'd']), vec![0x1A]]),
        ),
    ];
    for (name, data) in cases {
        for filter in [RangeFilter::Whole, RangeFilter::Record, RangeFilter::Off] {
            assert_eq!(outcome(&data, LOWER_HALF, filter), "plain", "{name}");
        }
    }
}

#[test]
fn parsed() {
    let index = |index| varint_field(field::RECORD_PARTITION_KEY_INDEX, index);
    let data = |data| bytes_field(field::RECORD_DATA, data);
    let of_record = |inner: &[Vec<u8>]| {
        aggregate(&[
            partition_key(b"a"),
            partition_key(b"b"),
            bytes_field(field::RECORDS, &concat(inner)),
        ])
    };
    let group = |depth: usize| [vec![0x4B; depth], vec![0x4C; depth]].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "no records",
            aggregate(&[partition_key(b"k")]),
            "outside 0 malformed 0",
        ),
        (
            "only an unknown field",
            aggregate(&[varint_field(9, 1)]),
            "outside 0 malformed 0",
        ),
        (
            "in order",
            aggregate(&[
                partition_key(b"k"),
                record(0, None, b"d"),
                record(0, None, b""),
            ]),
            "0:k:d 1:k: outside 0 malformed 0",
        ),
        (
            "tables last",
            aggregate(&[
                record(1, None, b"x"),
                partition_key(b"a"),
                record(0, Some(0), b"y"),
                partition_key(b"b"),
                hash_key(b"7"),
            ]),
            "0:b:x 1:a:y outside 0 malformed 0",
        ),
        (
            "empty partition key",
            aggregate(&[partition_key(b""), record(0, None, b"d")]),
            "0::d outside 0 malformed 0",
        ),
        (
            "data first",
            of_record(&[data(b"d"), index(1)]),
            "0:b:d outside 0 malformed 0",
        ),
        (
            "the last occurrence wins",
            of_record(&[index(0), data(b"x"), data(b"y"), index(1)]),
            "0:b:y outside 0 malformed 0",
        ),
        (
            "tags",
            of_record(&[
                index(0),
                bytes_field(4, &concat(&[bytes_field(1, b"t"), bytes_field(2, b"v")])),
                data(b"d"),
            ]),
            "0:a:d outside 0 malformed 0",
        ),
        (
            "unknown fields",
            of_record(&[
                varint_field(9, u64::MAX),
                vec![0x49, 1, 2, 3, 4, 5, 6, 7, 8],
                index(0),
                vec![0x4D, 1, 2, 3, 4],
                vec![0x4B, 0x0A, 0x01, 0x4C, 0x53, 0x08, 0x01, 0x54, 0x4C],
                data(b"d"),
                bytes_field(9, b"unknown"),
            ]),
            "0:a:d outside 0 malformed 0",
        ),
        (
            "known numbers, other wire types",
            aggregate(&[varint_field(1, 1), varint_field(2, 1), varint_field(3, 1)]),
            "outside 0 malformed 0",
        ),
        (
            "100 groups",
            aggregate(&[group(100)]),
            "outside 0 malformed 0",
        ),
        ("101 groups", aggregate(&[group(101)]), "plain"),
        (
            "99 groups in a record",
            of_record(&[index(0), data(b"d"), group(99)]),
            "0:a:d outside 0 malformed 0",
        ),
        (
            "100 groups in a record",
            of_record(&[index(0), data(b"d"), group(100)]),
            "plain",
        ),
        (
            "long varint",
            of_record(&[vec![0x08, 0x81, 0x80, 0x80, 0x00], data(b"d")]),
            "0:b:d outside 0 malformed 0",
        ),
        (
            "index cut to 32 bits",
            of_record(&[index((1 << 32) + 1), data(b"d")]),
            "0:b:d outside 0 malformed 0",
        ),
        (
            "tag cut to 32 bits",
            of_record(&[index(0), vec![0x9A, 0x80, 0x80, 0x80, 0x10, 0x01, b'd']]),
            "0:a:d outside 0 malformed 0",
        ),
    ];
    for (name, aggregate, expected) in cases {
        assert_eq!(whole(&aggregate), expected, "{name}");
    }
}

#[test]
fn explicit_hash_keys_are_handed_out_as_sent() {
    let data = aggregate(&[
        partition_key(b"a"),
        hash_key(b"007"),
        record(0, Some(0), b""),
        record(0, None, b""),
    ]);
    for filter in [RangeFilter::Whole, RangeFilter::Off] {
        let Deaggregated::UserRecords { records, .. } = deaggregate(&data, HashRange::FULL, filter)
        else {
            panic!("not an aggregate");
        };
        let keys: Vec<_> = records
            .iter()
            .map(|record| record.explicit_hash_key)
            .collect();
        assert_eq!(keys, [Some("007"), None], "{filter:?}");
    }
}

#[test]
fn partition_keys_that_are_not_utf8() {
    let cases: [(&[u8], &str); 6] = [
        (b"a\xFFb", "a\u{FFFD}b"),
        (b"\xE2\x82", "\u{FFFD}"),
        (b"\xC0\x80", "\u{FFFD}\u{FFFD}"),
        // A surrogate, one without its last byte, and a complete neighbour.
        (b"a\xED\xA0\x80b", "a\u{FFFD}b"),
        (b"a\xED\xBFb", "a\u{FFFD}b"),
        (b"\xFF\xED\x9F\xBF", "\u{FFFD}\u{D7FF}"),
    ];
    for (key, text) in cases {
        let data = aggregate(&[
            partition_key(key),
            record(0, None, b"d"),
            record(0, None, b"e"),
        ]);
        // The replaced text is what is hashed.
        let hash = partition_key_hash(text);
        let expected = format!("0:{text}:d 1:{text}:e outside 0 malformed 0");
        assert_eq!(
            outcome(&data, range(hash, hash), RangeFilter::Whole),
            expected,
            "{key:?}"
        );
    }
}

#[test]
fn a_key_is_replaced_once_for_all_its_records() {
    let data = aggregate(&[
        partition_key(b"\xFF"),
        record(0, None, b"d"),
        record(0, None, b"e"),
    ]);
    let Deaggregated::UserRecords { records, .. } =
        deaggregate(&data, HashRange::FULL, RangeFilter::Whole)
    else {
        panic!("not an aggregate");
    };
    match (&records[0].partition_key, &records[1].partition_key) {
        (PartitionKey::Replaced(first), PartitionKey::Replaced(second)) => {
            assert!(std::sync::Arc::ptr_eq(first, second))
        }
        keys => panic!("{keys:?}"),
    }
}

#[test]
fn slices_are_borrowed_from_the_input() {
    let data = aggregate(&[partition_key(b"key"), record(0, None, b"data")]);
    let Deaggregated::UserRecords { records, .. } =
        deaggregate(&data, HashRange::FULL, RangeFilter::Whole)
    else {
        panic!("not an aggregate");
    };
    assert!(data.as_ptr_range().contains(&records[0].data.as_ptr()));
    match records[0].partition_key {
        PartitionKey::Text(key) => assert!(data.as_ptr_range().contains(&key.as_ptr())),
        ref key @ PartitionKey::Replaced(_) => panic!("{key:?}"),
    }
}

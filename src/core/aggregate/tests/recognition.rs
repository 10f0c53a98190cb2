use super::*;

#[test]
fn what_looks_aggregated() {
    let with_length = |length: usize| {
        let mut data = MAGIC.to_vec();
        data.resize(length, 0);
        data
    };
    let mut hidden = with_length(40);
    hidden[0] = 0x00; // erlmld's plain magic
    let mut wrong_end = with_length(40);
    wrong_end[3] = 0xC3;
    let cases = [
        (Vec::new(), false),
        (with_length(4), false),
        (with_length(20), false),
        (with_length(21), true),
        (with_length(22), true),
        (with_length(1000), true),
        (hidden, false),
        (wrong_end, false),
    ];
    for (data, expected) in cases {
        assert_eq!(looks_aggregated(&data), expected, "{data:?}");
        assert_eq!(
            base64_looks_aggregated(base64(&data, true).as_bytes()),
            expected,
            "{data:?}"
        );
        assert_eq!(
            base64_looks_aggregated(base64(&data, false).as_bytes()),
            expected,
            "{data:?}"
        );
    }
}

#[test]
fn base64_of_each_fifth_byte() {
    for fifth in 0..=u8::MAX {
        let mut data = MAGIC.to_vec();
        data.push(fifth);
        data.resize(21, 0xFF);
        assert!(
            base64_looks_aggregated(base64(&data, true).as_bytes()),
            "{fifth}"
        );
    }
    assert!(base64_looks_aggregated(b"84mawgogNDJmAAAAAAAAAAAAAAAA"));
    assert!(!base64_looks_aggregated(b"84mawgogNDJmAAAAAAAAAAAAAAA="));
    assert!(!base64_looks_aggregated(b"84mawfogNDJmAAAAAAAAAAAAAAAA"));
    assert!(!base64_looks_aggregated(b"84mawwogNDJmAAAAAAAAAAAAAAAA"));
}

#[test]
fn partition_key_hashes() {
    // MD5 test suite of RFC 1321.
    assert_eq!(
        partition_key_hash(""),
        0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e
    );
    assert_eq!(
        partition_key_hash("abc"),
        0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72
    );
}

#[test]
fn filter_texts() {
    let cases = [
        ("whole", Some(RangeFilter::Whole)),
        ("record", Some(RangeFilter::Record)),
        ("OFF", Some(RangeFilter::Off)),
        ("", None),
        ("none", None),
    ];
    for (text, filter) in cases {
        assert_eq!(RangeFilter::parse(text), filter, "{text}");
    }
    for filter in [RangeFilter::Whole, RangeFilter::Record, RangeFilter::Off] {
        assert_eq!(RangeFilter::parse(filter.as_str()), Some(filter));
    }
    assert_eq!(RangeFilter::default(), RangeFilter::Whole);
}

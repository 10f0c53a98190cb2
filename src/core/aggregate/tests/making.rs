use super::*;
use crate::core::aggregate::wire::{Fields, Value, varint_length};

#[test]
fn varint_lengths_at_their_limits() {
    for bits in 0..64 {
        for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
            let field = varint_field(1, value);
            assert_eq!(varint_length(value), field.len() - 1, "{value}");
            assert_eq!(
                Fields::of(&field).next(),
                Ok(Some((1, Value::Varint(value))))
            );
        }
    }
}

#[test]
fn empty_group() {
    let group = Aggregator::new();
    assert!(group.is_empty());
    assert_eq!((group.len(), group.size(), group.hash_key()), (0, 20, None));
    assert_eq!(whole(&group.clone().finish()), "plain");
    assert!(group.into_single().is_err());
}

#[test]
fn single_records() {
    for explicit_hash_key in [None, Some(9)] {
        for data in [&b""[..], b"data"] {
            let record = NewRecord {
                partition_key: "key",
                explicit_hash_key,
                data,
            };
            let mut group = Aggregator::new();
            group.add(&record);
            let single = group.clone().into_single().unwrap();
            let expected = SingleRecord {
                partition_key: "key".to_owned(),
                explicit_hash_key,
                data: data.to_vec(),
            };
            assert_eq!(single, expected);

            group.add(&record);
            let before = group.clone().finish();
            let group = group.into_single().unwrap_err();
            assert_eq!(group.hash_key(), Some(record.hash_key()));
            assert_eq!(group.finish(), before);
        }
    }
}

#[test]
fn the_first_record_gives_the_hash_key() {
    let mut group = Aggregator::new();
    group.add(&NewRecord {
        partition_key: "abc",
        explicit_hash_key: None,
        data: b"",
    });
    group.add(&NewRecord {
        partition_key: "abc",
        explicit_hash_key: Some(1),
        data: b"",
    });
    assert_eq!(group.hash_key(), Some(partition_key_hash("abc")));

    let mut group = Aggregator::new();
    group.add(&NewRecord {
        partition_key: "abc",
        explicit_hash_key: Some(1),
        data: b"",
    });
    group.add(&NewRecord {
        partition_key: "abc",
        explicit_hash_key: None,
        data: b"",
    });
    assert_eq!(group.hash_key(), Some(1));
}

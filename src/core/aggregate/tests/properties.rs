use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::core::aggregate::wire::{Fields, Unparsable, Value, put_bytes_header};

fn ordered((a, b): (u128, u128)) -> HashRange {
    HashRange {
        start: a.min(b),
        end: a.max(b),
    }
}

fn hash_keys() -> impl Strategy<Value = Option<u128>> {
    prop_oneof![
        Just(None),
        Just(Some(0)),
        Just(Some(u128::MAX)),
        any::<u128>().prop_map(Some),
        (0..12u128).prop_map(Some)
    ]
}

fn user_records() -> impl Strategy<Value = Vec<Record>> {
    let key = prop_oneof![".{0,3}", "[a-c]", "k{120,130}"];
    vec((key, hash_keys(), vec(any::<u8>(), 0..140)), 1..30)
}

fn few_user_records() -> impl Strategy<Value = Vec<Record>> {
    vec((".{0,3}", hash_keys(), vec(any::<u8>(), 0..6)), 1..5)
}

/// A message of fields as an aggregate has them, some of them broken.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let record = (
        0..4u64,
        proptest::option::of(0..4u64),
        vec(any::<u8>(), 0..4),
    )
        .prop_map(|(key, hash_key, data)| record(key, hash_key, &data));
    let part = prop_oneof![
        4 => record,
        4 => vec(any::<u8>(), 0..4).prop_map(|key| partition_key(&key)),
        4 => "[0-9]{0,3}".prop_map(|key| hash_key(key.as_bytes())),
        1 => vec(any::<u8>(), 0..6).prop_map(|record| bytes_field(field::RECORDS, &record)),
        1 => vec(any::<u8>(), 0..3),
    ];
    vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn filters_any() -> impl Strategy<Value = RangeFilter> {
    prop_oneof![
        Just(RangeFilter::Whole),
        Just(RangeFilter::Record),
        Just(RangeFilter::Off)
    ]
}

/// Calls [`deaggregate`] and checks what holds for every outcome.
fn check_outcome(data: &[u8], range: HashRange, filter: RangeFilter) {
    let Deaggregated::UserRecords { records, dropped } = deaggregate(data, range, filter) else {
        return;
    };
    assert!(records.is_sorted_by(|a, b| a.sub_sequence < b.sub_sequence));
    assert_eq!(dropped.first_malformed.is_some(), dropped.malformed > 0);
    let total = records.len() + dropped.outside_range + dropped.malformed;
    if let Some(last) = records.last() {
        assert!(usize::try_from(last.sub_sequence).unwrap() < total);
    }
    // The number of records does not depend on what is done with them.
    if let Deaggregated::UserRecords { records, dropped } =
        deaggregate(data, HashRange::FULL, RangeFilter::Off)
    {
        assert_eq!(total, records.len() + dropped.malformed);
        assert_eq!(dropped.outside_range, 0);
    } else {
        panic!("an aggregate under one filter only");
    }
    if filter == RangeFilter::Whole {
        // What is delivered under `whole` is delivered, with the same numbers, under `record`.
        let Deaggregated::UserRecords { records: more, .. } =
            deaggregate(data, range, RangeFilter::Record)
        else {
            panic!("an aggregate under one filter only");
        };
        assert!(records.iter().all(|record| more.contains(record)));
    }
}

proptest! {
    #[test]
    fn round_trip_and_exact_size(records in user_records()) {
        let mut group = Aggregator::new();
        for (count, (partition_key, explicit_hash_key, data)) in records.iter().enumerate() {
            prop_assert_eq!(group.len(), count);
            let record = NewRecord { partition_key, explicit_hash_key: *explicit_hash_key, data };
            let size = group.size_with(&record);
            group.add(&record);
            prop_assert_eq!(group.size(), size);
            prop_assert_eq!(group.clone().finish().len(), size);
        }
        prop_assert_eq!(deaggregated(&group.finish()), records);
    }

    #[test]
    fn records_are_judged_by_the_hash_key_they_were_sent_with(records in user_records(), ends in any::<(u128, u128)>()) {
        let shard = ordered(ends);
        let data = aggregated(&records);
        let inside: Vec<u64> = (0..).zip(&records).filter(|(_, (partition_key, explicit_hash_key, data))| {
            shard.contains(NewRecord { partition_key, explicit_hash_key: *explicit_hash_key, data }.hash_key())
        }).map(|(index, _)| index).collect();
        for filter in [RangeFilter::Whole, RangeFilter::Record] {
            let Deaggregated::UserRecords { records: delivered, dropped } = deaggregate(&data, shard, filter) else {
                panic!("not an aggregate");
            };
            let delivered: Vec<u64> = delivered.iter().map(|record| record.sub_sequence).collect();
            let expected = if filter == RangeFilter::Whole && inside.len() < records.len() { &[][..] } else { &inside };
            prop_assert_eq!(&delivered[..], expected);
            prop_assert_eq!(dropped.outside_range, records.len() - expected.len());
        }
    }

    #[test]
    fn every_truncation(records in few_user_records(), filter in filters_any()) {
        let data = aggregated(&records);
        let message = &data[MAGIC.len()..data.len() - DIGEST_LENGTH];
        for length in 0..data.len() {
            prop_assert_eq!(deaggregate(&data[..length], LOWER_HALF, filter), Deaggregated::Plain);
        }
        for length in 0..message.len() {
            check_outcome(&envelope(&message[..length]), LOWER_HALF, filter);
        }
    }

    #[test]
    fn arbitrary_bytes_under_a_right_digest(message in vec(any::<u8>(), 0..200), filter in filters_any()) {
        check_outcome(&envelope(&message), LOWER_HALF, filter);
    }

    #[test]
    fn nearly_right_messages(message in messages(), range in any::<(u128, u128)>(), filter in filters_any()) {
        check_outcome(&envelope(&message), ordered(range), filter);
    }

    #[test]
    fn order_of_the_fields_does_not_matter(records in user_records(), tables_last in any::<bool>()) {
        let data = aggregated(&records);
        let mut parts: (Vec<u8>, Vec<u8>) = Default::default();
        let mut fields = Fields::of(&data[MAGIC.len()..data.len() - DIGEST_LENGTH]);
        while let Some((number, Value::Bytes(value))) = fields.next().unwrap() {
            let part = if (number == field::RECORDS) == tables_last { &mut parts.0 } else { &mut parts.1 };
            part.extend(bytes_field(number, value));
        }
        prop_assert_eq!(deaggregated(&aggregate(&[parts.0, parts.1])), records);
    }

    #[test]
    fn base64_test_equals_byte_test(mut data in vec(any::<u8>(), 0..60), magic in 0..=4usize, padded in any::<bool>()) {
        for (byte, magic) in data.iter_mut().zip(&MAGIC[..magic]) {
            *byte = *magic;
        }
        prop_assert_eq!(base64_looks_aggregated(base64(&data, padded).as_bytes()), looks_aggregated(&data));
    }

    #[test]
    fn base64_test_of_any_text(text in vec(any::<u8>(), 0..60)) {
        // Does not panic, and never matches without the five fixed characters.
        prop_assert!(!base64_looks_aggregated(&text) || text.starts_with(b"84maw"));
    }

    #[test]
    fn hostile_lengths(number in 1..20u32, length in any::<u32>(), rest in vec(any::<u8>(), 0..10)) {
        let mut message = Vec::new();
        put_bytes_header(&mut message, number, length as usize);
        message.extend(&rest);
        let first = Fields::of(&message).next();
        match rest.get(..length as usize) {
            Some(value) => prop_assert_eq!(first, Ok(Some((number, Value::Bytes(value))))),
            None => prop_assert_eq!(first, Err(Unparsable)),
        }
    }
}

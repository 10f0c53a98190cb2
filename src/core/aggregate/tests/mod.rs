mod judging;
mod making;
mod parsing;
mod properties;
mod recognition;
mod recorded;

use std::fmt::Write as _;

use super::wire::{put_bytes_field, put_varint_field};
use super::*;
use crate::core::hash_range::HashRange;

const LOWER_HALF: HashRange = HashRange {
    start: 0,
    end: u128::MAX / 2,
};

/// A user record: partition key, explicit hash key, data.
type Record = (String, Option<u128>, Vec<u8>);

fn concat(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn varint_field(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint_field(&mut out, number, value);
    out
}

fn bytes_field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_field(&mut out, number, value);
    out
}

fn partition_key(key: &[u8]) -> Vec<u8> {
    bytes_field(field::PARTITION_KEY_TABLE, key)
}

fn hash_key(key: &[u8]) -> Vec<u8> {
    bytes_field(field::EXPLICIT_HASH_KEY_TABLE, key)
}

fn record(partition_key_index: u64, hash_key_index: Option<u64>, data: &[u8]) -> Vec<u8> {
    let mut inner = varint_field(field::RECORD_PARTITION_KEY_INDEX, partition_key_index);
    if let Some(index) = hash_key_index {
        inner.extend(varint_field(field::RECORD_EXPLICIT_HASH_KEY_INDEX, index));
    }
    inner.extend(bytes_field(field::RECORD_DATA, data));
    bytes_field(field::RECORDS, &inner)
}

fn envelope(message: &[u8]) -> Vec<u8> {
    [&MAGIC, message, &md5(message)].concat()
}

fn aggregate(parts: &[Vec<u8>]) -> Vec<u8> {
    envelope(&concat(parts))
}

/// Standard base64, written down bit by bit.
fn base64(data: &[u8], padded: bool) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, &byte| bits << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                text.push(char::from(
                    ALPHABET[(bits >> (18 - 6 * position)) as usize & 63],
                ));
            } else if padded {
                text.push('=');
            }
        }
    }
    text
}

fn aggregated(records: &[Record]) -> Vec<u8> {
    let mut group = Aggregator::new();
    for (partition_key, explicit_hash_key, data) in records {
        group.add(&NewRecord {
            partition_key,
            explicit_hash_key: *explicit_hash_key,
            data,
        });
    }
    group.finish()
}

fn deaggregated(data: &[u8]) -> Vec<Record> {
    let Deaggregated::UserRecords { records, dropped } =
        deaggregate(data, HashRange::FULL, RangeFilter::Whole)
    else {
        panic!("not an aggregate: {data:?}");
    };
    assert_eq!(dropped, Dropped::default());
    for (index, record) in (0..).zip(&records) {
        assert_eq!(record.sub_sequence, index);
    }
    records
        .into_iter()
        .map(|record| {
            let hash_key = record.explicit_hash_key.map(|key| key.parse().unwrap());
            (
                record.partition_key.to_string(),
                hash_key,
                record.data.to_vec(),
            )
        })
        .collect()
}

fn range(start: u128, end: u128) -> HashRange {
    HashRange { start, end }
}

/// The outcome in short: `plain`, or `sub:key:data …` of what is delivered, then what is dropped.
fn outcome(data: &[u8], range: HashRange, filter: RangeFilter) -> String {
    match deaggregate(data, range, filter) {
        Deaggregated::Plain => "plain".to_owned(),
        Deaggregated::UserRecords { records, dropped } => {
            let mut text = String::new();
            for record in records {
                let data = String::from_utf8_lossy(record.data).into_owned();
                write!(
                    text,
                    "{}:{}:{data} ",
                    record.sub_sequence, record.partition_key
                )
                .unwrap();
            }
            write!(
                text,
                "outside {} malformed {}",
                dropped.outside_range, dropped.malformed
            )
            .unwrap();
            text
        }
    }
}

fn whole(data: &[u8]) -> String {
    outcome(data, HashRange::FULL, RangeFilter::Whole)
}

//! Tests of the typed operations; those of the JSON door are in `api/tests.rs`.

mod fanout;
mod properties;
mod reading;
mod shards;
mod streams;
mod writing;

use super::*;

/// When the tests begin, epoch milliseconds.
const T0: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// An engine with the provisioned stream `s`, made at `T0`.
fn with_stream(shards: usize) -> Kinesis {
    with_options(shards, Options::default())
}

fn with_options(shards: usize, options: Options) -> Kinesis {
    let mut kinesis = Kinesis::new(options);
    kinesis
        .create_stream("s", StreamMode::Provisioned, shards, T0)
        .unwrap();
    kinesis
}

/// An engine in which everything takes a second.
fn slow(shards: usize) -> Kinesis {
    with_options(
        shards,
        Options {
            transition_ms: 1_000,
            ..Options::default()
        },
    )
}

fn entry<'a>(partition_key: &'a str, data: &'a [u8]) -> PutEntry<'a> {
    PutEntry {
        data,
        partition_key,
        explicit_hash_key: None,
    }
}

fn put(kinesis: &mut Kinesis, data: &str, now_ms: i64) -> PutReceipt {
    kinesis
        .put_record("s", entry("k", data.as_bytes()), now_ms)
        .unwrap()
}

fn iterator(kinesis: &mut Kinesis, shard: u64, position: Position, now_ms: i64) -> String {
    kinesis
        .get_shard_iterator("s", ShardId(shard), &position, now_ms)
        .unwrap()
}

fn texts(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|r| String::from_utf8(r.data.to_vec()).unwrap())
        .collect()
}

/// The data that one read from `position` gives.
fn read(kinesis: &mut Kinesis, shard: u64, position: Position, now_ms: i64) -> Vec<String> {
    let iterator = iterator(kinesis, shard, position, now_ms);
    texts(
        &kinesis
            .get_records(&iterator, None, None, now_ms)
            .unwrap()
            .records,
    )
}

fn ids(shards: &[ShardDescription]) -> Vec<u64> {
    shards.iter().map(|shard| shard.shard_id.0).collect()
}

fn list(kinesis: &mut Kinesis, filter: ShardFilter, now_ms: i64) -> Vec<u64> {
    let query = ShardQuery::Of {
        stream: "s",
        exclusive_start: None,
        filter: Some(filter),
    };
    ids(&kinesis.list_shards(query, None, now_ms).unwrap().shards)
}

/// The kind of error of a refused call.
fn kind<T: std::fmt::Debug>(result: Result<T, KinesisError>) -> ErrorKind {
    result.unwrap_err().kind
}

//! Bodies of answers. Those with records are written straight into one buffer, the others go through `serde_json`.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::super::{
    consumers::ConsumerDescription,
    describe::StreamDescription,
    error::KinesisError,
    records::{PutReceipt, RecordPage},
    shard::{ChildShard, Record, ShardDescription},
    subscribe::SubscriptionEvent,
};

/// Bytes of a record in JSON beside data and partition key.
const RECORD_OVERHEAD: usize = 192;

pub(super) fn error(error: &KinesisError) -> Vec<u8> {
    to_body(&json!({ "__type": error.kind.name(), "message": error.message }))
}

pub(super) fn to_body(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Epoch seconds; a double holds milliseconds of any date exactly enough to show three decimals.
pub(super) fn seconds(millis: i64) -> Value {
    json!(millis as f64 / 1000.0)
}

pub(super) fn records(page: &RecordPage) -> Vec<u8> {
    let next = page.next_iterator.as_deref();
    records_and_next(
        &page.records,
        page.millis_behind_latest,
        next.map(|iterator| ("NextShardIterator", iterator)),
        &page.child_shards,
    )
}

pub(super) fn event(event: &SubscriptionEvent) -> Vec<u8> {
    let continuation = event.continuation.map(|number| number.to_string());
    let next = continuation.as_deref();
    records_and_next(
        &event.records,
        event.millis_behind_latest,
        next.map(|number| ("ContinuationSequenceNumber", number)),
        &event.child_shards,
    )
}

fn records_and_next(
    records: &[Record],
    millis_behind_latest: i64,
    next: Option<(&str, &str)>,
    children: &[ChildShard],
) -> Vec<u8> {
    let size = |record: &Record| {
        record.data.len() / 3 * 4 + 4 + record.partition_key.len() + RECORD_OVERHEAD
    };
    let mut out = Vec::with_capacity(512 + records.iter().map(size).sum::<usize>());
    out.extend_from_slice(b"{\"Records\":[");
    for (i, record) in records.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_record(&mut out, record);
    }
    out.extend_from_slice(b"],\"MillisBehindLatest\":");
    write_number(&mut out, millis_behind_latest);
    if let Some((name, value)) = next {
        out.push(b',');
        write_text(&mut out, name);
        out.push(b':');
        write_text(&mut out, value);
    }
    if !children.is_empty() {
        out.extend_from_slice(b",\"ChildShards\":");
        out.extend_from_slice(child_shards(children).to_string().as_bytes());
    }
    out.push(b'}');
    out
}

fn write_record(out: &mut Vec<u8>, record: &Record) {
    out.extend_from_slice(b"{\"SequenceNumber\":\"");
    out.extend_from_slice(&record.sequence_number.digits());
    out.extend_from_slice(b"\",\"ApproximateArrivalTimestamp\":");
    write_number(out, record.arrival_ms.div_euclid(1000));
    out.push(b'.');
    let millis = record.arrival_ms.rem_euclid(1000);
    for digit in [millis / 100, millis / 10 % 10, millis % 10] {
        out.push(b'0' + digit as u8);
    }
    out.extend_from_slice(b",\"Data\":\"");
    write_base64(out, &record.data);
    out.extend_from_slice(b"\",\"PartitionKey\":");
    write_text(out, &record.partition_key);
    out.push(b'}');
}

fn write_base64(out: &mut Vec<u8>, data: &[u8]) {
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, b'=');
    let written = out
        .get_mut(start..)
        .map_or(0, |free| STANDARD.encode_slice(data, free).unwrap_or(0));
    // proven: the space is exactly what padded base64 of these data takes, so nothing is cut off.
    out.truncate(start + written);
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    // proven: writing to a Vec does not fail.
    write!(out, "{number}").unwrap_or_default();
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // proven: any text is JSON, and writing to a Vec does not fail.
    serde_json::to_writer(out, text).unwrap_or_default();
}

pub(super) fn put_record(receipt: &PutReceipt) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_receipt(&mut out, receipt);
    out
}

fn write_receipt(out: &mut Vec<u8>, receipt: &PutReceipt) {
    out.extend_from_slice(b"{\"SequenceNumber\":\"");
    out.extend_from_slice(&receipt.sequence_number.digits());
    out.extend_from_slice(b"\",\"ShardId\":\"");
    // proven: writing to a Vec does not fail.
    write!(out, "{}\"}}", receipt.shard_id).unwrap_or_default();
}

pub(super) fn put_records(results: &[Result<PutReceipt, KinesisError>]) -> Vec<u8> {
    let failed = results.iter().filter(|result| result.is_err()).count();
    let mut out = Vec::with_capacity(64 + results.len() * 128);
    // proven: writing to a Vec does not fail.
    write!(out, "{{\"FailedRecordCount\":{failed},\"Records\":[").unwrap_or_default();
    for (i, result) in results.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match result {
            Ok(receipt) => write_receipt(&mut out, receipt),
            Err(error) => {
                let entry =
                    json!({ "ErrorCode": error.kind.name(), "ErrorMessage": error.message });
                out.extend_from_slice(entry.to_string().as_bytes());
            }
        }
    }
    out.extend_from_slice(b"]}");
    out
}

pub(super) fn shard(shard: &ShardDescription) -> Value {
    let mut sequence =
        json!({ "StartingSequenceNumber": shard.starting_sequence_number.to_string() });
    if let Some(ending) = shard.ending_sequence_number {
        sequence["EndingSequenceNumber"] = json!(ending.to_string());
    }
    let mut value = json!({
        "ShardId": shard.shard_id.to_string(),
        "HashKeyRange": {
            "StartingHashKey": shard.hash_key_range.start.to_string(),
            "EndingHashKey": shard.hash_key_range.end.to_string(),
        },
        "SequenceNumberRange": sequence,
    });
    if let Some(parent) = shard.parent {
        value["ParentShardId"] = json!(parent.to_string());
    }
    if let Some(adjacent) = shard.adjacent_parent {
        value["AdjacentParentShardId"] = json!(adjacent.to_string());
    }
    value
}

fn child_shards(children: &[ChildShard]) -> Value {
    let child = |child: &ChildShard| {
        json!({
            "ShardId": child.shard_id.to_string(),
            "ParentShards": child.parent_shards.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "HashKeyRange": {
                "StartingHashKey": child.hash_key_range.start.to_string(),
                "EndingHashKey": child.hash_key_range.end.to_string(),
            },
        })
    };
    children.iter().map(child).collect()
}

/// What `DescribeStream` and `DescribeStreamSummary` have in common.
pub(super) fn stream(stream: &StreamDescription) -> Value {
    json!({
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status.name(),
        "StreamModeDetails": { "StreamMode": stream.mode.name() },
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": seconds(stream.created_ms),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
        "EncryptionType": "NONE",
    })
}

/// A consumer as registering and listing show it; describing adds the stream's ARN.
pub(super) fn consumer(consumer: &ConsumerDescription) -> Value {
    json!({
        "ConsumerName": consumer.name,
        "ConsumerARN": consumer.arn,
        "ConsumerStatus": consumer.status.name(),
        "ConsumerCreationTimestamp": seconds(consumer.created_ms),
    })
}

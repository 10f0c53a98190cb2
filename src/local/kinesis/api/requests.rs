//! Bodies of requests. Members are named as AWS names them; unknown ones are ignored, `null` counts as absent.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use super::super::{
    error::{ErrorKind, KinesisError},
    ids::{ShardId, stream_name},
    records::Position,
    shards::ShardFilter,
};

/// Text of the body, borrowed unless it has escapes.
pub(super) type Text<'a> = Option<Borrowed<'a>>;

/// `Option<Cow<str>>` would always copy; this borrows.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Borrowed<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Reads a body; an empty one is an object without members.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, KinesisError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        KinesisError::new(
            ErrorKind::Serialization,
            format!("The body is not the JSON this operation takes: {error}."),
        )
    })
}

pub(super) fn text<'t>(member: &'t Text<'_>) -> Option<&'t str> {
    member.as_ref().map(|text| text.0.as_ref())
}

/// The member, which must be there.
pub(super) fn required<T>(name: &str, member: Option<T>) -> Result<T, KinesisError> {
    member.ok_or_else(|| KinesisError::validation(format!("{name} is missing.")))
}

/// The stream, by either member; both must mean the same.
pub(super) fn stream<'t>(name: &'t Text<'_>, arn: &'t Text<'_>) -> Result<&'t str, KinesisError> {
    match (text(name), text(arn)) {
        (Some(name), Some(arn)) if stream_name(arn)? != name => Err(KinesisError::invalid(
            format!("StreamName {name} and StreamARN {arn} are different streams."),
        )),
        (Some(name), _) => Ok(name),
        (None, Some(arn)) => Ok(arn),
        (None, None) => Err(KinesisError::invalid(
            "Name the stream: StreamName or StreamARN is missing.",
        )),
    }
}

/// A count; a negative one is as wrong as any that is too small.
pub(super) fn count(name: &str, member: Option<i64>) -> Result<Option<usize>, KinesisError> {
    let size = |n| {
        usize::try_from(n)
            .map_err(|_| KinesisError::validation(format!("{name} is {n}: it must be positive.")))
    };
    member.map(size).transpose()
}

pub(super) fn shard(name: &str, member: &Text<'_>) -> Result<ShardId, KinesisError> {
    required(name, text(member))?.parse()
}

pub(super) fn optional_shard(member: &Text<'_>) -> Result<Option<ShardId>, KinesisError> {
    text(member).map(str::parse).transpose()
}

/// Epoch milliseconds of epoch seconds: whole milliseconds are exact, finer parts are cut off.
pub(super) fn millis(seconds: f64) -> i64 {
    ((seconds * 1e6).round() / 1e3).floor() as i64
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateStream<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Text<'a>,
    pub(super) shard_count: Option<i64>,
    #[serde(borrow)]
    pub(super) stream_mode_details: Option<StreamModeDetails<'a>>,
    pub(super) tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamModeDetails<'a> {
    #[serde(borrow)]
    pub(super) stream_mode: Text<'a>,
}

/// Operations on a stream as a whole take a few of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfStream<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Text<'a>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
    pub(super) enforce_consumer_deletion: Option<bool>,
    pub(super) limit: Option<i64>,
    #[serde(borrow)]
    pub(super) exclusive_start_shard_id: Text<'a>,
    #[serde(borrow)]
    pub(super) exclusive_start_tag_key: Text<'a>,
    pub(super) retention_period_hours: Option<i64>,
    pub(super) target_shard_count: Option<i64>,
    #[serde(borrow)]
    pub(super) scaling_type: Text<'a>,
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) tag_keys: Option<Vec<String>>,
    #[serde(borrow)]
    pub(super) shard_to_split: Text<'a>,
    #[serde(borrow)]
    pub(super) new_starting_hash_key: Text<'a>,
    #[serde(borrow)]
    pub(super) shard_to_merge: Text<'a>,
    #[serde(borrow)]
    pub(super) adjacent_shard_to_merge: Text<'a>,
}

impl OfStream<'_> {
    pub(super) fn stream(&self) -> Result<&str, KinesisError> {
        stream(&self.stream_name, &self.stream_arn)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListStreams<'a> {
    #[serde(borrow)]
    pub(super) exclusive_start_stream_name: Text<'a>,
    #[serde(borrow)]
    pub(super) next_token: Text<'a>,
    pub(super) limit: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShards<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Text<'a>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
    #[serde(borrow)]
    pub(super) next_token: Text<'a>,
    #[serde(borrow)]
    pub(super) exclusive_start_shard_id: Text<'a>,
    pub(super) max_results: Option<i64>,
    #[serde(borrow)]
    pub(super) shard_filter: Option<Filter<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Filter<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    shard_id: Text<'a>,
    timestamp: Option<f64>,
}

impl Filter<'_> {
    pub(super) fn resolve(&self) -> Result<ShardFilter, KinesisError> {
        let at = || {
            self.timestamp
                .map(millis)
                .ok_or_else(|| KinesisError::invalid("This ShardFilter needs a Timestamp."))
        };
        match required("ShardFilter.Type", text(&self.r#type))? {
            "AFTER_SHARD_ID" => match optional_shard(&self.shard_id)? {
                Some(id) => Ok(ShardFilter::AfterShardId(id)),
                None => Err(KinesisError::invalid(
                    "The ShardFilter AFTER_SHARD_ID needs a ShardId.",
                )),
            },
            "AT_TRIM_HORIZON" => Ok(ShardFilter::AtTrimHorizon),
            "FROM_TRIM_HORIZON" => Ok(ShardFilter::FromTrimHorizon),
            "AT_LATEST" => Ok(ShardFilter::AtLatest),
            "AT_TIMESTAMP" => at().map(ShardFilter::AtTimestamp),
            "FROM_TIMESTAMP" => at().map(ShardFilter::FromTimestamp),
            other => Err(KinesisError::validation(format!(
                "There is no ShardFilter {other}."
            ))),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetShardIterator<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Text<'a>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
    #[serde(borrow)]
    pub(super) shard_id: Text<'a>,
    #[serde(borrow)]
    shard_iterator_type: Text<'a>,
    #[serde(borrow)]
    starting_sequence_number: Text<'a>,
    timestamp: Option<f64>,
}

impl GetShardIterator<'_> {
    pub(super) fn position(&self) -> Result<Position, KinesisError> {
        position(
            "ShardIteratorType",
            text(&self.shard_iterator_type),
            "StartingSequenceNumber",
            text(&self.starting_sequence_number),
            self.timestamp,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SubscribeToShard<'a> {
    #[serde(borrow, rename = "ConsumerARN")]
    pub(super) consumer_arn: Text<'a>,
    #[serde(borrow)]
    pub(super) shard_id: Text<'a>,
    #[serde(borrow)]
    starting_position: Option<StartingPosition<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartingPosition<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    sequence_number: Text<'a>,
    timestamp: Option<f64>,
}

impl SubscribeToShard<'_> {
    pub(super) fn position(&self) -> Result<Position, KinesisError> {
        let start = required("StartingPosition", self.starting_position.as_ref())?;
        position(
            "StartingPosition.Type",
            text(&start.r#type),
            "SequenceNumber",
            text(&start.sequence_number),
            start.timestamp,
        )
    }
}

/// The two operations that begin to read name the same positions by different members.
fn position(
    kind_member: &str,
    kind: Option<&str>,
    number_member: &str,
    number: Option<&str>,
    timestamp: Option<f64>,
) -> Result<Position, KinesisError> {
    let kind = required(kind_member, kind)?;
    let missing =
        |what: &str| KinesisError::invalid(format!("The {kind_member} {kind} needs a {what}."));
    let number = || number.map(str::to_owned);
    match kind {
        "TRIM_HORIZON" => Ok(Position::TrimHorizon),
        "LATEST" => Ok(Position::Latest),
        "AT_SEQUENCE_NUMBER" => number()
            .map(Position::AtSequenceNumber)
            .ok_or_else(|| missing(number_member)),
        "AFTER_SEQUENCE_NUMBER" => number()
            .map(Position::AfterSequenceNumber)
            .ok_or_else(|| missing(number_member)),
        "AT_TIMESTAMP" => timestamp
            .map(millis)
            .map(Position::AtTimestamp)
            .ok_or_else(|| missing("Timestamp")),
        other => Err(KinesisError::validation(format!(
            "There is no {kind_member} {other}."
        ))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecords<'a> {
    #[serde(borrow)]
    pub(super) shard_iterator: Text<'a>,
    pub(super) limit: Option<i64>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecords<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Text<'a>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
    #[serde(borrow)]
    pub(super) records: Option<Vec<Entry<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecord<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Text<'a>,
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
    #[serde(borrow, flatten)]
    pub(super) entry: Entry<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    #[serde(borrow)]
    pub(super) partition_key: Text<'a>,
    #[serde(borrow)]
    pub(super) explicit_hash_key: Text<'a>,
}

/// Operations on registered consumers take a few of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfConsumer<'a> {
    #[serde(borrow, rename = "StreamARN")]
    pub(super) stream_arn: Text<'a>,
    #[serde(borrow, rename = "ConsumerARN")]
    pub(super) consumer_arn: Text<'a>,
    #[serde(borrow)]
    pub(super) consumer_name: Text<'a>,
    #[serde(borrow)]
    pub(super) next_token: Text<'a>,
    pub(super) max_results: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_millisecond_is_read_as_itself() {
        for millis_wanted in (1_459_799_926_000..).step_by(7).take(2_000) {
            let text = format!("{}.{:03}", millis_wanted / 1000, millis_wanted % 1000);
            assert_eq!(millis(text.parse().unwrap()), millis_wanted, "{text}");
        }
        assert_eq!(
            millis(1.001),
            1_001,
            "though 1.001 times 1000 falls short of it"
        );
        assert_eq!(millis(1.0019), 1_001, "finer parts are cut off");
        assert_eq!(
            (millis(1e300), millis(-1e300), millis(-0.5)),
            (i64::MAX, i64::MIN, -500)
        );
    }
}

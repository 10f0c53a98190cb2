//! A line of the daemon → what it means: the processor's half of the codec, also used by tests.
//! Reads all dialects of any daemon, Java's included.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error as _, Visitor};

/// A message of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// The first action.
    Initialize(Initialization),
    /// A batch of records.
    ProcessRecords(Batch),
    /// The lease will be given up soon.
    ShutdownRequested,
    /// The lease is gone.
    LeaseLost,
    /// The end of the shard.
    ShardEnded,
    /// P0 and P1: either end.
    Shutdown {
        /// `TERMINATE` at the end of the shard; `ZOMBIE` (or anything else) when the lease is gone.
        reason: Option<String>,
    },
    /// The answer to a checkpoint request.
    Checkpoint(Reply),
}

/// The content of `initialize`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initialization {
    /// The shard to serve.
    pub shard_id: String,
    /// The checkpoint from which it starts; P0 daemons do not tell.
    pub sequence_number: Option<String>,
    /// The place inside an aggregate; P0 daemons do not tell.
    pub sub_sequence_number: Option<i64>,
}

/// The content of `processRecords`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The records, in the order of the shard.
    pub records: Vec<Record>,
    /// How far this batch is behind the tip of the shard, in milliseconds, if known.
    pub millis_behind_latest: Option<i64>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The payload.
    #[serde(default, deserialize_with = "base64_bytes")]
    pub data: Vec<u8>,
    /// Its partition key.
    #[serde(default)]
    pub partition_key: String,
    /// Decimal digits; the same for all records of a KPL aggregate.
    #[serde(default)]
    pub sequence_number: String,
    /// The place inside the aggregate; `None` from old daemons, 0 for plain records.
    #[serde(default)]
    pub sub_sequence_number: Option<i64>,
    /// Arrival in milliseconds since the epoch; `None` from very old daemons.
    #[serde(default)]
    pub approximate_arrival_timestamp: Option<i64>,
}

/// The content of a checkpoint reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The request's sequence number.
    pub sequence_number: Option<String>,
    /// The request's sub-sequence number.
    pub sub_sequence_number: Option<i64>,
    /// `None` if stored; else one of [`crate::error_name`] or another name.
    pub error: Option<String>,
    /// A sentence about the error, if the daemon gives one.
    pub error_message: Option<String>,
}

/// A line of the daemon that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not a JSON object with the types of a message.
    #[error("the daemon's line is not a message: {0}")]
    NotAMessage(#[from] serde_json::Error),
    /// An action of another protocol.
    #[error("the daemon asks for `{0}`, which this processor does not know")]
    UnknownAction(String),
}

/// All fields of all messages; reading them in one pass spares a second look at large batches.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    action: String,
    #[serde(default)]
    shard_id: Option<String>,
    #[serde(default)]
    sequence_number: Option<String>,
    #[serde(default)]
    sub_sequence_number: Option<i64>,
    #[serde(default)]
    records: Option<Vec<Record>>,
    #[serde(default)]
    millis_behind_latest: Option<i64>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    checkpoint: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_message: Option<String>,
}

impl ToChild {
    /// Reads one line, with or without its ending.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no message or asks for something unknown.
    pub fn decode(line: &[u8]) -> Result<ToChild, DecodeError> {
        let fields: Envelope = serde_json::from_slice(line)?;
        Ok(match fields.action.as_str() {
            "initialize" => ToChild::Initialize(Initialization {
                shard_id: fields
                    .shard_id
                    .ok_or_else(|| serde_json::Error::missing_field("shardId"))?,
                sequence_number: fields.sequence_number,
                sub_sequence_number: fields.sub_sequence_number,
            }),
            "processRecords" => ToChild::ProcessRecords(Batch {
                records: fields
                    .records
                    .ok_or_else(|| serde_json::Error::missing_field("records"))?,
                millis_behind_latest: fields.millis_behind_latest,
            }),
            "shutdownRequested" => ToChild::ShutdownRequested,
            "leaseLost" => ToChild::LeaseLost,
            "shardEnded" => ToChild::ShardEnded,
            "shutdown" => ToChild::Shutdown {
                reason: fields.reason,
            },
            "checkpoint" => ToChild::Checkpoint(Reply {
                sequence_number: fields.sequence_number.or(fields.checkpoint),
                sub_sequence_number: fields.sub_sequence_number,
                error: fields.error,
                error_message: fields.error_message,
            }),
            _ => return Err(DecodeError::UnknownAction(fields.action)),
        })
    }
}

fn base64_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Base64;

    impl<'de> Visitor<'de> for Base64 {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("base64 text or null")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
            STANDARD.decode(text).map_err(E::custom)
        }

        fn visit_none<E>(self) -> Result<Vec<u8>, E> {
            Ok(Vec::new())
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
            deserializer.deserialize_str(self)
        }
    }

    deserializer.deserialize_option(Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_in_every_dialect() {
        let table = [
            (
                r#"{"action":"initialize","shardId":"s","sequenceNumber":"LATEST","subSequenceNumber":2}"#,
                ToChild::Initialize(Initialization {
                    shard_id: "s".into(),
                    sequence_number: Some("LATEST".into()),
                    sub_sequence_number: Some(2),
                }),
            ),
            // What a P0 daemon says.
            (
                r#"{"action":"initialize","shardId":"s"}"#,
                ToChild::Initialize(Initialization {
                    shard_id: "s".into(),
                    ..Default::default()
                }),
            ),
            (
                r#"{"action":"processRecords","records":[],"millisBehindLatest":null}"#,
                ToChild::ProcessRecords(Batch::default()),
            ),
            (
                r#"{"action":"processRecords","records":[{"data":"/+8=","partitionKey":"\u00fc","sequenceNumber":"9","approximateArrivalTimestamp":1735689600000,"subSequenceNumber":3,"action":"record"},{"data":null,"partitionKey":"k","sequenceNumber":"10"}],"millisBehindLatest":7}"#,
                ToChild::ProcessRecords(Batch {
                    records: vec![
                        Record {
                            data: vec![0xff, 0xef],
                            partition_key: "ü".into(),
                            sequence_number: "9".into(),
                            sub_sequence_number: Some(3),
                            approximate_arrival_timestamp: Some(1_735_689_600_000),
                        },
                        Record {
                            data: Vec::new(),
                            partition_key: "k".into(),
                            sequence_number: "10".into(),
                            sub_sequence_number: None,
                            approximate_arrival_timestamp: None,
                        },
                    ],
                    millis_behind_latest: Some(7),
                }),
            ),
            (
                r#"{"action":"shutdownRequested"}"#,
                ToChild::ShutdownRequested,
            ),
            (r#"{"action":"leaseLost"}"#, ToChild::LeaseLost),
            (
                r#"{"action":"shardEnded","checkpoint":"SHARD_END"}"#,
                ToChild::ShardEnded,
            ),
            (
                r#"{"action":"shutdown","reason":"ZOMBIE"}"#,
                ToChild::Shutdown {
                    reason: Some("ZOMBIE".into()),
                },
            ),
            (
                r#"{"action":"checkpoint","checkpoint":"7","error":"ThrottlingException"}"#,
                ToChild::Checkpoint(Reply {
                    sequence_number: Some("7".into()),
                    error: Some("ThrottlingException".into()),
                    ..Default::default()
                }),
            ),
        ];
        for (line, expected) in table {
            assert_eq!(
                ToChild::decode(format!("{line}\r\n").as_bytes()).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (line, part) in [
            ("nonsense", "not a message"),
            (r#"{"action":"dance"}"#, "asks for `dance`"),
            (r#"{"action":"initialize"}"#, "shardId"),
            (r#"{"action":"processRecords"}"#, "records"),
            (
                r#"{"action":"processRecords","records":[{"data":"*"}]}"#,
                "not a message",
            ),
        ] {
            let error = ToChild::decode(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

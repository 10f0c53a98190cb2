//! KPL aggregated records: many user records inside one Kinesis record (`retrieval.md` C).
//!
//! | bytes | content |
//! |---|---|
//! | 0–3 | [`MAGIC`] |
//! | 4 … n−17 | protobuf (proto2) message: key tables and user records |
//! | last 16 | MD5 of exactly the protobuf bytes |
//!
//! [`deaggregate`] takes one apart, [`Aggregator`] makes one. Both are pure.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod wire;

use md5::{Digest, Md5};

pub use decode::{
    Deaggregated, Dropped, Malformed, MalformedRecord, PartitionKey, UserRecord, deaggregate,
};
pub use encode::{Aggregator, NewRecord, SingleRecord};

/// What every aggregate begins with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes of the MD5 at the end of an aggregate.
const DIGEST_LENGTH: usize = 16;

/// Bytes of an aggregate that are not its protobuf message.
const ENVELOPE_LENGTH: usize = MAGIC.len() + DIGEST_LENGTH;

/// The numbers of the fields in the protobuf messages (`retrieval.md` C.1).
mod field {
    pub const PARTITION_KEY_TABLE: u32 = 1;
    pub const EXPLICIT_HASH_KEY_TABLE: u32 = 2;
    pub const RECORDS: u32 = 3;

    pub const RECORD_PARTITION_KEY_INDEX: u32 = 1;
    pub const RECORD_EXPLICIT_HASH_KEY_INDEX: u32 = 2;
    pub const RECORD_DATA: u32 = 3;
    pub const RECORD_TAGS: u32 = 4;

    pub const TAG_KEY: u32 = 1;
}

/// Whether a record's data may be an aggregate: the magic bytes and room for at least one byte of
/// protobuf. Only the MD5, which [`deaggregate`] verifies, tells for sure.
#[must_use]
pub fn looks_aggregated(data: &[u8]) -> bool {
    data.len() > ENVELOPE_LENGTH && data.starts_with(&MAGIC)
}

/// [`looks_aggregated`] of the data that a base64 text encodes, without decoding it
/// (`retrieval.md` G.2).
///
/// `text` is in the standard alphabet and without JSON escapes, with or without padding. The first
/// 32 bits of the data are five whole characters and the upper two bits of a sixth. 21 bytes fill 28
/// characters, where 20 bytes leave the 28th empty or `=`.
#[must_use]
pub fn base64_looks_aggregated(text: &[u8]) -> bool {
    text.starts_with(b"84maw")
        && matches!(text.get(5), Some(b'g'..=b'v'))
        && matches!(text.get(27), Some(&last) if last != b'=')
}

/// The place of a partition key in the hash space: its MD5 as an unsigned big-endian number.
#[must_use]
pub fn partition_key_hash(partition_key: &str) -> u128 {
    u128::from_be_bytes(md5(partition_key.as_bytes()))
}

fn md5(bytes: &[u8]) -> [u8; DIGEST_LENGTH] {
    Md5::digest(bytes).into()
}

/// What to do with user records whose hash key is outside the shard that the aggregate came from
/// (setting `kplRangeFilter`, `retrieval.md` C.4).
///
/// The KPL guesses a record's shard before it sends. After a split an aggregate can land in a shard
/// that some of its user records do not belong to; the KPL sees it and sends them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RangeFilter {
    /// One record outside drops the whole aggregate, as Java's KCL does.
    #[default]
    Whole,
    /// Only the records outside are dropped. With a KPL that sends the whole aggregate again, the
    /// others come twice.
    Record,
    /// Nothing is dropped, hash keys are not looked at.
    Off,
}

impl RangeFilter {
    /// Reads the value of the setting, in any case; `None` when it is none of the three.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Whole, Self::Record, Self::Off]
            .into_iter()
            .find(|filter| text.eq_ignore_ascii_case(filter.as_str()))
    }

    /// The value of the setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Record => "record",
            Self::Off => "off",
        }
    }
}

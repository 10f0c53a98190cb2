//! Taking aggregates apart.
//!
//! Beyond Java (`retrieval.md` C.2 \[B\]): what was dropped is counted and the first malformed
//! record described, and the records behind a malformed one are delivered.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::wire::{Fields, Unparsable, Value, low_32_bits};
use super::{DIGEST_LENGTH, MAGIC, RangeFilter, field, looks_aggregated, md5, partition_key_hash};
use crate::core::hash_range::HashRange;

/// What a Kinesis record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deaggregated<'a> {
    /// No aggregate: no magic, a wrong MD5, or bytes under a right MD5 that cannot be parsed. The
    /// record goes to the child as it is, with sub-sequence number 0.
    Plain,
    /// An aggregate, perhaps of no records.
    UserRecords {
        /// The records to deliver, in the aggregate's order.
        records: Vec<UserRecord<'a>>,
        /// What is not delivered.
        dropped: Dropped,
    },
}

/// One user record of an aggregate. Its sequence number and time of arrival are those of the
/// Kinesis record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// The record's index among all records of the aggregate, from 0. Dropped records keep their
    /// numbers, so that a checkpoint means the same record under every [`RangeFilter`] and every
    /// range. For the records that Java delivers it is the number that Java gives them.
    pub sub_sequence: u64,
    /// The user's partition key.
    pub partition_key: PartitionKey<'a>,
    /// The user's explicit hash key as it was sent, if any. The child does not get it.
    pub explicit_hash_key: Option<&'a str>,
    /// The user's bytes.
    pub data: &'a [u8],
}

/// What of an aggregate is not delivered, in user records. Together with the delivered ones they are
/// all records of the aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Dropped by the [`RangeFilter`]; under [`RangeFilter::Whole`] with all that had to go along.
    pub outside_range: usize,
    /// Refer to keys that are missing or cannot be read.
    pub malformed: usize,
    /// The first of the malformed ones, for the log.
    pub first_malformed: Option<MalformedRecord>,
}

/// A user record that could not be decoded, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "user record {sub_sequence} of the aggregate is dropped: {reason}; its producer has to be repaired"
)]
pub struct MalformedRecord {
    /// See [`UserRecord::sub_sequence`].
    pub sub_sequence: u64,
    /// What is wrong.
    pub reason: Malformed,
}

/// Why a user record cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The partition key's index is not in the table.
    #[error("its partition key is number {index} of a table of {table_length}")]
    PartitionKeyIndex {
        /// The index, from 0.
        index: u64,
        /// Keys in the table.
        table_length: usize,
    },
    /// The explicit hash key's index is not in the table.
    #[error("its explicit hash key is number {index} of a table of {table_length}")]
    ExplicitHashKeyIndex {
        /// The index, from 0.
        index: u64,
        /// Keys in the table.
        table_length: usize,
    },
    /// The explicit hash key is not a decimal number.
    #[error("its explicit hash key, number {index} of the table, is not a decimal number")]
    ExplicitHashKey {
        /// The index, from 0.
        index: u64,
    },
}

/// A user's partition key, cheap to clone.
#[derive(Clone)]
pub enum PartitionKey<'a> {
    /// As it is in the aggregate.
    Text(&'a str),
    /// It is not UTF-8: each bad sequence became U+FFFD, as in Java, and that text is what gets
    /// hashed and delivered. Shared by all records of the aggregate that have the key, so that a
    /// long key costs its size only once.
    Replaced(Arc<str>),
}

impl<'a> PartitionKey<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Replaced(replace_bad_sequences(bytes).into()),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Replaced(text) => text,
        }
    }
}

/// The text with U+FFFD for what is not UTF-8. Rust and Java agree on the number of them except for
/// a UTF-16 surrogate written in UTF-8's way, even without its last byte: one in Java, and so here.
fn replace_bad_sequences(bytes: &[u8]) -> String {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, rest @ ..] | [0xED, 0xA0..=0xBF, rest @ ..] => {
                replaced.extend_from_slice("\u{FFFD}".as_bytes());
                rest
            }
            [byte, rest @ ..] => {
                replaced.push(*byte);
                rest
            }
            [] => return String::from_utf8_lossy(&replaced).into_owned(),
        }
    }
}

impl Deref for PartitionKey<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for PartitionKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PartitionKey<'_> {}

impl fmt::Debug for PartitionKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for PartitionKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Takes a Kinesis record's data apart if it is an aggregate (`retrieval.md` C.2).
///
/// `range` is the hash range of the shard that the record came from, [`HashRange::FULL`] if it is
/// unknown. Hash keys are judged against it as `filter` says:
///
/// - [`RangeFilter::Whole`]: one record outside drops all. Java reads no further than the first
///   malformed record, though, and keeps those before it. They are kept here too when the record
///   outside is behind a malformed one; only the rest goes.
/// - [`RangeFilter::Record`]: records outside are dropped.
/// - [`RangeFilter::Off`]: explicit hash keys are not looked at, so none is malformed either; one
///   that is missing or not UTF-8 is delivered as none.
///
/// An explicit hash key above 2^128 − 1 is outside every range. A partition key is hashed only when
/// the answer matters.
#[must_use]
pub fn deaggregate(data: &[u8], range: HashRange, filter: RangeFilter) -> Deaggregated<'_> {
    let Some(Ok(message)) = verified_message(data).map(Message::parse) else {
        return Deaggregated::Plain;
    };
    let mut keys = Keys::of(&message);
    let mut records = Vec::with_capacity(message.records.len());
    let mut dropped = Dropped::default();
    let mut delivered_by_java = 0;
    for (sub_sequence, raw) in (0..).zip(&message.records) {
        match keys.resolve(sub_sequence, raw, range, filter) {
            Ok((record, Place::Inside)) => records.push(record),
            Ok((_, Place::Outside)) if filter == RangeFilter::Whole => {
                records.truncate(delivered_by_java);
                dropped.outside_range = message.records.len() - records.len() - dropped.malformed;
                break;
            }
            Ok((_, Place::Outside)) => dropped.outside_range += 1,
            Err(reason) => {
                if dropped.first_malformed.is_none() {
                    dropped.first_malformed = Some(MalformedRecord {
                        sub_sequence,
                        reason,
                    });
                    delivered_by_java = records.len();
                }
                dropped.malformed += 1;
            }
        }
    }
    Deaggregated::UserRecords { records, dropped }
}

/// The protobuf bytes of an aggregate, if the magic and the MD5 say that it is one.
fn verified_message(data: &[u8]) -> Option<&[u8]> {
    if !looks_aggregated(data) {
        return None;
    }
    let (message, digest) = data
        .get(MAGIC.len()..)?
        .split_last_chunk::<DIGEST_LENGTH>()?;
    (md5(message) == *digest).then_some(message)
}

/// The protobuf message, its values not looked into.
struct Message<'a> {
    partition_keys: Vec<&'a [u8]>,
    explicit_hash_keys: Vec<&'a [u8]>,
    records: Vec<RawRecord<'a>>,
}

struct RawRecord<'a> {
    partition_key_index: u64,
    explicit_hash_key_index: Option<u64>,
    data: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the fields in whatever order they come. One with a known number and another wire type
    /// counts as unknown.
    fn parse(bytes: &'a [u8]) -> Result<Self, Unparsable> {
        let mut message = Self {
            partition_keys: Vec::new(),
            explicit_hash_keys: Vec::new(),
            records: Vec::new(),
        };
        let mut fields = Fields::of(bytes);
        while let Some(next) = fields.next()? {
            match next {
                (field::PARTITION_KEY_TABLE, Value::Bytes(key)) => message.partition_keys.push(key),
                (field::EXPLICIT_HASH_KEY_TABLE, Value::Bytes(key)) => {
                    message.explicit_hash_keys.push(key)
                }
                (field::RECORDS, Value::Bytes(record)) => {
                    message
                        .records
                        .push(RawRecord::parse(fields.nested(record))?);
                }
                _ => {}
            }
        }
        Ok(message)
    }
}

impl<'a> RawRecord<'a> {
    fn parse(mut fields: Fields<'a>) -> Result<Self, Unparsable> {
        let (mut partition_key_index, mut explicit_hash_key_index, mut data) = (None, None, None);
        while let Some(next) = fields.next()? {
            match next {
                (field::RECORD_PARTITION_KEY_INDEX, Value::Varint(index)) => {
                    partition_key_index = Some(index)
                }
                (field::RECORD_EXPLICIT_HASH_KEY_INDEX, Value::Varint(index)) => {
                    explicit_hash_key_index = Some(index)
                }
                (field::RECORD_DATA, Value::Bytes(bytes)) => data = Some(bytes),
                (field::RECORD_TAGS, Value::Bytes(tag)) => check_tag(fields.nested(tag))?,
                _ => {}
            }
        }
        Ok(Self {
            partition_key_index: partition_key_index.ok_or(Unparsable)?,
            explicit_hash_key_index,
            data: data.ok_or(Unparsable)?,
        })
    }
}

/// Tags are not used, but a tag without its required key makes the whole message unparsable.
fn check_tag(mut fields: Fields<'_>) -> Result<(), Unparsable> {
    let mut has_key = false;
    while let Some(next) = fields.next()? {
        has_key |= matches!(next, (field::TAG_KEY, Value::Bytes(_)));
    }
    has_key.then_some(()).ok_or(Unparsable)
}

/// Where a record's hash key lies.
#[derive(Clone, Copy)]
enum Place {
    Inside,
    Outside,
}

/// The tables of an aggregate. Every key is read once, however many records refer to it.
struct Keys<'a> {
    partition: Vec<(PartitionKey<'a>, Option<Place>)>,
    explicit_hash: Vec<ExplicitHashKey<'a>>,
}

struct ExplicitHashKey<'a> {
    /// `None` when it is not UTF-8.
    text: Option<&'a str>,
    value: HashKeyValue,
}

#[derive(Clone, Copy)]
enum HashKeyValue {
    Hash(u128),
    /// A number above 2^128 − 1.
    TooLarge,
    NotANumber,
}

impl<'a> Keys<'a> {
    fn of(message: &Message<'a>) -> Self {
        Self {
            partition: message
                .partition_keys
                .iter()
                .map(|key| (PartitionKey::new(key), None))
                .collect(),
            explicit_hash: message
                .explicit_hash_keys
                .iter()
                .map(|key| ExplicitHashKey::new(key))
                .collect(),
        }
    }

    /// Puts the keys in place of a record's indexes.
    fn resolve(
        &mut self,
        sub_sequence: u64,
        raw: &RawRecord<'a>,
        range: HashRange,
        filter: RangeFilter,
    ) -> Result<(UserRecord<'a>, Place), Malformed> {
        let table_length = self.partition.len();
        let index = raw.partition_key_index;
        let (partition_key, partition_key_place) =
            at(&mut self.partition, index).ok_or(Malformed::PartitionKeyIndex {
                index,
                table_length,
            })?;

        let table_length = self.explicit_hash.len();
        let explicit = raw
            .explicit_hash_key_index
            .map(|index| (index, at(&mut self.explicit_hash, index)));
        let (explicit_hash_key, place) = match (filter, explicit) {
            (RangeFilter::Off, explicit) => {
                (explicit.and_then(|(_, key)| key?.text), Place::Inside)
            }
            (_, None) => {
                let place =
                    partition_key_place.get_or_insert_with(|| place_of(partition_key, range));
                (None, *place)
            }
            (_, Some((index, None))) => {
                return Err(Malformed::ExplicitHashKeyIndex {
                    index,
                    table_length,
                });
            }
            (_, Some((index, Some(key)))) => match key.value {
                HashKeyValue::Hash(hash) => (key.text, Place::of(range.contains(hash))),
                HashKeyValue::TooLarge => (key.text, Place::Outside),
                HashKeyValue::NotANumber => return Err(Malformed::ExplicitHashKey { index }),
            },
        };
        let record = UserRecord {
            sub_sequence,
            partition_key: partition_key.clone(),
            explicit_hash_key,
            data: raw.data,
        };
        Ok((record, place))
    }
}

impl Place {
    const fn of(inside: bool) -> Self {
        if inside { Self::Inside } else { Self::Outside }
    }
}

fn place_of(partition_key: &str, range: HashRange) -> Place {
    Place::of(range.is_full() || range.contains(partition_key_hash(partition_key)))
}

/// The entry that an index refers to, by its low 32 bits as in Java.
fn at<T>(table: &mut [T], index: u64) -> Option<&mut T> {
    table.get_mut(usize::try_from(low_32_bits(index)).ok()?)
}

impl<'a> ExplicitHashKey<'a> {
    /// Reads an unsigned decimal number. Java also takes a plus sign, so we do; its minus sign and
    /// its digits of other scripts are not numbers here.
    fn new(bytes: &'a [u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        let digits = bytes.strip_prefix(b"+").unwrap_or(bytes);
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let value = match text.map(str::parse) {
            Some(Ok(hash)) if is_number => HashKeyValue::Hash(hash),
            _ if is_number => HashKeyValue::TooLarge,
            _ => HashKeyValue::NotANumber,
        };
        Self { text, value }
    }
}

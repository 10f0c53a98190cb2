//! Names of things: shard ids, sequence numbers, hash keys, ARNs.

use std::{fmt, str::FromStr};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::error::KinesisError;

/// A shard's number within its stream, shown as `shardId-000000000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u64);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

impl FromStr for ShardId {
    type Err = KinesisError;

    /// Reads the shown form only; anything else is a ValidationException.
    fn from_str(text: &str) -> Result<Self, KinesisError> {
        text.strip_prefix("shardId-")
            .filter(|digits| digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                KinesisError::validation(format!(
                    "'{text}' is not a shard id such as shardId-000000000000."
                ))
            })
    }
}

/// Decimal digits of a sequence number.
const SEQUENCE_DIGITS: usize = 56;
/// Incarnations take eight digits of a sequence number.
pub(super) const INCARNATIONS: u64 = 100_000_000;
/// Every sequence number of AWS begins like this.
const SEQUENCE_PREFIX: u64 = 49;

/// A sequence number: 56 decimal digits made of the shard's epoch, a serial within the shard, the stream and the shard.
///
/// Epochs grow with every resharding of a stream, so all numbers of a child lie above all numbers of its parents. The
/// order of the fields is the order of the digits, so comparing numbers is comparing what they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber {
    pub(super) epoch: u64,
    pub(super) serial: u64,
    pub(super) incarnation: u32,
    pub(super) shard: ShardId,
}

impl SequenceNumber {
    /// The number's digits, without allocating.
    pub fn digits(&self) -> [u8; SEQUENCE_DIGITS] {
        let mut digits = [b'0'; SEQUENCE_DIGITS];
        put_digits(&mut digits[..2], SEQUENCE_PREFIX);
        put_digits(&mut digits[2..16], self.epoch);
        put_digits(&mut digits[16..36], self.serial);
        put_digits(&mut digits[36..44], u64::from(self.incarnation));
        put_digits(&mut digits[44..], self.shard.0);
        digits
    }

    /// Reads the digits of a number made by this engine or one like it; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != SEQUENCE_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let field = |from: usize, to: usize| {
            text.get(from..to)
                .and_then(|digits| digits.parse::<u64>().ok())
        };
        (field(0, 2)? == SEQUENCE_PREFIX).then_some(())?;
        Some(Self {
            epoch: field(2, 16)?,
            serial: field(16, 36)?,
            incarnation: u32::try_from(field(36, 44)?).ok()?,
            shard: ShardId(field(44, 56)?),
        })
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits()
            .iter()
            .try_for_each(|&digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

/// Right-aligned decimal digits of `value`; higher digits that do not fit are cut off.
fn put_digits(into: &mut [u8], mut value: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The largest hash key, 2^128 - 1.
pub const MAX_HASH_KEY: u128 = u128::MAX;

/// Hash keys of a shard, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKeyRange {
    /// Smallest hash key of the shard.
    pub start: u128,
    /// Largest hash key of the shard.
    pub end: u128,
}

impl HashKeyRange {
    /// Splits all hash keys evenly into `count` ranges, in order.
    pub(super) fn even(count: usize) -> Vec<Self> {
        if count <= 1 {
            return vec![Self {
                start: 0,
                end: MAX_HASH_KEY,
            }];
        }
        let count = count as u128;
        // 2^128 does not fit: its quotient and remainder by `count` are found from 2^128 - 1.
        let (mut width, mut rest) = (MAX_HASH_KEY / count, MAX_HASH_KEY % count + 1);
        if rest == count {
            (width, rest) = (width + 1, 0);
        }
        let first = |i: u128| i * width + i.min(rest);
        (0..count)
            .map(|i| Self {
                start: first(i),
                end: if i + 1 == count {
                    MAX_HASH_KEY
                } else {
                    first(i + 1) - 1
                },
            })
            .collect()
    }
}

/// Where a record goes that names no explicit hash key: MD5 of the partition key as an unsigned 128-bit number.
pub fn hash_of_partition_key(partition_key: &str) -> u128 {
    let digest: [u8; 16] = Md5::digest(partition_key.as_bytes()).into();
    u128::from_be_bytes(digest)
}

/// Reads an explicit hash key or a hash key of a resharding call: decimal, without sign or leading zeros.
pub(super) fn parse_hash_key(text: &str) -> Result<u128, KinesisError> {
    let plain = !text.is_empty() && text.len() <= 39 && text.bytes().all(|b| b.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(KinesisError::validation(format!(
            "'{text}' is not a hash key: a decimal number without leading zeros."
        )));
    }
    text.parse().map_err(|_| {
        KinesisError::invalid(format!("The hash key {text} is larger than 2^128 - 1."))
    })
}

/// Whether `name` may name a stream, a consumer.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), KinesisError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(legal) {
        let rule = "1 to 128 letters, digits, '_', '.' or '-'";
        return Err(KinesisError::validation(format!(
            "'{name}' cannot name a {what}: use {rule}."
        )));
    }
    Ok(())
}

/// The stream's name in `reference`, which is a name or an ARN. Region and account of an ARN are not looked at: there is
/// one account here, whatever it is called.
pub(super) fn stream_name(reference: &str) -> Result<&str, KinesisError> {
    if !reference.starts_with("arn:") {
        check_name("stream", reference)?;
        return Ok(reference);
    }
    let mut parts = reference.splitn(6, ':').skip(2);
    let service = parts.next();
    let name = parts
        .nth(2)
        .and_then(|resource| resource.strip_prefix("stream/"));
    match (service, name) {
        (Some("kinesis"), Some(name)) if check_name("stream", name).is_ok() => Ok(name),
        _ => Err(KinesisError::validation(format!(
            "'{reference}' is not the ARN of a stream."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_ids_show_and_read_twelve_digits() {
        assert_eq!(ShardId(7).to_string(), "shardId-000000000007");
        assert_eq!("shardId-000000000007".parse::<ShardId>(), Ok(ShardId(7)));
        for text in [
            "",
            "shardId-7",
            "shard-000000000007",
            "shardId-00000000000x",
            "shardId-+00000000007",
        ] {
            assert!(text.parse::<ShardId>().is_err(), "{text}");
        }
    }

    #[test]
    fn sequence_numbers_have_56_digits_in_the_order_of_their_fields() {
        let number = |epoch, serial, shard| SequenceNumber {
            epoch,
            serial,
            incarnation: 12,
            shard: ShardId(shard),
        };
        let ascending = [
            number(1, 0, 9),
            number(1, 1, 9),
            number(1, 2, 0),
            number(1_700_000_000_000, 0, 0),
            number(1_700_000_000_000, u64::MAX, 0),
            number(1_700_000_000_001, 0, 0),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
        for n in ascending {
            assert_eq!(n.to_string().len(), 56);
            assert_eq!(SequenceNumber::parse(&n.to_string()), Some(n));
        }
        for text in [
            "",
            "0",
            "TRIM_HORIZON",
            &"4".repeat(56),
            &"9".repeat(55),
            &"é".repeat(28),
        ] {
            assert_eq!(SequenceNumber::parse(text), None, "{text}");
        }
    }

    #[test]
    fn even_ranges_tile_all_hash_keys() {
        for count in [1, 2, 3, 4, 5, 7, 64, 1000] {
            let ranges = HashKeyRange::even(count);
            assert_eq!(
                (ranges.len(), ranges[0].start, ranges[count - 1].end),
                (count, 0, MAX_HASH_KEY)
            );
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end + 1, pair[1].start);
            }
            let widths: Vec<u128> = ranges.iter().map(|r| r.end - r.start).collect();
            assert!(
                widths.iter().max().unwrap() - widths.iter().min().unwrap() <= 1,
                "{count}"
            );
        }
        assert_eq!(HashKeyRange::even(2)[1].start, 1 << 127);
    }

    #[test]
    fn hash_keys() {
        // MD5 of the empty text, as published in RFC 1321.
        assert_eq!(
            hash_of_partition_key(""),
            0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e
        );
        assert_eq!(parse_hash_key("0"), Ok(0));
        assert_eq!(parse_hash_key(&MAX_HASH_KEY.to_string()), Ok(MAX_HASH_KEY));
        for text in [
            "",
            "-1",
            "00",
            "1e3",
            "340282366920938463463374607431768211456",
            &"9".repeat(60),
        ] {
            assert!(parse_hash_key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn streams_are_named_by_name_or_arn() {
        assert_eq!(stream_name("orders"), Ok("orders"));
        assert_eq!(
            stream_name("arn:aws:kinesis:eu-west-1:123456789012:stream/orders"),
            Ok("orders")
        );
        assert_eq!(stream_name("arn:aws-cn:kinesis:x:y:stream/a.b"), Ok("a.b"));
        let wrong = [
            "",
            "a b",
            "arn:aws:kinesis:r:a:stream/x/consumer/c:1",
            "arn:aws:sqs:r:a:stream/x",
            "arn:aws:kinesis",
        ];
        for text in wrong
            .into_iter()
            .chain([&*"x".repeat(129), "arn:aws:kinesis:r:a:x"])
        {
            assert!(stream_name(text).is_err(), "{text}");
        }
    }
}

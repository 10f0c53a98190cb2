//! Opaque tokens that carry their own state, so that nothing is stored for them: shard iterators and page tokens.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::ids::ShardId;

const SEAL_BYTES: usize = 8;

/// What a token is for; one kind is never taken for another.
pub(super) trait Token: Serialize + DeserializeOwned {
    const KIND: u8;
}

/// A place in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IteratorToken {
    pub(super) stream: String,
    /// Which stream of that name: a re-created one is another.
    pub(super) incarnation: u32,
    pub(super) shard: ShardId,
    /// The first serial not yet read.
    pub(super) from: u64,
    pub(super) issued_ms: i64,
    /// Running number over all iterators of the engine: makes each unlike any other.
    pub(super) number: u64,
}

impl Token for IteratorToken {
    const KIND: u8 = 1;
}

/// The rest of a `ListShards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardsToken {
    pub(super) stream: String,
    pub(super) incarnation: u32,
    pub(super) after: ShardId,
    /// The filter's instant was fixed by the first page; the trim horizon moves, the listing does not.
    pub(super) filter: super::shards::Resolved,
    pub(super) issued_ms: i64,
}

impl Token for ShardsToken {
    const KIND: u8 = 2;
}

/// The rest of a listing by name: `ListStreams`, `ListStreamConsumers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamesToken {
    /// What is listed: empty for streams, else the stream whose consumers are listed.
    pub(super) of: String,
    pub(super) after: String,
    pub(super) issued_ms: i64,
}

impl Token for NamesToken {
    const KIND: u8 = 3;
}

/// Encodes a token; `seed` is the engine's.
pub(super) fn seal<T: Token>(seed: u64, token: &T) -> String {
    let mut bytes = vec![T::KIND];
    // proven: the tokens are structs of strings, numbers and unit enums, which JSON can always express.
    serde_json::to_writer(&mut bytes, token).unwrap_or_default();
    bytes.extend_from_slice(&checksum(seed, &bytes));
    STANDARD.encode(bytes)
}

/// Decodes a token made by [`seal`] with the same seed and kind; anything else is `None`.
pub(super) fn open<T: Token>(seed: u64, text: &str) -> Option<T> {
    let bytes = STANDARD.decode(text).ok()?;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_BYTES)?)?;
    let (kind, json) = body.split_first()?;
    if *kind != T::KIND || sum != checksum(seed, body) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn checksum(seed: u64, body: &[u8]) -> [u8; SEAL_BYTES] {
    let digest: [u8; 16] = Md5::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(body)
        .finalize()
        .into();
    let mut sum = [0; SEAL_BYTES];
    // proven: a digest has 16 bytes, the seal takes 8.
    sum.copy_from_slice(&digest[..SEAL_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> NamesToken {
        NamesToken {
            of: String::new(),
            after: "a".into(),
            issued_ms: 7,
        }
    }

    #[test]
    fn a_token_opens_only_as_what_it_is_and_where_it_was_made() {
        let text = seal(1, &token());
        assert_eq!(open::<NamesToken>(1, &text), Some(token()));
        assert_eq!(open::<NamesToken>(2, &text), None);
        assert_eq!(open::<IteratorToken>(1, &text), None);
    }

    /// Looks like a `NamesToken` and is none.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Twin {
        of: String,
        after: String,
        issued_ms: i64,
    }

    impl Token for Twin {
        const KIND: u8 = 99;
    }

    #[test]
    fn kinds_differ_even_if_their_members_do_not() {
        assert_eq!(open::<Twin>(1, &seal(1, &token())), None);
    }

    #[test]
    fn a_damaged_token_is_refused() {
        let mut bytes = STANDARD.decode(seal(1, &token())).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(
                open::<NamesToken>(1, &STANDARD.encode(&bytes)),
                None,
                "byte {at}"
            );
            bytes[at] ^= 1;
        }
        for text in ["", "AAAA", "not base64", "AAAAAAAAAAAAAAA="] {
            assert_eq!(open::<NamesToken>(1, text), None, "{text}");
        }
    }
}

//! Making aggregates.

use std::collections::HashMap;

use super::wire::{
    bytes_field_length, put_bytes_field, put_bytes_header, put_varint_field, varint_field_length,
};
use super::{ENVELOPE_LENGTH, MAGIC, field, md5, partition_key_hash};

/// A user record to be put.
///
/// Nothing is checked here: that the partition key has 1 to 256 characters is the service's rule
/// for records of their own, and the caller's to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// The key that decides on the shard, unless there is an explicit hash key.
    pub partition_key: &'a str,
    /// The place in the hash space to use instead of the partition key's hash.
    pub explicit_hash_key: Option<u128>,
    /// The user's bytes.
    pub data: &'a [u8],
}

impl NewRecord<'_> {
    /// The record's place in the hash space, which decides on its shard (`retrieval.md` C.2).
    #[must_use]
    pub fn hash_key(&self) -> u128 {
        self.explicit_hash_key
            .unwrap_or_else(|| partition_key_hash(self.partition_key))
    }
}

/// The only record of a group, to be put as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleRecord {
    /// See [`NewRecord::partition_key`].
    pub partition_key: String,
    /// See [`NewRecord::explicit_hash_key`].
    pub explicit_hash_key: Option<u128>,
    /// The user's bytes.
    pub data: Vec<u8>,
}

/// Collects user records and makes one aggregate of them, with the key tables de-duplicated.
///
/// Which records go together and when a group is full are the caller's decisions, by
/// [`NewRecord::hash_key`] and [`Aggregator::size_with`] (`retrieval.md` C.5).
#[derive(Debug, Clone, Default)]
pub struct Aggregator {
    partition_keys: KeyTable<String>,
    explicit_hash_keys: KeyTable<u128>,
    /// The encoded records.
    records: Vec<u8>,
    count: usize,
    first: Option<First>,
}

/// What of the first record is needed again.
#[derive(Debug, Clone)]
struct First {
    partition_key: String,
    explicit_hash_key: Option<u128>,
    data_length: usize,
}

impl Aggregator {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// User records so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no user record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the aggregate so far: exactly what [`Aggregator::finish`] would return.
    #[must_use]
    pub const fn size(&self) -> usize {
        ENVELOPE_LENGTH
            + self.partition_keys.encoded.len()
            + self.explicit_hash_keys.encoded.len()
            + self.records.len()
    }

    /// Bytes of the aggregate if the record were added.
    #[must_use]
    pub fn size_with(&self, record: &NewRecord<'_>) -> usize {
        let (partition_key_index, new_partition_key) = self
            .partition_keys
            .place(record.partition_key, || record.partition_key.len());
        let hash_key = record.explicit_hash_key.map(|key| {
            self.explicit_hash_keys.place(&key, || {
                key.checked_ilog10().map_or(1, |log| log as usize + 1)
            })
        });
        let inner = record_length(
            partition_key_index,
            hash_key.map(|(index, _)| index),
            record.data.len(),
        );
        self.size()
            + new_partition_key
            + hash_key.map_or(0, |(_, new)| new)
            + bytes_field_length(inner)
    }

    /// Adds a record behind those there are.
    pub fn add(&mut self, record: &NewRecord<'_>) {
        let partition_key_index = self.partition_keys.index_of(
            record.partition_key,
            field::PARTITION_KEY_TABLE,
            record.partition_key.as_bytes(),
        );
        let hash_key_index = record.explicit_hash_key.map(|key| {
            self.explicit_hash_keys.index_of(
                &key,
                field::EXPLICIT_HASH_KEY_TABLE,
                key.to_string().as_bytes(),
            )
        });
        let inner = record_length(partition_key_index, hash_key_index, record.data.len());

        let out = &mut self.records;
        put_bytes_header(out, field::RECORDS, inner);
        put_varint_field(out, field::RECORD_PARTITION_KEY_INDEX, partition_key_index);
        if let Some(index) = hash_key_index {
            put_varint_field(out, field::RECORD_EXPLICIT_HASH_KEY_INDEX, index);
        }
        put_bytes_field(out, field::RECORD_DATA, record.data);

        self.count += 1;
        self.first.get_or_insert_with(|| First {
            partition_key: record.partition_key.to_owned(),
            explicit_hash_key: record.explicit_hash_key,
            data_length: record.data.len(),
        });
    }

    /// The hash key of the first user record, which the KPL puts the aggregate under
    /// (`ExplicitHashKey`, in decimal). `None` when there is no record.
    #[must_use]
    pub fn hash_key(&self) -> Option<u128> {
        self.first.as_ref().map(|first| {
            NewRecord {
                partition_key: &first.partition_key,
                explicit_hash_key: first.explicit_hash_key,
                data: &[],
            }
            .hash_key()
        })
    }

    /// The group's only record, which costs less on its own than in an aggregate. A group of another
    /// size is handed back.
    ///
    /// # Errors
    /// The group itself, unchanged, when it has no or several records.
    #[expect(
        clippy::result_large_err,
        reason = "not an error: the group goes on to `finish`"
    )]
    pub fn into_single(mut self) -> Result<SingleRecord, Self> {
        match self.first.take_if(|_| self.count == 1) {
            Some(first) => {
                // The data is the last field of the last record.
                let data_start = self.records.len().saturating_sub(first.data_length);
                Ok(SingleRecord {
                    partition_key: first.partition_key,
                    explicit_hash_key: first.explicit_hash_key,
                    data: self.records.split_off(data_start),
                })
            }
            None => Err(self),
        }
    }

    /// The aggregate: the data of the Kinesis record to put.
    ///
    /// An empty group gives 20 bytes that consumers take for an ordinary record; do not put it.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.partition_keys.encoded);
        out.extend_from_slice(&self.explicit_hash_keys.encoded);
        out.extend_from_slice(&self.records);
        let digest = md5(out.get(MAGIC.len()..).unwrap_or_default());
        out.extend_from_slice(&digest);
        out
    }
}

/// Bytes of a record's message, without the field header around it.
fn record_length(
    partition_key_index: u64,
    hash_key_index: Option<u64>,
    data_length: usize,
) -> usize {
    varint_field_length(partition_key_index)
        + hash_key_index.map_or(0, varint_field_length)
        + bytes_field_length(data_length)
}

/// The keys of one table, each once, in the order of their first use.
#[derive(Debug, Clone)]
struct KeyTable<K> {
    indexes: HashMap<K, u64>,
    encoded: Vec<u8>,
}

impl<K> Default for KeyTable<K> {
    fn default() -> Self {
        Self {
            indexes: HashMap::new(),
            encoded: Vec::new(),
        }
    }
}

impl<K: Eq + std::hash::Hash> KeyTable<K> {
    /// The index that the key has or would get, and the bytes by which the table would grow.
    fn place<Q>(&self, key: &Q, text_length: impl FnOnce() -> usize) -> (u64, usize)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + std::hash::Hash + ?Sized,
    {
        match self.indexes.get(key) {
            Some(&index) => (index, 0),
            None => (self.indexes.len() as u64, bytes_field_length(text_length())),
        }
    }

    /// The index of the key, which is put into the table if it is new.
    fn index_of<Q>(&mut self, key: &Q, field_number: u32, text: &[u8]) -> u64
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + std::hash::Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(&index) = self.indexes.get(key) {
            return index;
        }
        let index = self.indexes.len() as u64;
        self.indexes.insert(key.to_owned(), index);
        put_bytes_field(&mut self.encoded, field_number, text);
        index
    }
}

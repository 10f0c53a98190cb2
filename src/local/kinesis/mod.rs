//! A small in-memory Kinesis Data Streams: plain data, an injected clock, no locks, no tasks, no I/O.
//!
//! Two callers share it. `kcl-daemon --local` puts [`handle`] behind the HTTP client of the real AWS SDK; the fleet
//! simulation calls the typed operations of [`Kinesis`] directly. Every call takes the wall clock as epoch
//! milliseconds; the engine never lets its own idea of the time go backwards.
//!
//! | file | its one job |
//! |---|---|
//! | `options.rs` | what a caller may choose at construction, and the service's fixed limits |
//! | `error.rs` | AWS error names, status codes, messages |
//! | `ids.rs` | shard ids, sequence numbers, hash keys, ARNs |
//! | `bucket.rs` | token buckets for the per-shard throughput limits |
//! | `shard.rs` | one shard: its records, reading and positions |
//! | `stream.rs` | one stream: its shards, life-cycle and trimming |
//! | `reshard.rs` | split, merge, uniform shard counts |
//! | `token.rs` | opaque, self-contained tokens (shard iterators, page tokens) |
//! | `faults.rs` | the operations by name, and what tests may break about them |
//! | `engine.rs` | [`Kinesis`]: clock, look-up, life-cycle of streams |
//! | `describe.rs` | describing and listing streams, limits, tags, retention |
//! | `shards.rs` | `ListShards` and the resharding operations |
//! | `records.rs` | `PutRecord(s)`, `GetShardIterator`, `GetRecords` |
//! | `consumers.rs` | registered consumers of enhanced fan-out |
//! | `subscribe.rs` | `SubscribeToShard` as a polled object |
//! | `api/` | the same operations over AWS JSON 1.1 |
//!
//! Behaviour follows AWS's documentation; where that is silent the choice made is stated beside the code.

mod api;
mod bucket;
mod consumers;
mod describe;
mod engine;
mod error;
mod faults;
mod ids;
mod options;
mod records;
mod reshard;
mod shard;
mod shards;
mod stream;
mod subscribe;
mod token;

#[cfg(test)]
mod tests;

pub use api::{Response, TARGET_PREFIX, error_body, event_body, handle, subscribe};
pub use consumers::{ConsumerDescription, ConsumerPage, ConsumerStatus};
pub use describe::{Limits, StreamDescription, StreamPage, TagPage};
pub use engine::Kinesis;
pub use error::{ErrorKind, KinesisError};
pub use faults::{Faults, Operation};
pub use ids::{HashKeyRange, MAX_HASH_KEY, SequenceNumber, ShardId, hash_of_partition_key};
pub use options::Options;
pub use records::{Position, PutEntry, PutReceipt, RecordPage};
pub use shard::{ChildShard, Record, ShardDescription};
pub use shards::{ShardFilter, ShardPage, ShardQuery};
pub use stream::{StreamMode, StreamStatus};
pub use subscribe::{SubscriptionEvent, SubscriptionId, SubscriptionPoll};

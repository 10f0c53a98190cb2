//! The pure ring: decisions as plain functions over plain data. No runtime, no clock, no AWS types,
//! no I/O, nothing async.

pub mod aggregate;
pub mod assignment;
pub mod checkpoint;
pub mod consumer;
pub mod expiry;
pub mod hash_range;
pub mod ids;
pub mod leader;
pub mod lease;
pub mod sequence;
pub mod shard_sync;
pub mod stream;
pub mod subscription;
pub mod time;

//! The pure ring: decisions as plain functions over plain data. No runtime, no clock, no AWS types,
//! no I/O, nothing async.

pub mod aggregate;
pub mod assignment;
pub mod checkpoint;
pub mod consumer;
pub mod cpu;
pub mod ema;
pub mod expiry;
pub mod handoff;
pub mod hash_range;
pub mod ids;
pub mod laws;
pub mod leader;
pub mod leader_absence;
pub mod leader_lock;
pub mod lease;
pub mod migration;
pub mod sequence;
pub mod shard_sync;
pub mod stream;
pub mod subscription;
pub mod tenure;
pub mod throughput;
pub mod time;
pub mod worker_stats;

//! The real binary, and the embedded Kinesis, beside servers that we did not write.
//!
//! | file | what it shows |
//! |---|---|
//! | `kinesis/` | the embedded Kinesis does what Kinesis does, by checks that independent servers pass too |
//! | `resharding.rs` | the daemon through splits and merges |
//! | `fan_out.rs` | enhanced fan-out, and the embedded Kinesis' subscriptions read by the SDK for Python |
//! | `reading.rs` | volume, start positions, expired iterators, resuming |
//! | `checking.rs` | `kcl-daemon check --online` |
//! | `lease_rows.rs` | the lease table, attribute by attribute, in several DynamoDBs |
//!
//! The servers are installed into `target/test-tools` once, by their registries' clients: two are
//! built by cargo and take minutes the first time.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes, sleep and read the environment"
)]

#[path = "../support/mod.rs"]
mod support;

mod checking;
mod fan_out;
mod kinesis;
mod lease_rows;
mod peers;
mod reading;
mod resharding;
mod scene;
mod tools;

//! Reading shards through the real SDK from the embedded Kinesis, in this process and on virtual time:
//! errors of every kind at every call, subscriptions, pace and memory.
//!
//! | file | what it shows |
//! |---|---|
//! | `errors.rs` | the table of `tests/cases/retrieval/errors.json`: no error loses or repeats a record |
//! | `fanout.rs` | the life of subscriptions: renewal, expiry, breaks, slow children, positions |
//! | `consumers.rs` | the registered consumer: limits, deletion, others that use it |
//! | `polling.rs` | limits of reading: hundreds of shards, the pace, large records in bounded memory |
//! | `aggregates.rs` | aggregates as the published aggregation modules make and read them |
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read the environment"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../emulators/tools.rs"]
#[allow(dead_code, reason = "two of its tools are used here")]
mod tools;

mod aggregates;
mod consumers;
mod errors;
mod fanout;
mod faults;
mod polling;
mod world;

//! kcl-daemon: the drop-in replacement for the Java MultiLangDaemon of Amazon's Kinesis Client Library.
//!
//! A **worker** holds **leases**; for each held lease a **shard consumer** moves **batches** from a
//! **fetcher** through a **child** process, and **checkpoints** what the child says is done. Everything
//! else serves these six nouns.
//!
//! | module | what is in it |
//! |---|---|
//! | [`core`] | every decision, as plain functions over plain data |
//! | [`ports`] | the traits through which the worker reaches the world |
//! | [`os`] | clock, randomness, signals, processes: ambient effects live here and nowhere else |
//! | [`fetch`] | from the stream to encoded batches |
//! | [`child`] | processes that speak the multilang protocol |
//! | [`worker`] | the loops that feed events into decisions and carry actions out |
//! | [`aws`] | Kinesis and DynamoDB through the AWS SDK; the only place with its types |
//! | [`local`] | an embedded Kinesis and DynamoDB |
//! | [`config`] | the properties file: one table of every key |
//! | [`observe`] | logs |
//! | [`check`] | whether a configuration works, and what it comes to |
//! | [`app`], [`cli`] | putting it together; the command line |
//!
//! # The ring rule
//!
//! Code points inward only: `cli` → `app` → {`worker`, `check`, `fetch`, `child`, `aws`, `local`, `observe`,
//! `config`} → `os` → `ports` → `core`. Siblings do not know each other, except that `worker` uses
//! `fetch`, `aws` reads the credentials grammar of `config`, and `check` judges what `config` and the
//! probes of `aws` say. `core` is pure: no runtime, no clock,
//! no I/O. `tests/architecture.rs` holds this by reading the `use` lines.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod app;
pub mod aws;
pub mod check;
pub mod child;
pub mod cli;
pub mod config;
pub mod core;
pub mod fetch;
#[cfg(feature = "local")]
pub mod local;
pub mod observe;
pub mod os;
pub mod ports;
pub mod worker;

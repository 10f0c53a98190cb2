//! AWS: the only place that knows the SDK's types.
//!
//! | file | what it does |
//! |---|---|
//! | [`http`] | one connection pool per runtime: proxies, certificates, broken connections |
//! | [`credentials`] | the configured providers, made real |
//! | [`clients`] | settings of one service → its client |
//! | [`errors`] | what went wrong in a call → what to do about it, and a sentence |
//! | [`item`] | a row of the lease table ↔ a lease |
//! | [`expression`] | a write on a lease → DynamoDB's expressions |
//! | [`table`] | whether the lease table exists, making it, waiting for it |
//! | [`index`] | the index of leases by owner |
//! | [`dynamodb`] | reading and writing leases: [`crate::ports::LeaseStore`] |
//! | [`metadata`], [`worker_metrics`], [`coordinator`], [`migration`] | items of the 3.x coordination |
//! | [`platform`] | how busy the host or container is |
//! | [`kinesis`] | the stream: [`crate::ports::Stream`] |
//! | `records`, `handover`, `event_tap`, `page_scan`, `cursor` | the hot path: answers and events read while they come in |
//! | [`fanout`] | enhanced fan-out: [`crate::ports::EnhancedFanOut`] |
//! | [`probe`] | looking without touching, for `check --online` |
//! | [`service_clock`] | how far the service's clock is ahead of this host's |
//!
//! Nobody in here decides anything about leases or shards: answers are turned into plain data and
//! failures are sorted by what a caller can do about them.

pub mod clients;
pub mod coordinator;
pub mod credentials;
mod cursor;
pub mod dynamodb;
pub mod errors;
mod event_tap;
pub mod expression;
pub mod fanout;
mod handover;
pub mod http;
pub mod index;
pub mod item;
pub mod kinesis;
pub mod metadata;
pub mod migration;
pub mod page_scan;
pub mod platform;
pub mod probe;
mod records;
pub mod service_clock;
pub mod table;
pub mod worker_metrics;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod wire_samples;

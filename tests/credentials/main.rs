//! Credentials providers with the real binary, against an STS, an IMDS and a container endpoint on
//! loopback. Which keys a provider gave is read off the signatures that reach the services. Also the
//! lines of the log that tell what was configured.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read clocks"
)]

#[path = "../support/mod.rs"]
mod support;

mod failures;
mod metadata;
mod plain;
mod refreshing;
mod roles;
mod stage;
mod start_lines;

//! The real binary beside Java's MultiLangDaemon, on one lease table.
//!
//! | file | what it shows |
//! |---|---|
//! | `older.rs` | KCL 2.7.2: a fleet moves over host by host and back, kills on either side |
//! | `current.rs` | KCL 3.5.1: the same with a leader and hand-offs, kills of leaders, reshards; from 2.7.2 over ours to 3.5 |
//! | `one_table.rs` | KCL 3.1.3 with its three tables: a fleet moves over and back, and into one table beside 3.5.1 |
//! | `fan_out.rs` | enhanced fan-out: the same consumer, leases move both ways |
//! | `rows.rs` | the rows that both write, attribute by attribute |
//! | `scene.rs` | emulators, and workers of both kinds |
//! | `jars.rs`, `fetch.py`, `jars.txt` | where Java's daemon comes from: Maven Central, without Maven |
//! | `launcher/` | Java's daemon with keys of the 3.5 core that the daemon of 3.1.3 does not know, by javac |
//!
//! `tests/java/run-all` runs all of them; CI runs those that are not ignored. Without a JVM, or when
//! Maven Central cannot be reached, a line beginning `SKIPPED:` says so.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes, sleep and read the environment"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../emulators/peers.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod peers;
#[path = "../emulators/tools.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod tools;

mod current;
mod fan_out;
mod jars;
mod older;
mod one_table;
mod peer;
mod rows;
mod scene;

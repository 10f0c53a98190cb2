//! What the integration tests share: a sandbox, the embedded services, the AWS SDKs from the
//! outside, daemons under test, and a processor that writes down everything it is told.
//!
//! Every test target mounts this folder with `#[path = "../support/mod.rs"] mod support;`.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test target uses a part of it; tests start processes and read clocks"
)]

pub mod aws;
pub mod daemon;
pub mod fake_http;
pub mod ledger;
pub mod load;
pub mod processes;
pub mod properties;
pub mod proxy;
pub mod recorder;
pub mod sandbox;
pub mod services;
pub mod table_watch;
pub mod waiting;

#[allow(unused_imports, reason = "each test target uses a part of it")]
pub use self::{
    aws::{Aws, LeaseRow, Put},
    daemon::{Daemon, Exit},
    fake_http::{Answer, FakeHttp, Request},
    ledger::{Event, Ledger},
    load::Load,
    properties::{Endpoints, Properties},
    proxy::Proxy,
    recorder::Recorder,
    sandbox::{Host, Sandbox},
    services::Services,
    table_watch::TableWatch,
    waiting::{eventually, now_micros, skipped, until},
};

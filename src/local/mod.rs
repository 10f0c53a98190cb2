//! An embedded Kinesis and DynamoDB, for `--local` and `kcl-daemon local serve`.
//!
//! The daemon's real SDK clients reach it through their HTTP client ([`http_client`]), without a
//! socket; other processes reach the same through a loopback port ([`server`]). Kinesis is our own
//! model ([`kinesis`]), because no published crate is faithful where KCL is strict (`emulators.md`);
//! DynamoDB is the crate `dynoxide-rs`.

mod backend;
mod dynamodb;
mod event_stream;
mod feed;
mod http_client;
pub mod kinesis;
mod server;
mod shared;
mod stream;

pub use backend::{Answer, LocalAws};
pub use dynamodb::OpenError;
pub use feed::{Feed, FeedError, create_stream, feed};
pub use http_client::http_client;
pub use server::{ServeError, Server, serve};
pub use shared::{SharedKinesis, SharedSubscription};
pub use stream::LocalStream;

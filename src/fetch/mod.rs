//! From the stream to encoded batches.
//!
//! One fetcher runs per shard consumer; it reads ahead within bounds, splits aggregated records,
//! drops what is checkpointed already and encodes each page as the line that the child will get.

mod budget;
mod buffers;
mod encode;
mod fanout;
mod fetcher;
mod pace;
mod polling;
mod position;
mod reader;
mod registration;

pub use budget::{Budget, Prefetch};
pub use encode::{Batch, EncodeSettings, Encoded, Line, PageEncoder};
pub use fetcher::{FetchSettings, Fetched, Fetcher, FetcherPorts, Retrieval};
pub use pace::PaceSettings;
pub use position::Anchor;
pub use registration::{ConsumerChoice, Registration, RegistrationSettings};

//! From the stream to encoded batches.
//!
//! One fetcher runs per shard consumer; it reads ahead within bounds, splits aggregated records,
//! drops what is checkpointed already and encodes each page as the line that the child will get.

mod budget;
mod buffers;
mod encode;
mod pace;
mod polling;
mod position;

pub use budget::{Budget, Prefetch};
pub use encode::{Batch, EncodeSettings, Encoded, PageEncoder, PageFacts};
pub use pace::PaceSettings;
pub use polling::{FetchSettings, Fetched, Fetcher, FetcherPorts};
pub use position::Anchor;

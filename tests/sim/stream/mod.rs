//! The stream: the in-memory Kinesis of `--local`, and how it answers.
//!
//! | file | part |
//! |---|---|
//! | `source.rs` | the stream itself: records put, shards split and merged |
//! | `port.rs` | `Stream` on top of that, and what goes wrong on the way |

mod port;
mod source;

pub use port::SimStream;
pub use source::Source;

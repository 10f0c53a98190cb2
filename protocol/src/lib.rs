//! The contract between a MultiLang daemon and the record processors it starts.
//!
//! Nothing in here starts a process, waits, tells the time or knows AWS: bytes go in, bytes and
//! verdicts come out. `PROTOCOL.md` beside this crate describes the same contract for people who
//! write processors in any language, and `transcripts/*.jsonl` shows it in conversations.
//!
//! | module | what it holds | who needs it |
//! |---|---|---|
//! | [`message`] | the words: dialects, actions, checkpoint requests and replies | both sides |
//! | [`payload`] | a payload as Kinesis delivers it, checked once | daemon |
//! | [`batch`] | `processRecords` encoded once, into one buffer | daemon |
//! | [`codec`] | every other message as one line of JSON | both sides |
//! | [`lines`] | bytes of a pipe → lines, in bounded memory | daemon |
//! | [`from_child`] | a line of the child → what it means, as tolerant as Java and a little more | daemon |
//! | [`session`] | what may be said next, and what the last line or the end of output means | daemon |
//! | [`to_child`] | a line of the daemon → what it means | processors, tests |
//! | [`processor`] | a trait and a loop, so that a processor is a page of code | processors |
//!
//! A daemon's use, in one breath: [`Session::send`] an [`Action`], write the bytes, feed what the
//! child prints through a [`LineSplitter`] into [`Session::hear_line`], answer each checkpoint
//! with [`Session::reply`], and ask [`Session::eof`] what the end of the output means.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod batch;
pub mod codec;
pub mod from_child;
mod json;
pub mod lines;
pub mod message;
pub mod payload;
pub mod processor;
pub mod session;
pub mod to_child;

pub use batch::{BatchEncoder, Data, EncodedBatch, RecordRef};
pub use from_child::FromChild;
pub use lines::{DEFAULT_LINE_CAP, Line, LineSplitter};
pub use message::{
    Action, ActionKind, CheckpointPermission, CheckpointReply, CheckpointRequest, Dialect,
    DialectSetting, Knowledge, UnknownDialect, checkpoint_allowed, error_name,
};
pub use payload::Base64;
pub use processor::{Checkpointer, RecordProcessor, run};
pub use session::{Bad, Eof, Heard, Misuse, Phase, Session};
pub use to_child::{Record, ToChild};

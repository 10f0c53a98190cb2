//! What goes wrong at present: chances in a thousand, and lengths. Calm weather is all zero.

use std::collections::BTreeSet;

use crate::trace::ProcessNumber;
use crate::world::{MS, Time};

/// Chances of the lease table's requests.
#[derive(Debug, Clone, Default)]
pub struct TableWeather {
    /// The longest time that a request, or its answer, is on its way.
    pub latency: Time,
    /// Answered as throttled.
    pub throttled: u32,
    /// Fails without having been carried out.
    pub unavailable: u32,
    /// Never arrives; the caller learns nothing.
    pub request_lost: u32,
    /// Is carried out; the caller learns nothing.
    pub answer_lost: u32,
    /// Arrives long after the caller gave up.
    pub late: u32,
    /// How old an eventually consistent read may be.
    pub staleness: Time,
    /// No request arrives at all.
    pub down: bool,
    /// Processes whose requests do not arrive.
    pub cut_off: BTreeSet<ProcessNumber>,
}

/// Chances of the stream's requests.
#[derive(Debug, Clone, Default)]
pub struct StreamWeather {
    /// The longest time that a request, or its answer, is on its way.
    pub latency: Time,
    /// Answered as throttled.
    pub throttled: u32,
    /// Fails.
    pub failing: u32,
    /// Never answered in time.
    pub hanging: u32,
    /// The iterator is said to be too old.
    pub expired: u32,
    /// A list of shards is that of before the last reshard.
    pub stale_list: u32,
    /// A list of shards lacks its last ones, or all.
    pub short_list: u32,
    /// A list of shards shows a closed parent as open.
    pub open_parent: u32,
    /// The end of a shard names no children.
    pub no_children: u32,
    /// A page is empty although there are records.
    pub empty_page: u32,
    /// No request is answered at all.
    pub down: bool,
}

/// Chances of children, for each task they are given.
#[derive(Debug, Clone, Default)]
pub struct ChildWeather {
    /// Takes as long as `slow_for`.
    pub slow: u32,
    /// How long slow ones take at most.
    pub slow_for: Time,
    /// Ends before it answers.
    pub crash: u32,
    /// Never answers.
    pub hang: u32,
    /// Cannot be started.
    pub no_start: u32,
    /// Asks for a checkpoint before the last one, or behind what it was given.
    pub odd_checkpoint: u32,
    /// Answers `shardEnded` without a checkpoint.
    pub lazy_at_end: u32,
    /// Asks for a checkpoint although the lease is lost.
    pub asks_when_lost: u32,
    /// Shards whose children always crash.
    pub poisoned: BTreeSet<String>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// The lease table.
    pub table: TableWeather,
    /// The stream.
    pub stream: StreamWeather,
    /// Children.
    pub children: ChildWeather,
}

impl Weather {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            table: TableWeather {
                latency: 8 * MS,
                ..TableWeather::default()
            },
            stream: StreamWeather {
                latency: 15 * MS,
                ..StreamWeather::default()
            },
            children: ChildWeather::default(),
        }
    }
}

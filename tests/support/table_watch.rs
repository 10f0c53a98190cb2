//! A lease table, looked at again and again: no checkpoint may ever go back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::aws::Aws;
use super::ledger::Position;
use super::properties::Endpoints;
use super::waiting::now_micros;

const EVERY: Duration = Duration::from_millis(100);

/// What a row looked like at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Microseconds since the epoch.
    pub t: i64,
    /// `leaseOwner`.
    pub owner: Option<String>,
    /// The checkpoint.
    pub checkpoint: Position,
    /// `leaseCounter`.
    pub counter: u64,
}

/// What was seen of each lease, one entry per change of owner or checkpoint.
pub type History = BTreeMap<String, Vec<Seen>>;

/// A running watch.
pub struct TableWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<History>>,
}

impl TableWatch {
    /// Looks at the table ten times a second; it need not be there yet.
    pub fn start(endpoints: &Endpoints, table: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, endpoints, table) = (Arc::clone(&stop), endpoints.clone(), table.to_owned());
        let thread = std::thread::spawn(move || {
            let aws = Aws::at(&endpoints);
            let mut history = History::new();
            while !stopped.load(Ordering::Relaxed) {
                for row in aws.scan_leases(&table) {
                    let seen = Seen {
                        t: now_micros(),
                        owner: row.owner,
                        checkpoint: Position::new(&row.checkpoint, row.sub),
                        counter: row.counter,
                    };
                    let entries = history.entry(row.key).or_default();
                    let new = entries.last().is_none_or(|last| {
                        last.owner != seen.owner || last.checkpoint != seen.checkpoint
                    });
                    if new {
                        entries.push(seen);
                    }
                }
                std::thread::sleep(EVERY);
            }
            history
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops, and sees that neither a checkpoint nor a counter went back.
    #[track_caller]
    pub fn finish(mut self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        let history = self
            .thread
            .take()
            .expect("it runs")
            .join()
            .expect("the watch works");
        for (key, entries) in &history {
            for pair in entries.windows(2) {
                assert!(
                    pair[1].checkpoint >= pair[0].checkpoint,
                    "the checkpoint of {key} went back: {pair:#?}"
                );
                assert!(
                    pair[1].counter >= pair[0].counter,
                    "the counter of {key} went back: {pair:#?}"
                );
            }
        }
        history
    }
}

impl Drop for TableWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

//! What will happen, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::World;
use super::clock::Sleeper;
use super::process::Process;
use super::random::Rng;

pub use super::words::Time;

type Action = Box<dyn FnOnce(&Arc<World>) + Send>;

/// Something that is about to happen.
pub enum Due {
    /// A sleeper's time has come.
    Wake(Arc<Sleeper>),
    /// Anything else.
    Run(Action),
}

impl Due {
    /// Lets it happen; whether a task may have been woken.
    pub fn happen(self, world: &Arc<World>) -> bool {
        match self {
            Self::Wake(sleeper) => sleeper.wake(),
            Self::Run(action) => {
                action(world);
                true
            }
        }
    }
}

struct Entry {
    at: Time,
    /// Drawn, so that events of one moment have no fixed order.
    tie: u32,
    number: u64,
    process: Option<Arc<Process>>,
    due: Due,
}

impl Entry {
    fn key(&self) -> (Time, u32, u64) {
        (self.at, self.tie, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap gives the greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// The queue of all events.
pub struct Queue {
    now: Time,
    heap: BinaryHeap<Entry>,
    pushed: u64,
    ties: Rng,
}

impl Queue {
    pub fn new(ties: Rng) -> Self {
        Self {
            now: 0,
            heap: BinaryHeap::new(),
            pushed: 0,
            ties,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    pub fn push(&mut self, delay: Time, process: Option<Arc<Process>>, due: Due) {
        self.pushed += 1;
        let entry = Entry {
            at: self.now.saturating_add(delay),
            tie: self.ties.next() as u32,
            number: self.pushed,
            process,
            due,
        };
        self.heap.push(entry);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.heap.clear();
    }

    /// The next event before `end`, whose moment becomes the present.
    pub fn pop(&mut self, end: Time) -> Option<(Option<Arc<Process>>, Due)> {
        if self.heap.peek().is_none_or(|entry| entry.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let entry = self.heap.pop()?;
        self.now = self.now.max(entry.at);
        Some((entry.process, entry.due))
    }
}

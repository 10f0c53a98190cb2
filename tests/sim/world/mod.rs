//! Virtual time and the processes that live in it.
//!
//! One seed is one world, one thread and one tokio runtime. Nothing in it knows real time: whatever
//! takes time is an event in the world's queue, and the next event happens only when no task has
//! anything left to do. Events of the same moment happen in an order drawn from the seed.

mod clock;
mod process;
mod queue;
mod random;
mod words;

pub use clock::SimClock;
pub use process::{Fate, Process};
pub use random::Rng;
pub use words::{EPOCH_MS, Kind, MS, S, Stillness, Time};

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::Table;
use crate::stream::Source;
use crate::trace::{Event, Mishap, ProcessInfo, Trace, What};
use crate::weather::Weather;
use queue::{Due, Queue};

/// Everything there is.
pub struct World {
    queue: Mutex<Queue>,
    trace: Mutex<Trace>,
    rng: Mutex<Rng>,
    weather: Mutex<Weather>,
    table: Mutex<Table>,
    source: Mutex<Source>,
    children: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("a seed runs on one thread, which panics only once")
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, weather: Weather, table: Table, source: Source) -> Arc<Self> {
        let mut rng = Rng::new(seed);
        Arc::new(Self {
            queue: Mutex::new(Queue::new(rng.fork())),
            trace: Mutex::default(),
            rng: Mutex::new(rng),
            weather: Mutex::new(weather),
            table: Mutex::new(table),
            source: Mutex::new(source),
            children: AtomicU32::new(0),
        })
    }

    /// The present.
    pub fn now(&self) -> Time {
        lock(&self.queue).now()
    }

    /// What a perfect wall clock shows, milliseconds since the epoch.
    pub fn wall_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now() / MS).unwrap_or(i64::MAX)
    }

    /// The dice.
    pub fn rng(&self) -> MutexGuard<'_, Rng> {
        lock(&self.rng)
    }

    /// What goes wrong at present.
    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        lock(&self.weather)
    }

    /// The lease table.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// The stream.
    pub fn source(&self) -> MutexGuard<'_, Source> {
        lock(&self.source)
    }

    /// A new process.
    pub fn spawn_process(
        &self,
        name: &str,
        kind: Kind,
        fate: Fate,
        wall_skew_ms: i64,
    ) -> Arc<Process> {
        let mut trace = lock(&self.trace);
        let number = u32::try_from(trace.processes.len()).unwrap_or(u32::MAX);
        // Clocks of processes have different origins, as those of hosts have.
        let origin = self.rng().below(1_000_000) * S;
        trace.processes.push(ProcessInfo {
            name: name.to_owned(),
            kind,
        });
        drop(trace);
        Arc::new(Process::new(number, name, kind, fate, wall_skew_ms, origin))
    }

    /// Notes what the world itself does.
    pub fn note(&self, what: What) {
        let at = self.now();
        lock(&self.trace).events.push(Event {
            at,
            local: at,
            by: None,
            what,
        });
    }

    /// Notes what a process does; the dead and the frozen do nothing.
    pub fn note_by(&self, process: &Process, what: What) {
        if process.is_dead() {
            return;
        }
        let at = self.now();
        lock(&self.trace).events.push(Event {
            at,
            local: process.local(at),
            by: Some(process.number),
            what,
        });
    }

    /// Notes what comes of something a process did, which may be dead by now.
    pub fn note_of(&self, process: &Process, what: What) {
        let at = self.now();
        lock(&self.trace).events.push(Event {
            at,
            local: process.local(at),
            by: Some(process.number),
            what,
        });
    }

    /// The number of the next child.
    pub fn next_child(&self) -> u32 {
        self.children.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a process may act towards the world now; it may be its last action, or one too many.
    pub fn act(self: &Arc<Self>, process: &Arc<Process>) -> bool {
        self.act_and(process, |_| {})
    }

    /// As [`World::act`], with the action.
    pub fn act_and(
        self: &Arc<Self>,
        process: &Arc<Process>,
        action: impl FnOnce(&Arc<Self>),
    ) -> bool {
        let (acts, dies) = process.act();
        if acts {
            action(self);
        }
        if dies {
            self.die_of_fate(process);
        }
        acts && !dies
    }

    /// The end that was fated: just before an action or just after it.
    pub fn die_of_fate(self: &Arc<Self>, process: &Arc<Process>) {
        self.note_by(
            process,
            What::Mishap(match process.dies_after_acting() {
                true => Mishap::KilledAfterActing,
                false => Mishap::KilledBeforeActing,
            }),
        );
        self.kill(process);
    }

    /// Kills a process: none of its tasks ever runs again.
    pub fn kill(self: &Arc<Self>, process: &Arc<Process>) {
        if process.die() {
            self.note(What::Killed {
                process: process.number,
            });
            if let Some(after_death) = process.take_after_death() {
                after_death(self);
            }
        }
    }

    /// The end of the world: whatever was still to happen does not.
    pub fn dissolve(&self) {
        lock(&self.queue).clear();
    }

    /// What happened so far.
    pub fn take_trace(&self) -> Trace {
        std::mem::take(&mut *lock(&self.trace))
    }

    /// Looks at what happened so far.
    pub fn with_trace<T>(&self, look: impl FnOnce(&Trace) -> T) -> T {
        look(&lock(&self.trace))
    }

    /// Lets `action` happen after a while, whatever becomes of any process.
    pub fn after(self: &Arc<Self>, delay: Time, action: impl FnOnce(&Arc<World>) + Send + 'static) {
        lock(&self.queue).push(delay, None, Due::Run(Box::new(action)));
    }

    /// Lets `action` happen to a process after a while: later when it is frozen then, never when it
    /// is dead.
    pub fn after_for(
        &self,
        process: &Arc<Process>,
        delay: Time,
        action: impl FnOnce(&Arc<World>) + Send + 'static,
    ) {
        let due = Due::Run(Box::new(action));
        lock(&self.queue).push(delay, Some(Arc::clone(process)), due);
    }

    pub(super) fn wake_after(
        &self,
        process: &Arc<Process>,
        delay: Time,
        sleeper: Arc<clock::Sleeper>,
    ) {
        lock(&self.queue).push(delay, Some(Arc::clone(process)), Due::Wake(sleeper));
    }

    /// Stops all tasks of a process for a while.
    pub fn freeze(self: &Arc<Self>, process: &Arc<Process>, stillness: Stillness, length: Time) {
        if !process.freeze(stillness, self.now()) {
            return;
        }
        self.note(What::Mishap(match stillness {
            Stillness::Stopped => Mishap::Stopped,
            Stillness::Suspended => Mishap::Suspended,
        }));
        self.note(What::Frozen {
            process: process.number,
            stillness,
            length,
        });
        let sleeper = Arc::clone(process);
        self.after(length, move |world| world.thaw(&sleeper));
    }

    fn thaw(&self, process: &Arc<Process>) {
        let Some(backlog) = process.thaw(self.now()) else {
            return;
        };
        self.note(What::Thawed {
            process: process.number,
        });
        let mut queue = lock(&self.queue);
        for due in backlog {
            queue.push(0, Some(Arc::clone(process)), due);
        }
    }

    /// Lets the world go on until `end`, or until `done` says so, which is asked every second.
    pub async fn run_until(self: &Arc<Self>, end: Time, mut done: impl FnMut(&Arc<World>) -> bool) {
        let mut next_question = self.now();
        loop {
            everybody_rests().await;
            loop {
                let now = self.now();
                if now >= next_question {
                    next_question = now + S;
                    if done(self) {
                        return;
                    }
                }
                let Some((process, due)) = lock(&self.queue).pop(end) else {
                    return;
                };
                let woke = match (process, due) {
                    (Some(process), due) => match process.admit(due) {
                        Some(due) => due.happen(self),
                        None => false,
                    },
                    (None, due) => due.happen(self),
                };
                if woke {
                    break;
                }
            }
        }
    }
}

/// Completes when no task of the runtime can run: tokio's paused clock moves only then, and nobody
/// else uses it.
async fn everybody_rests() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

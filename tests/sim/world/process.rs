//! A process: what can be killed, frozen and given a wrong clock.

use std::sync::{Arc, Mutex};

use super::queue::Due;
use super::words::{Kind, Stillness, Time};
use super::{World, lock};

/// When a process dies by itself: after so many actions towards the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The action at which it dies; `None` for never.
    pub dies_at: Option<u64>,
    /// Whether that action still takes place.
    pub after_acting: bool,
}

impl Fate {
    /// It does not die by itself.
    pub const NONE: Self = Self {
        dies_at: None,
        after_acting: false,
    };
}

enum Life {
    Running,
    Frozen { since: Time, stillness: Stillness },
    Dead,
}

struct State {
    life: Life,
    /// What would have happened to it while it was frozen.
    backlog: Vec<Due>,
    /// How long its clock stood still.
    suspended: Time,
    actions: u64,
    /// How wrong its wall clock is.
    wall_skew_ms: i64,
}

/// One process, from its start to its end; a restarted worker is another one.
pub struct Process {
    pub number: u32,
    /// Its worker id.
    pub name: String,
    pub kind: Kind,
    fate: Fate,
    /// What its monotonic clock showed when the world began.
    origin: Time,
    state: Mutex<State>,
    /// What its death brings about: its tasks are dropped, somebody may start it again.
    after_death: Mutex<Option<AfterDeath>>,
}

type AfterDeath = Box<dyn FnOnce(&Arc<World>) + Send>;

impl Process {
    pub fn new(
        number: u32,
        name: &str,
        kind: Kind,
        fate: Fate,
        wall_skew_ms: i64,
        origin: Time,
    ) -> Self {
        Self {
            number,
            name: name.to_owned(),
            kind,
            fate,
            origin,
            after_death: Mutex::default(),
            state: Mutex::new(State {
                life: Life::Running,
                backlog: Vec::new(),
                suspended: 0,
                actions: 0,
                wall_skew_ms,
            }),
        }
    }

    pub fn is_dead(&self) -> bool {
        matches!(lock(&self.state).life, Life::Dead)
    }

    pub fn wall_skew_ms(&self) -> i64 {
        lock(&self.state).wall_skew_ms
    }

    /// Sets its wall clock.
    pub fn skew(&self, wall_skew_ms: i64) {
        lock(&self.state).wall_skew_ms = wall_skew_ms;
    }

    /// Whether the action that it dies at still takes place.
    pub fn dies_after_acting(&self) -> bool {
        self.fate.after_acting
    }

    /// What is to happen at its death.
    pub fn on_death(&self, then: impl FnOnce(&Arc<World>) + Send + 'static) {
        *lock(&self.after_death) = Some(Box::new(then));
    }

    pub(super) fn take_after_death(&self) -> Option<AfterDeath> {
        lock(&self.after_death).take()
    }

    /// Ends its life; whether it lived.
    pub fn die(&self) -> bool {
        let mut state = lock(&self.state);
        state.backlog.clear();
        !matches!(std::mem::replace(&mut state.life, Life::Dead), Life::Dead)
    }

    /// What its monotonic clock shows, microseconds.
    pub fn local(&self, now: Time) -> Time {
        let state = lock(&self.state);
        let still = match state.life {
            Life::Frozen {
                since,
                stillness: Stillness::Suspended,
            } => now - since,
            _ => 0,
        };
        (now + self.origin).saturating_sub(state.suspended + still)
    }

    /// Counts one action towards the world; whether it may take place. The second value says that
    /// the process dies now.
    pub fn act(&self) -> (bool, bool) {
        let mut state = lock(&self.state);
        if matches!(state.life, Life::Dead) {
            return (false, false);
        }
        state.actions += 1;
        match self.fate.dies_at {
            Some(at) if state.actions == at => (self.fate.after_acting, true),
            _ => (true, false),
        }
    }

    pub(super) fn freeze(&self, stillness: Stillness, now: Time) -> bool {
        let mut state = lock(&self.state);
        let runs = matches!(state.life, Life::Running);
        if runs {
            state.life = Life::Frozen {
                since: now,
                stillness,
            };
        }
        runs
    }

    /// Lets it go on; gives what it missed. `None` when it is not frozen.
    pub(super) fn thaw(&self, now: Time) -> Option<Vec<Due>> {
        let mut state = lock(&self.state);
        let Life::Frozen { since, stillness } = state.life else {
            return None;
        };
        if stillness == Stillness::Suspended {
            state.suspended += now - since;
        }
        state.life = Life::Running;
        Some(std::mem::take(&mut state.backlog))
    }

    /// What is due for it now: put off while it is frozen, dropped when it is dead.
    pub(super) fn admit(&self, due: Due) -> Option<Due> {
        let mut state = lock(&self.state);
        match state.life {
            Life::Running => Some(due),
            Life::Frozen { .. } => {
                state.backlog.push(due);
                None
            }
            Life::Dead => None,
        }
    }
}

//! How a fleet gets from one way of working together to the next (`leases.md` D).
//!
//! | file | question |
//! |---|---|
//! | [`client_version`] | 2.x algorithm or leader? The state machine that Java drives by `Migration3.0` |
//! | [`single_table`] | three tables or one? The state machine that Java drives by `TableMigration3.5` |
//! | [`fleet`] | who is there, and what may a worker that starts do without breaking them? |
//! | [`pure_fleet`] | when may a fleet that is all ours move on by itself? |

pub mod client_version;
pub mod fleet;
pub mod pure_fleet;

pub mod single_table;

use std::collections::VecDeque;

use crate::core::time::WallTime;

/// How many former states an item remembers.
pub const HISTORY: usize = 10;

/// A state that some worker or tool once set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<S> {
    /// The state: `cv` or `tm`.
    pub state: S,
    /// `mb`: worker id or name of the tool.
    pub modified_by: String,
    /// `mts`, milliseconds in the table.
    pub modified_at: WallTime,
}

/// One of the two items in which Java keeps the state of a migration (`leases.md` A.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationItem<S> {
    /// The state now.
    pub now: Entry<S>,
    /// `h`: former states, newest first, at most [`HISTORY`].
    pub history: VecDeque<Entry<S>>,
}

impl<S: Clone> MigrationItem<S> {
    /// A new item. Java's has the state before the first one in its history; so has ours.
    #[must_use]
    pub fn created(before: S, state: S, by: &str, at: WallTime) -> Self {
        let first = Self {
            now: Entry {
                state: before,
                modified_by: by.to_owned(),
                modified_at: at,
            },
            history: VecDeque::new(),
        };
        first.moved_to(state, by, at)
    }

    /// The item after a change of state.
    #[must_use]
    pub fn moved_to(&self, state: S, by: &str, at: WallTime) -> Self {
        let mut history = self.history.clone();
        history.push_front(self.now.clone());
        history.truncate(HISTORY);
        Self {
            now: Entry {
                state,
                modified_by: by.to_owned(),
                modified_at: at,
            },
            history,
        }
    }
}

/// What the write of such an item relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemCondition<S> {
    /// There is none.
    Absent,
    /// It says this.
    State(S),
}

/// A write of such an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemWrite<S> {
    /// What must hold.
    pub condition: ItemCondition<S>,
    /// What it says then.
    pub item: MigrationItem<S>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_states_are_remembered() {
        let mut item = MigrationItem::created(0, 1, "w", WallTime::from_millis(5));
        assert_eq!(item.history.len(), 1);
        assert_eq!(item.history[0].state, 0);
        for state in 2..20 {
            item = item.moved_to(state, "tool", WallTime::from_millis(state));
        }
        assert_eq!(item.now.state, 19);
        assert_eq!(item.now.modified_by, "tool");
        let states: Vec<i64> = item.history.iter().map(|entry| entry.state).collect();
        assert_eq!(states, [18, 17, 16, 15, 14, 13, 12, 11, 10, 9]);
    }
}

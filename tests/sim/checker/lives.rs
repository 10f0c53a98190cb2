//! Children as one goes through a trace, and the checkpoints that they asked for.

use std::collections::BTreeMap;

use kcl_daemon::core::ids::{LeaseKey, ShardId};
use kcl_daemon::core::lease::Change;
use kcl_daemon::core::sequence::ExtendedSequenceNumber;

use super::history::History;
use crate::trace::{ChildNumber, ProcessNumber, Told, What};

pub type Place = ExtendedSequenceNumber;

/// What is known of a child while one goes through a trace.
#[derive(Clone)]
pub struct Life {
    pub process: ProcessNumber,
    pub shard: ShardId,
    pub start: Place,
    /// The last record it was given.
    pub last: Option<Place>,
    /// The records of the batch it works on.
    pub batch: Vec<Place>,
    /// What it asked for and has no reply to.
    pub asking: Option<Option<Place>>,
    /// What it asked for last.
    pub asked: Option<Option<Place>>,
    /// The furthest it asked for since it was given the batch.
    pub asked_in_batch: Option<Place>,
    /// The last place of which it was told that it is stored.
    pub stored: Place,
    pub told_shard_ended: bool,
    pub told_lease_lost: bool,
}

impl Life {
    /// The largest place it may name.
    pub fn largest(&self) -> &Place {
        self.last.as_ref().unwrap_or(&self.start).max(&self.start)
    }
}

/// Lives of children, and the newest child of each lease and process that asked for something.
#[derive(Default)]
pub struct Lives {
    pub lives: BTreeMap<ChildNumber, Life>,
    asker: BTreeMap<(ProcessNumber, LeaseKey), ChildNumber>,
}

impl Lives {
    pub fn on(&mut self, history: &History<'_>, what: &What) {
        match what {
            What::Told { child, told } => match told {
                Told::Initialize(start) => {
                    let Some(known) = history.children.get(child) else {
                        return;
                    };
                    let life = Life {
                        process: known.process,
                        shard: known.shard.clone(),
                        start: start.clone(),
                        last: None,
                        batch: Vec::new(),
                        asking: None,
                        asked: None,
                        asked_in_batch: None,
                        stored: start.clone(),
                        told_shard_ended: false,
                        told_lease_lost: false,
                    };
                    self.lives.insert(*child, life);
                }
                Told::Records(records) => {
                    if let Some(life) = self.lives.get_mut(child) {
                        life.last = records.last().cloned().or_else(|| life.last.clone());
                        life.batch.clone_from(records);
                        life.asked_in_batch = None;
                    }
                }
                Told::ShardEnded => {
                    if let Some(life) = self.lives.get_mut(child) {
                        life.told_shard_ended = true;
                    }
                }
                Told::LeaseLost => {
                    if let Some(life) = self.lives.get_mut(child) {
                        life.told_lease_lost = true;
                    }
                }
                Told::ShutdownRequested => {}
            },
            What::Did { child } => {
                if let Some(life) = self.lives.get_mut(child) {
                    life.batch.clear();
                }
            }
            What::Asked { child, place } => {
                if let Some(life) = self.lives.get_mut(child) {
                    life.asking = Some(place.clone());
                    life.asked = Some(place.clone());
                    let place = place.clone().unwrap_or_else(|| life.largest().clone());
                    life.asked_in_batch = life.asked_in_batch.take().max(Some(place));
                    let key = LeaseKey::of_shard(&life.shard);
                    self.asker.insert((life.process, key), *child);
                }
            }
            What::Replied { child, error } => {
                if let Some(life) = self.lives.get_mut(child) {
                    let asked = life.asking.take();
                    if error.is_none() {
                        let place = asked.flatten().unwrap_or_else(|| life.largest().clone());
                        life.stored = place.max(life.stored.clone());
                    }
                }
            }
            _ => {}
        }
    }

    pub fn asker(&self, process: ProcessNumber, key: &LeaseKey) -> Option<&Life> {
        let child = self.asker.get(&(process, key.clone()))?;
        self.lives.get(child)
    }
}

/// Goes through the checkpoints that our processes stored, with the child that asked for each.
pub fn stored<'a>(
    history: &'a History<'a>,
    mut look: impl FnMut(usize, &LeaseKey, &Place, Option<&Life>),
) {
    let mut lives = Lives::default();
    for (index, event) in history.trace.events.iter().enumerate() {
        lives.on(history, &event.what);
        if let Some(write) = history.write(index)
            && let Some(process) = write.process().filter(|p| history.is_ours(*p))
            && let Some(Change::Checkpoint(to)) = write.change()
        {
            look(index, write.key, to, lives.asker(process, write.key));
        }
    }
}

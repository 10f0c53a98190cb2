//! What the seeds of a run had in them, so that the swarm cannot silently lose a fault.

use std::collections::{BTreeMap, BTreeSet};

use kcl_daemon::core::lease::{Change, Condition};

use crate::scenario::RETENTION_MS;
use crate::trace::{CallNumber, Mishap, Op, Row, Trace, What};
use crate::world::{EPOCH_MS, MS};

/// In how many seeds each thing happened.
#[derive(Debug, Default)]
pub struct Coverage {
    mishaps: BTreeMap<Mishap, u64>,
    fleets: BTreeMap<usize, u64>,
}

impl Coverage {
    /// Takes in a seed.
    pub fn add(&mut self, trace: &Trace) {
        let mut had: BTreeSet<Mishap> = BTreeSet::new();
        let end_ms = trace.events.last().map_or(0, |event| event.at / MS);
        let horizon_ms = EPOCH_MS + i64::try_from(end_ms).unwrap_or(0) - RETENTION_MS;
        let mut leader: Option<&str> = None;
        let mut moves: BTreeMap<CallNumber, &str> = BTreeMap::new();
        for event in &trace.events {
            match &event.what {
                What::Sent {
                    call,
                    op: Op::Update(update),
                } => {
                    if let (Condition::Owners { .. }, Change::BeginHandOff { .. }, Some(by)) =
                        (&update.condition, &update.change, event.by)
                    {
                        moves.insert(*call, &trace.processes[by as usize].name);
                    }
                }
                What::Applied { call, after, .. } => {
                    if let Some(lock) = after.as_deref().and_then(Row::as_leader) {
                        leader = Some(lock.owner.as_str());
                    }
                    if moves.get(call).is_some_and(|by| Some(*by) != leader) {
                        had.insert(Mishap::TwoLeaders);
                    }
                }
                What::Mishap(mishap) => {
                    had.insert(*mishap);
                }
                What::Put { at_ms, .. } if *at_ms < horizon_ms => {
                    had.insert(Mishap::Trimmed);
                }
                _ => {}
            }
        }
        for mishap in had {
            *self.mishaps.entry(mishap).or_default() += 1;
        }
        let names: BTreeSet<&str> = trace.processes.iter().map(|p| p.name.as_str()).collect();
        *self.fleets.entry(names.len()).or_default() += 1;
    }

    /// In how many seeds something happened.
    pub fn seeds_with(&self, mishap: Mishap) -> u64 {
        self.mishaps.get(&mishap).copied().unwrap_or(0)
    }

    /// What happened in fewer than `least` seeds although it should.
    pub fn missing(&self, least: u64) -> Vec<String> {
        let seen = |mishap: &&Mishap| self.seeds_with(**mishap);
        let mishaps = Mishap::ALL.iter().filter(|mishap| seen(mishap) < least);
        let fleet = |size: &usize| self.fleets.get(size).copied().unwrap_or(0);
        let fleets = (1..=8).filter(|size| fleet(size) < least);
        mishaps
            .map(|mishap| mishap.text().to_owned())
            .chain(fleets.map(|size| format!("a fleet of {size}")))
            .collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for mishap in Mishap::ALL {
            let seeds = self.seeds_with(*mishap);
            writeln!(f, "{seeds:8} {}", mishap.text())?;
        }
        for (size, seeds) in &self.fleets {
            writeln!(f, "{seeds:8} a fleet of {size}")?;
        }
        Ok(())
    }
}

//! Who works in the table, and what a worker that starts may do without breaking them (`leases.md`
//! A.7, D.2, D.4; `decisions.md`).
//!
//! The cliff: workers of KCL 1.x, 2.x and 3.0 to 3.4 take every item of the lease table for a lease. One
//! that is none makes all their scans fail. So nothing but leases is written there until it is certain
//! that nobody like that is left, and a worker says of itself only by what it writes:
//!
//! | what is seen of a live lease owner | it is |
//! |---|---|
//! | a fresh metrics item with `sup` of 1 or more | 3.5 or later, or ours: reads anything |
//! | our mark on its rows ([`LeaseUpdate::marked`](crate::core::lease::LeaseUpdate::marked)) | ours: reads anything |
//! | a fresh metrics item without | 3.0 to 3.4: keeps to its own tables, and breaks at items in the lease table |
//! | it stores a throughput that changes, and no table of 3.0 to 3.4 exists | 3.5 in PHASE1: reads anything |
//! | none of these | may be 1.x or 2.x |
//!
//! The index over owners proves nothing: it may be left over, and we create it with the table.
//!
//! # `auto`
//!
//! | found | does |
//! |---|---|
//! | `Migration3.0` | what it says |
//! | no lease at all | the 3.x mode |
//! | signs of a leader, and no live owner that could be without one | the 3.x mode |
//! | anything else | the 2.x algorithm without any foreign item (PHASE1), until [`pure_fleet`](super::pure_fleet) |
//!
//! A worker that starts the 3.x mode in an empty table writes its metrics item *before* the first
//! lease. Whoever starts beside it then sees either an empty table or a sign of the 3.x mode, never
//! leases alone.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Counter, Lease};
use crate::core::migration::client_version::{self, ClientVersion, Configured, entry};
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::WorkerMetricStats;

/// Whether an owner of leases lives, as far as its counters tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// A counter of its moved lately.
    Alive,
    /// None has moved for longer than the failover time.
    Silent,
    /// Not looked at for long enough; known at this moment.
    UnknownUntil(Moment),
}

/// What an owner of leases can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// KCL 3.5 or later, or a kcl-daemon, that reports metrics.
    SingleTable,
    /// A kcl-daemon with the 2.x algorithm.
    Ours,
    /// KCL 3.0 to 3.4.
    SeparateTables,
    /// KCL 3.5 with the 2.x algorithm.
    Phase1,
    /// Perhaps KCL 1.x or 2.x.
    MayBeOlder,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    owner: WorkerId,
    counter: Counter,
    throughput: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sight {
    /// When it was first seen, or a counter of its last moved.
    since: Moment,
    moved: bool,
    stores_throughput: bool,
}

/// What was seen of the owners of leases over several scans.
#[derive(Debug, Clone, Default)]
pub struct FleetWatch {
    rows: HashMap<LeaseKey, Row>,
    owners: HashMap<WorkerId, Sight>,
}

impl FleetWatch {
    /// Takes in a whole scan that was answered at `at`.
    pub fn record_scan(&mut self, leases: &[Lease], at: Moment) {
        let rows = std::mem::take(&mut self.rows);
        let mut owners: HashMap<WorkerId, Sight> = HashMap::new();
        for lease in leases {
            let Some(owner) = lease.actual_owner() else {
                continue;
            };
            let sight = owners.entry(owner.clone()).or_insert_with(|| {
                let new = Sight {
                    since: at,
                    moved: false,
                    stores_throughput: false,
                };
                self.owners.get(owner).copied().unwrap_or(new)
            });
            let before = rows.get(&lease.key).filter(|row| row.owner == *owner);
            if let Some(before) = before
                && lease.counter > before.counter
            {
                sight.since = at;
                sight.moved = true;
                sight.stores_throughput |=
                    lease.throughput_kbps.is_some() && lease.throughput_kbps != before.throughput;
            }
            let row = Row {
                owner: owner.clone(),
                counter: lease.counter,
                throughput: lease.throughput_kbps,
            };
            self.rows.insert(lease.key.clone(), row);
        }
        self.owners = owners;
    }

    /// Whether an owner lives.
    #[must_use]
    pub fn life(&self, owner: &WorkerId, now: Moment, failover: Duration) -> Life {
        match self.owners.get(owner) {
            Some(sight) if now.since(sight.since) > failover => Life::Silent,
            Some(sight) if sight.moved => Life::Alive,
            Some(sight) => Life::UnknownUntil(sight.since + failover + Duration::from_millis(1)),
            None => Life::Silent,
        }
    }

    fn stores_throughput(&self, owner: &WorkerId) -> bool {
        self.owners
            .get(owner)
            .is_some_and(|sight| sight.stores_throughput)
    }
}

/// What a worker that starts has found.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Itself: leases under its own id are of a process before it, which is dead.
    pub me: &'a WorkerId,
    /// All leases.
    pub leases: &'a [Lease],
    /// What it has seen of their owners so far, these leases included.
    pub watch: &'a FleetWatch,
    /// The keys of the items in the lease table that are no leases.
    pub foreign_keys: &'a [String],
    /// What `Migration3.0` says, in whichever table it is.
    pub stored: Option<ClientVersion>,
    /// Whether a CoordinatorState table of 3.0 to 3.4 exists.
    pub legacy_table: bool,
    /// The metrics items, from wherever they are.
    pub metrics: &'a [WorkerMetricStats],
    /// Now.
    pub now: Moment,
    /// Now, for the times in the metrics items.
    pub wall: WallTime,
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `workerMetricsReporterFreqInMillis`.
    pub report_interval: Duration,
}

/// Why a worker works the way it does; for one line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The configuration says so, and it harms nobody who was seen.
    Configured,
    /// The configuration says so, and `forceClientVersionConfig` as well.
    Forced,
    /// `Migration3.0` says so.
    Stored,
    /// The table has no leases: nobody is there who could be harmed.
    Fresh,
    /// A leader's doing was seen: this item.
    LeaderSeen(String),
    /// This owner of leases may be older than 3.5.
    MayBeOlder(WorkerId),
    /// There are leases and no sign of a leader: others may be there who own nothing now.
    LeasesAlone,
}

/// Why a worker must not start. A sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would write an item that a worker seen alive cannot read.
    #[error(
        "clientVersionConfig = {configured} would write the item '{item}' into the lease table, and \
         worker '{worker}', which is alive and may be older than KCL 3.5, fails on every item that is \
         not a lease: set clientVersionConfig = auto or CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1 \
         until it is gone, or forceClientVersionConfig = true if you know that it is 3.5 or later"
    )]
    WouldBreak {
        /// The word of the property.
        configured: &'static str,
        /// The worker that would fail.
        worker: WorkerId,
        /// The key of the item.
        item: &'static str,
    },
    /// It would take leases for itself where a leader assigns them.
    #[error(
        "clientVersionConfig = CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1 would take leases for \
         itself, but a leader assigns them here (seen: the item '{item}'): set clientVersionConfig = \
         auto or CLIENT_VERSION_CONFIG_3X, or forceClientVersionConfig = true if that item is left over"
    )]
    HasLeader {
        /// The item that was seen.
        item: String,
    },
}

/// What a worker that starts does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works in this state.
    Start {
        /// The state; [`client_version::write_of_entry`] says whether it has to be written.
        state: ClientVersion,
        /// Why.
        reason: Reason,
    },
    /// It scans again, at the latest at `until`: whether this worker lives decides.
    LookAgain {
        /// The owner in question.
        worker: WorkerId,
        /// When it is known to be dead, if it is.
        until: Moment,
    },
    /// It does not start.
    Refuse(Refusal),
}

impl Evidence<'_> {
    /// What an owner can read.
    #[must_use]
    pub fn kind(&self, owner: &WorkerId) -> Kind {
        let reports = self
            .metrics
            .iter()
            .any(|stats| stats.worker == *owner && stats.is_fresh(self.wall, self.report_interval));
        let supports = self.metrics.iter().any(|stats| {
            stats.worker == *owner && stats.support(self.wall, self.report_interval) >= 1
        });
        let mut owned = self
            .leases
            .iter()
            .filter(|lease| lease.actual_owner() == Some(owner))
            .peekable();
        if supports {
            Kind::SingleTable
        } else if owned.peek().is_some() && owned.all(|lease| lease.marked) {
            Kind::Ours
        } else if reports {
            Kind::SeparateTables
        } else if !self.legacy_table && self.watch.stores_throughput(owner) {
            Kind::Phase1
        } else {
            Kind::MayBeOlder
        }
    }

    /// The first owner that lives, or may live, of those that `concerns` picks.
    fn living(&self, concerns: impl Fn(Kind) -> bool) -> Option<(WorkerId, Life)> {
        let mut owners: Vec<&WorkerId> = self
            .leases
            .iter()
            .filter_map(Lease::actual_owner)
            .filter(|owner| *owner != self.me)
            .collect();
        owners.sort_unstable();
        owners.dedup();
        let mut in_question = None;
        for owner in owners {
            match self.watch.life(owner, self.now, self.failover) {
                Life::Silent => {}
                _ if !concerns(self.kind(owner)) => {}
                Life::Alive => return Some((owner.clone(), Life::Alive)),
                unknown => {
                    in_question.get_or_insert((owner.clone(), unknown));
                }
            }
        }
        in_question
    }

    /// A sign that a leader assigns leases here: an item of the 3.x coordination in use.
    fn leader_sign(&self) -> Option<String> {
        let lock = crate::core::leader_lock::KEY;
        if self.foreign_keys.iter().any(|key| key == lock) {
            return Some(lock.to_owned());
        }
        self.metrics
            .iter()
            .find(|stats| {
                stats.worker != *self.me && stats.is_fresh(self.wall, self.report_interval)
            })
            .map(|stats| stats.worker.to_string())
    }
}

/// What a worker does that starts with `clientVersionConfig = auto`.
#[must_use]
pub fn auto(evidence: &Evidence<'_>) -> Verdict {
    if let Some(stored) = evidence
        .stored
        .filter(|state| *state != ClientVersion::Init)
    {
        return Verdict::Start {
            state: stored,
            reason: Reason::Stored,
        };
    }
    let start = |state, reason| Verdict::Start { state, reason };
    if evidence.leases.is_empty() {
        return start(ClientVersion::V3x, Reason::Fresh);
    }
    // Whoever lives and reports nothing takes leases for itself; an older one gives the better reason.
    let older = evidence.living(|kind| kind == Kind::MayBeOlder);
    let quiet = |kind| matches!(kind, Kind::MayBeOlder | Kind::Phase1 | Kind::Ours);
    let alone = older.clone().or_else(|| evidence.living(quiet));
    match (evidence.leader_sign(), alone) {
        (Some(item), None) => start(ClientVersion::V3x, Reason::LeaderSeen(item)),
        (Some(_), Some((worker, Life::UnknownUntil(until)))) => {
            Verdict::LookAgain { worker, until }
        }
        _ => start(
            ClientVersion::Init,
            match older {
                Some((worker, _)) => Reason::MayBeOlder(worker),
                None => Reason::LeasesAlone,
            },
        ),
    }
}

/// What a worker does that starts with an explicit `clientVersionConfig`; `force` is
/// `forceClientVersionConfig`.
#[must_use]
pub fn explicit(evidence: &Evidence<'_>, configured: Configured, force: bool) -> Verdict {
    let state = entry(evidence.stored, configured);
    let nothing_stored = matches!(evidence.stored, None | Some(ClientVersion::Init));
    let start = |reason| Verdict::Start { state, reason };
    if !nothing_stored {
        return start(if evidence.stored == Some(state) {
            Reason::Stored
        } else {
            Reason::Configured
        });
    }
    if force {
        return start(Reason::Forced);
    }
    if configured == Configured::Phase1 {
        return match evidence.leader_sign() {
            Some(item) => Verdict::Refuse(Refusal::HasLeader { item }),
            None => start(Reason::Configured),
        };
    }
    // While the tables of 3.0 to 3.4 exist, items go there and break nobody; but a worker without a
    // leader beside a leader takes leases for ever.
    let harmed = |kind| match kind {
        Kind::MayBeOlder => configured == Configured::V3x || !evidence.legacy_table,
        Kind::SeparateTables => !evidence.legacy_table,
        Kind::Ours | Kind::SingleTable | Kind::Phase1 => false,
    };
    match evidence.living(harmed) {
        None | Some((_, Life::Silent)) => start(Reason::Configured),
        Some((worker, Life::UnknownUntil(until))) => Verdict::LookAgain { worker, until },
        Some((worker, Life::Alive)) => Verdict::Refuse(Refusal::WouldBreak {
            configured: match configured {
                Configured::V3x => "CLIENT_VERSION_CONFIG_3X",
                _ => "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X",
            },
            worker,
            item: client_version::KEY,
        }),
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;

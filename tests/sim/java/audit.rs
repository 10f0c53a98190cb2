//! Shard sync and audit (E.1, E.3), and who leads where everybody takes for itself (C.2).

use std::sync::Arc;

use kcl_daemon::core::hash_range::{HashRange, first_hole};
use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::leader::elect;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::shard_sync::{initial_filter, initial_leases, missing_leases};
use kcl_daemon::core::stream::ShardFilter;
use kcl_daemon::ports::Stream as _;

use super::{Bug, JavaWorker};
use crate::trace::{Answer, Op, Row};
use crate::world::{S, Time};

/// When the shuffle is drawn again, first and later (`DeterministicShuffleShardSyncLeaderDecider`).
const FIRST_ELECTION_LASTS: Time = 60 * S;
const ELECTION_LASTS: Time = 300 * S;

/// Who leads by the shuffle, as this process believes.
pub struct Elected {
    leader: Option<WorkerId>,
    until: Time,
}

impl JavaWorker {
    /// Whether this worker leads: by the lock, or by the shuffle.
    pub(super) async fn leads(&self) -> bool {
        match self.led_by_lock() {
            true => self.state().lock.is_some(),
            false => self.leads_by_shuffle().await,
        }
    }

    /// `DeterministicShuffleShardSyncLeaderDecider`: the outcome is kept for minutes; while there is none,
    /// as nobody owns anything or the table could not be read, everybody leads.
    pub(super) async fn leads_by_shuffle(&self) -> bool {
        let now = self.now();
        let lasts = match &self.state().elected {
            None => Some(FIRST_ELECTION_LASTS),
            Some(elected) if elected.leader.is_none() => Some(FIRST_ELECTION_LASTS),
            Some(elected) if now >= elected.until => Some(ELECTION_LASTS),
            Some(_) => None,
        };
        if let Some(lasts) = lasts {
            let leases = self.scan().await;
            let mut state = self.state();
            let before = state.elected.take().and_then(|elected| elected.leader);
            let leader = match leases {
                Some(leases) => elect(&leases),
                None => before,
            };
            let until = now + lasts;
            state.elected = Some(Elected { leader, until });
        }
        let state = self.state();
        let leader = state.elected.as_ref().and_then(|one| one.leader.as_ref());
        leader.is_none_or(|leader| *leader == self.me)
    }

    /// Fills an empty table; later looks for holes, as the one that leads (`PeriodicShardSyncManager`). The
    /// waits of minutes before and after the first sync are left out.
    pub(super) async fn auditor(self: Arc<Self>) {
        let pause = self.world.rng().between(S, 3 * S);
        self.sleep(pause).await;
        let mut hole: Option<(HashRange, u32)> = None;
        loop {
            let Some(mut leases) = self.scan().await else {
                self.sleep(5 * S).await;
                continue;
            };
            if leases.is_empty() {
                self.sync(&leases).await;
                self.sleep(5 * S).await;
                continue;
            }
            if self.leads().await {
                self.fill_in_ranges(&mut leases).await;
                let found = first_hole(
                    leases
                        .iter()
                        .filter(|lease| !lease.is_finished())
                        .filter_map(|lease| lease.hash_range),
                );
                hole = match (found, hole) {
                    (Some(found), Some((before, seen))) if found == before => {
                        Some((found, seen + 1))
                    }
                    (found, _) => found.map(|found| (found, 1)),
                };
                let confident = hole.is_some_and(|(_, seen)| seen >= 3);
                if confident && !self.has(Bug::DeletedRowForgotten) {
                    self.sync(&leases).await;
                }
            }
            self.sleep(120 * S).await;
        }
    }

    /// Writes the hash ranges that leases of old versions lack
    /// (`PeriodicShardSyncManager.fillWithHashRangesIfRequired`).
    async fn fill_in_ranges(&self, leases: &mut [Lease]) {
        let lacks = |lease: &Lease| lease.hash_range.is_none() && !lease.is_finished();
        if !leases.iter().any(lacks) {
            return;
        }
        let Ok(shards) = self.stream.list_shards(ShardFilter::All).await else {
            return;
        };
        for lease in leases.iter_mut().filter(|lease| lacks(lease)) {
            let shard = shards.iter().find(|shard| shard.id == lease.shard_id());
            if let Some(range) = shard.map(|shard| shard.hash_range) {
                let update = lease.with_hash_range(range);
                self.store.request(Op::Update(update)).await;
                lease.hash_range = Some(range);
            }
        }
    }

    async fn sync(&self, leases: &[Lease]) {
        let position = self.settings.position;
        let filter = match leases {
            [] => initial_filter(position),
            _ => ShardFilter::All,
        };
        let Ok(shards) = self.stream.list_shards(filter).await else {
            return;
        };
        let missing = match leases {
            [] => initial_leases(&shards, position),
            _ => missing_leases(&shards, leases, position, false),
        };
        let finished: Vec<_> = leases
            .iter()
            .filter(|l| l.is_finished())
            .map(Lease::shard_id)
            .collect();
        for lease in missing.unwrap_or_default() {
            // A shard with a finished parent is left to that (`HierarchicalShardSyncer`).
            let left = lease.parents.iter().any(|parent| finished.contains(parent));
            if left && self.has(Bug::HoleNeverRepaired) {
                continue;
            }
            let created = Op::Create(Arc::new(Row::lease(lease)));
            if !matches!(self.store.request(created).await, Answer::Created(_)) {
                return;
            }
        }
    }
}

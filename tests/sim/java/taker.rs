//! KCL 2.x: everybody takes for itself (B.5). Shard sync and audit, which 3.x has too (E.1, E.3).

use std::sync::Arc;

use kcl_daemon::core::assignment::taker::{Availability, Candidate, Limits, plan};
use kcl_daemon::core::hash_range::{HashRange, first_hole};
use kcl_daemon::core::leader::elect;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::shard_sync::{initial_filter, initial_leases, missing_leases};
use kcl_daemon::core::stream::ShardFilter;
use kcl_daemon::ports::Stream as _;

use super::{Bug, JavaWorker, Version};
use crate::trace::{Answer, Op, Row};
use crate::world::{MS, S};

impl JavaWorker {
    pub async fn scan(&self) -> Option<Vec<Lease>> {
        match self.store.request(Op::Scan).await {
            Answer::Rows(rows) => rows
                .iter()
                .filter(|row| self.settings.version.stumbles() || row.as_lease().is_some())
                .map(|row| row.as_lease().cloned())
                .collect(),
            _ => None,
        }
    }

    pub(super) async fn taker(self: Arc<Self>) {
        loop {
            if let Some(leases) = self.scan().await {
                self.take_what_is_due(&leases).await;
            }
            self.sleep((self.settings.failover + 25 * MS) * 2).await;
        }
    }

    async fn take_what_is_due(&self, leases: &[Lease]) {
        let available = self.observe(leases);
        let now = self.now();
        let candidates: Vec<Candidate> = {
            let state = self.state();
            leases
                .iter()
                .map(|lease| {
                    // Also what it holds itself, if somebody removed the owner by hand.
                    let free = available.iter().any(|free| free.key == lease.key);
                    let old = state
                        .seen
                        .get(&lease.key)
                        .is_some_and(|seen| now > seen.1 + self.settings.failover * 3);
                    Candidate {
                        lease: lease.clone(),
                        availability: match (free, old) {
                            (false, _) => Availability::Owned,
                            (true, false) => Availability::Free,
                            (true, true) => Availability::VeryOld,
                        },
                    }
                })
                .collect()
        };
        let limits = Limits {
            max_leases: usize::MAX,
            max_steals: self.settings.max_steals,
            very_old_first: true,
            count_finished: true,
        };
        let due = {
            let mut rng = self.world.rng();
            let mut pick = |n: usize| usize::try_from(rng.below(n as u64)).unwrap_or(0);
            plan(&candidates, &self.me, limits, &mut pick)
        };
        let most = match self.has(Bug::OneLeasePerCycle) {
            true => 1,
            false => usize::MAX,
        };
        for lease in due.take.into_iter().chain(due.steal).take(most) {
            let mut update = lease.taken_by(&self.me);
            // 2.x does not know of hand-offs, and leaves their attribute behind.
            update.condition = kcl_daemon::core::lease::Condition::Counter(lease.counter);
            if let Answer::Applied(row) = self.store.request(Op::Update(update)).await
                && let Some(lease) = row.as_lease()
            {
                self.hold(lease.clone());
            }
        }
    }

    /// Fills an empty table; later looks for holes, as the one elected (E.3).
    pub(super) async fn auditor(self: Arc<Self>) {
        let pause = self.world.rng().between(S, 3 * S);
        self.sleep(pause).await;
        let mut hole: Option<(HashRange, u32)> = None;
        loop {
            let Some(leases) = self.scan().await else {
                self.sleep(5 * S).await;
                continue;
            };
            if leases.is_empty() {
                self.sync(&leases).await;
                self.sleep(5 * S).await;
                continue;
            }
            let leads = match self.settings.version {
                Version::V2 => elect(&leases).is_none_or(|leader| leader == self.me),
                Version::V30 | Version::V3 => self.state().leads,
            };
            let found = first_hole(
                leases
                    .iter()
                    .filter(|lease| !lease.is_finished())
                    .filter_map(|lease| lease.hash_range),
            );
            hole = match (found, hole) {
                (Some(found), Some((before, seen))) if found == before => Some((found, seen + 1)),
                (found, _) => found.map(|found| (found, 1)),
            };
            let confident = hole.is_some_and(|(_, seen)| seen >= 3);
            if leads && confident && !self.has(Bug::DeletedRowForgotten) {
                self.sync(&leases).await;
            }
            self.sleep(120 * S).await;
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
            let left = lease.parents.iter().any(|parent| finished.contains(parent));
            if left && self.has(Bug::HoleNeverRepaired) {
                continue;
            }
            self.store
                .request(Op::Create(Arc::new(Row::lease(lease))))
                .await;
        }
    }
}

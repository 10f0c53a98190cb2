//! KCL 3.5: from the 2.x algorithm to a leader (D.1), as `MigrationStateMachineImpl` and the states and
//! monitors beside it drive it by `Migration3.0`.

use std::collections::BTreeSet;
use std::sync::Arc;

use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::migration::client_version::{ClientVersion, Configured};
use kcl_daemon::core::migration::single_table::Place;
use kcl_daemon::core::migration::{ItemCondition, ItemWrite, MigrationItem};
use kcl_daemon::ports::OwnerIndex;

use super::{JavaWorker, Version};
use crate::trace::{Answer, LegacyOp, Op};
use crate::world::{S, Time};

/// `ClientVersionChangeMonitor.MONITOR_INTERVAL_MILLIS`, and that of `MigrationReadyMonitor`.
const LOOK: Time = 60 * S;
/// How long a fleet has to be ready without a break (`CoordinatorConfig`).
const READY_FOR_MS: i64 = 600_000;
/// Attempts to begin (`maxInitializationAttempts`).
const ATTEMPTS: u64 = 20;

type Item = MigrationItem<ClientVersion>;

/// In which state a worker starts (`MigrationClientVersionStateInitializer`).
const fn first(stored: Option<ClientVersion>, configured: Configured) -> ClientVersion {
    match (stored, configured) {
        (None | Some(ClientVersion::Init), Configured::Phase1) => ClientVersion::Init,
        (None | Some(ClientVersion::Init), Configured::CompatibleWith2x) => {
            ClientVersion::UpgradeFrom2x
        }
        (None | Some(ClientVersion::Init), Configured::V3x)
        | (Some(ClientVersion::V3xWithRollback), Configured::V3x) => ClientVersion::V3x,
        (Some(stored), _) => stored,
    }
}

/// Whether a running worker follows from one state to another; any other change is an error that is
/// logged each minute (`onClientVersionChange` of each state).
const fn follows(from: ClientVersion, to: ClientVersion) -> bool {
    use ClientVersion::{UpgradeFrom2x, V2x, V3x, V3xWithRollback};
    matches!(
        (from, to),
        (UpgradeFrom2x, V2x | V3xWithRollback)
            | (V3xWithRollback, V2x | V3x)
            | (V2x, UpgradeFrom2x)
    )
}

impl JavaWorker {
    /// Whether the lock says who leads, and leases are assigned (`DynamicMigrationComponentsInitializer`).
    pub(super) fn led_by_lock(&self) -> bool {
        match self.settings.version {
            Version::V2 => false,
            Version::V30 => true,
            Version::V3 => matches!(
                self.state().version,
                ClientVersion::V3xWithRollback | ClientVersion::V3x
            ),
        }
    }

    /// Whether it takes for itself, as long as it does not stop.
    pub(super) fn takes(&self) -> bool {
        !self.led_by_lock() && !self.state().stopping
    }

    /// Whether it writes its metrics: in PHASE1 it never does, rolled back no more.
    pub(super) fn reports(&self) -> bool {
        let state = self.state();
        let wanted = match self.settings.version {
            Version::V2 => false,
            Version::V30 => true,
            Version::V3 => !matches!(state.version, ClientVersion::Init | ClientVersion::V2x),
        };
        wanted && !state.stopping
    }

    /// Finds out in which state it begins, and has the table say so. Whoever loses that write, or does not
    /// learn what came of it, never starts: `MigrationStateMachineImpl.initialize` takes itself for begun
    /// at the second attempt, and all that follows fails, until `Scheduler.initialize` gives up.
    pub(super) async fn enter_version(&self) -> Result<(), String> {
        if self.settings.version != Version::V3 {
            return Ok(());
        }
        let mut attempts = 0;
        let stored = loop {
            match self.read_version().await {
                Ok(stored) => break stored,
                Err(()) if attempts == ATTEMPTS => return Err("Migration3.0 is unreadable".into()),
                Err(()) => attempts += 1,
            }
            self.sleep(2 * S).await;
        };
        let before = stored.as_ref().map(|item| item.now.state);
        let state = first(before, self.settings.configured);
        let item = match stored {
            Some(item) if item.now.state == state => Some(item),
            None if state == ClientVersion::Init => None,
            stored => Some(self.write_first(stored, state).await?),
        };
        {
            let mut own = self.state();
            (own.version, own.version_item) = (state, item);
        }
        if matches!(state, ClientVersion::UpgradeFrom2x | ClientVersion::V3x) {
            self.make_index().await;
        }
        // Only without a way back does it wait for the index before it does anything else.
        if state == ClientVersion::V3x {
            while self.store.request(Op::Index).await != Answer::Index(OwnerIndex::Active) {
                self.sleep(10 * S).await;
            }
        }
        Ok(())
    }

    async fn write_first(
        &self,
        stored: Option<Item>,
        state: ClientVersion,
    ) -> Result<Item, String> {
        let (me, now) = (self.me.as_str(), self.wall());
        let write = match stored {
            None => ItemWrite {
                condition: ItemCondition::Absent,
                item: Item::created(ClientVersion::Init, state, me, now),
            },
            Some(stored) => ItemWrite {
                condition: ItemCondition::State(stored.now.state),
                item: stored.moved_to(state, me, now),
            },
        };
        let item = write.item.clone();
        if self.write_version(write).await == Answer::Done {
            return Ok(item);
        }
        self.sleep(ATTEMPTS * S).await;
        Err("Migration3.0 was not written".to_owned())
    }

    async fn make_index(&self) {
        while self.store.request(Op::CreateIndex).await != Answer::Done {
            self.sleep(S).await;
        }
    }

    async fn read_version(&self) -> Result<Option<Item>, ()> {
        for place in self.routing().coordinator_reads {
            let op = match place {
                Place::LeaseTable => Op::ClientVersion,
                Place::Legacy => Op::Legacy(LegacyOp::ClientVersion),
            };
            let Answer::Row(row) = self.store.request(op).await else {
                return Err(());
            };
            if let Some(item) = row.as_deref().and_then(|row| row.as_client_version()) {
                return Ok(Some(item.clone()));
            }
        }
        Ok(None)
    }

    async fn write_version(&self, write: ItemWrite<ClientVersion>) -> Answer {
        let op = match self.routing().coordinator_writes {
            Place::LeaseTable => Op::WriteClientVersion(write),
            Place::Legacy => Op::Legacy(LegacyOp::WriteClientVersion(write)),
        };
        self.store.request(op).await
    }

    /// Follows the item (`ClientVersionChangeMonitor`): each minute, the first time in a state up to half a
    /// minute later. In PHASE1 and at the end of the way nobody looks.
    pub(super) async fn watch_version(self: Arc<Self>) {
        loop {
            let from = self.state().version;
            let watches = !matches!(from, ClientVersion::Init | ClientVersion::V3x);
            if self.settings.version != Version::V3 || !watches {
                return;
            }
            let jitter = self.world.rng().below(LOOK / 2);
            self.sleep(jitter).await;
            let item = loop {
                self.sleep(LOOK).await;
                if let Ok(Some(item)) = self.read_version().await
                    && follows(from, item.now.state)
                {
                    break item;
                }
            };
            if self.state().stopping {
                return;
            }
            let to = item.now.state;
            {
                let mut state = self.state();
                (state.version, state.version_item) = (to, Some(item));
                // Each election begins anew.
                state.elected = None;
            }
            if to == ClientVersion::UpgradeFrom2x {
                self.make_index().await;
            }
        }
    }

    /// Looks each minute, while it leads by the shuffle, whether the fleet can do with a leader, and flips
    /// it when that was so for ten minutes (`MigrationReadyMonitor`). It flips no worker, not even itself:
    /// each has to see the item first.
    pub(super) async fn watch_readiness(self: Arc<Self>) {
        let mut since: Option<i64> = None;
        loop {
            self.sleep(LOOK).await;
            let (version, item) = {
                let state = self.state();
                (state.version, state.version_item.clone())
            };
            let (Some(item), false) = (item, self.state().stopping) else {
                return;
            };
            if version != ClientVersion::UpgradeFrom2x || !self.leads_by_shuffle().await {
                since = None;
                continue;
            }
            // What cannot be read says nothing: the clock goes on.
            let Some(is_ready) = self.is_ready().await else {
                continue;
            };
            let now = self.wall();
            since = is_ready.then(|| since.unwrap_or(now.millis()));
            if since.is_some_and(|since| now.millis() - since >= READY_FOR_MS) {
                let next = item.moved_to(ClientVersion::V3xWithRollback, self.me.as_str(), now);
                let write = ItemWrite {
                    condition: ItemCondition::State(ClientVersion::UpgradeFrom2x),
                    item: next,
                };
                self.write_version(write).await;
            }
        }
    }

    /// Whether the index is there and whoever owns a lease, dead or alive, reports; a lease without an
    /// owner is one of nobody, who does not.
    async fn is_ready(&self) -> Option<bool> {
        let Answer::Index(index) = self.store.request(Op::Index).await else {
            return None;
        };
        if index != OwnerIndex::Active {
            return Some(false);
        }
        let Answer::Rows(mut rows) = self.store.request(Op::Scan).await else {
            return None;
        };
        rows.extend(self.legacy_metrics().await);
        let now = self.wall().seconds();
        let expiry = i64::try_from(self.settings.report_every * 2 / S).unwrap_or(i64::MAX);
        let reporting: BTreeSet<&WorkerId> = rows
            .iter()
            .filter_map(|row| row.as_metrics())
            .filter(|stats| stats.last_update.unwrap_or(0) + expiry > now)
            .map(|stats| &stats.worker)
            .collect();
        let mut leases = rows.iter().filter_map(|row| row.as_lease());
        Some(leases.all(|lease| {
            let owner = lease.owner.as_ref();
            owner.is_some_and(|owner| reporting.contains(owner))
        }))
    }
}

//! Renewing (B.2): `DynamoDBLeaseRenewer`, `DynamoDBLeaseRefresher.renewLease`.

use std::sync::Arc;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::Lease;
use tokio::task::JoinSet;

use super::hand_off::enqueue;
use super::{Bug, JavaWorker, Version};
use crate::trace::{Answer, Op};
use crate::world::{MS, S};

impl JavaWorker {
    /// Renews what carries this worker's id, one after the other, and holds all of it in the end (B.6). A
    /// call that fails spoils it all: what was renewed is not held. 3.x goes on with nothing, and 2.x
    /// begins again (`DynamoDBLeaseRenewer.initialize`).
    pub(super) async fn resume(&self) {
        while self.resume_once().await.is_none() && self.settings.version == Version::V2 {
            self.sleep(S).await;
        }
    }

    async fn resume_once(&self) -> Option<()> {
        let mut resumed = Vec::new();
        for lease in self.scan().await? {
            // 2.x knows of no hand-offs.
            let others = self.settings.version != Version::V2 && lease.in_hand_off();
            if lease.owner.as_ref() != Some(&self.me) || others {
                continue;
            }
            match self.store.request(Op::Update(lease.renewal())).await {
                Answer::Applied(row) => resumed.extend(row.as_lease().cloned()),
                Answer::Lost(_) => {}
                _ => return None,
            }
        }
        resumed.into_iter().for_each(|lease| self.hold(lease));
        Some(())
    }

    pub(super) async fn renewer(self: Arc<Self>) {
        let period = (self.settings.failover / 3).saturating_sub(25 * MS);
        loop {
            let started = self.now();
            let keys: Vec<LeaseKey> = self.state().held.keys().cloned().collect();
            let mut round = JoinSet::new();
            for key in keys {
                let worker = Arc::clone(&self);
                round.spawn(async move { worker.renew(&key).await });
            }
            // The next round waits for the slowest of this one (B.2).
            while round.join_next().await.is_some() {}
            let took = self.now() - started;
            self.sleep(period.saturating_sub(took).max(MS)).await;
        }
    }

    async fn renew(&self, key: &LeaseKey) {
        let now = self.now();
        let Some(lease) = ({
            let mut state = self.state();
            match state.held.get(key) {
                Some(held) if now > held.renewed + self.settings.failover => {
                    state.held.remove(key);
                    None
                }
                Some(held) if held.busy && self.has(Bug::RenewalBlockedByProcessing) => None,
                Some(held) => Some(held.lease.clone()),
                None => None,
            }
        }) else {
            return;
        };
        let update = match self.settings.version {
            Version::V2 => lease.renewal(),
            Version::V30 | Version::V3 => lease.renewal_noticing_hand_off(),
        };
        match self.store.request(Op::Update(update)).await {
            Answer::Applied(row) => self.renewed(key, row.as_lease()),
            Answer::Lost(row) => {
                let row = row.as_deref().and_then(|row| row.as_lease()).cloned();
                self.renewal_lost(key, &lease, row).await;
            }
            // Kept, and tried again in the next period.
            _ => {}
        }
    }

    fn renewed(&self, key: &LeaseKey, row: Option<&Lease>) {
        let now = self.now();
        let mut state = self.state();
        if let (Some(held), Some(row)) = (state.held.get_mut(key), row)
            && row.counter > held.lease.counter
        {
            held.lease.clone_from(row);
            held.renewed = now;
        }
        enqueue(&mut state, key, now);
    }

    async fn renewal_lost(&self, key: &LeaseKey, before: &Lease, row: Option<Lease>) {
        let news = row.as_ref().filter(|row| row.in_hand_off());
        if let Some(row) = news
            && self.settings.version != Version::V2
            && !before.in_hand_off()
        {
            let mine = row.checkpoint_owner.as_ref() == Some(&self.me);
            match mine && row.owner.as_ref() != Some(&self.me) {
                true => self.renew_in_hand_off(key, row).await,
                false => drop(self.state().held.remove(key)),
            }
            return;
        }
        // Perhaps the answer to a write of one's own was lost (B.2 step 5).
        let row = match self.store.request(Op::Get(key.clone(), false)).await {
            Answer::Row(row) => row.as_deref().and_then(|row| row.as_lease()).cloned(),
            _ => row,
        };
        let mut state = self.state();
        let Some(held) = state.held.get_mut(key) else {
            return;
        };
        if held.lease.counter != before.counter {
            // A checkpoint went through meanwhile. (Java's would have waited for this.)
            return;
        }
        let own = row.as_ref().is_some_and(|row| {
            row.counter == before.counter.next() && row.owner.as_ref() == Some(&self.me)
        });
        match row.filter(|_| own) {
            Some(row) => {
                held.lease = row;
                held.renewed = self.now();
            }
            None => {
                state.held.remove(key);
            }
        }
    }

    /// The leader moves the lease: go on renewing, and give way (B.2 step 4). Only the owners are copied:
    /// if the answer to a renewal was lost before, the lease is lost now
    /// (`DynamoDBLeaseRefresher.handleGracefulShutdown`).
    async fn renew_in_hand_off(&self, key: &LeaseKey, row: &Lease) {
        let renewal = {
            let now = self.now();
            let mut state = self.state();
            let Some(held) = state.held.get_mut(key) else {
                return;
            };
            held.lease.owner.clone_from(&row.owner);
            held.lease
                .checkpoint_owner
                .clone_from(&row.checkpoint_owner);
            let renewal = held.lease.renewal();
            enqueue(&mut state, key, now);
            renewal
        };
        match self.store.request(Op::Update(renewal)).await {
            Answer::Applied(row) => self.renewed(key, row.as_lease()),
            Answer::Lost(_) => drop(self.state().held.remove(key)),
            _ => {}
        }
    }
}

//! Deleting leases of finished shards (E.6): `LeaseCleanupManager`. No property switches it off (B.7).

use std::sync::Arc;

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::{Lease, LeaseDeletion};
use kcl_daemon::core::sequence::Position;
use kcl_daemon::core::stream::IteratorStart;
use kcl_daemon::ports::{Stream as _, StreamErrorKind};

use super::JavaWorker;
use crate::trace::{Answer, Op};
use crate::world::{S, Time};

/// How often it looks, and how long after the last deletion at the earliest.
const LOOK: Time = 60 * S;
const REST: Time = 300 * S;

impl JavaWorker {
    /// Only what this process finished, or found finished, is ever looked at.
    pub(super) fn enqueue_clean_up(&self, lease: Lease) {
        self.state().clean_up.insert(lease.key.clone(), lease);
    }

    pub(super) async fn clean_up(self: Arc<Self>) {
        let mut since = self.now();
        loop {
            self.sleep(LOOK).await;
            if self.now() < since + REST {
                continue;
            }
            let queue: Vec<LeaseKey> = self.state().clean_up.keys().cloned().collect();
            for key in queue {
                if self.clean_up_one(&key).await == Some(true) {
                    self.state().clean_up.remove(&key);
                    since = self.now();
                }
            }
        }
    }

    /// Whether a lease is gone; `None` if that cannot be told now.
    ///
    /// Its own checkpoint is not looked at. A shard that the service does not know any more is deleted
    /// whatever else there is, and one without children as soon as no parent of it has a lease: all of no
    /// children are under way.
    async fn clean_up_one(&self, key: &LeaseKey) -> Option<bool> {
        let Some(row) = self.get(key).await.ok()? else {
            return Some(true);
        };
        let mut children = row.children.clone();
        if children.is_empty() {
            let shard = row.shard_id();
            let page = match self.stream.iterator(&shard, &IteratorStart::Latest).await {
                Ok(Some(iterator)) => self.stream.get_records(&shard, &iterator, 10_000).await,
                Ok(None) => return None,
                Err(error) => Err(error),
            };
            match page {
                Ok(page) => children = page.children.into_iter().map(|child| child.id).collect(),
                Err(error) if error.kind == StreamErrorKind::Gone => return self.delete(key).await,
                Err(_) => return None,
            }
            if !children.is_empty() {
                let update = row.with_children(children.clone());
                self.store.request(Op::Update(update)).await;
            }
        }
        for child in &children {
            let child = self.get(&LeaseKey::of_shard(child)).await.ok()??;
            let position = &child.checkpoint.position;
            if matches!(position, Position::TrimHorizon | Position::AtTimestamp) {
                return Some(false);
            }
        }
        for parent in &row.parents {
            if self.get(&LeaseKey::of_shard(parent)).await.ok()?.is_some() {
                return Some(false);
            }
        }
        self.delete(key).await
    }

    /// Java's delete has no condition: here it is of the row as it is at that moment.
    async fn delete(&self, key: &LeaseKey) -> Option<bool> {
        let Answer::Row(row) = self.store.request(Op::Get(key.clone(), true)).await else {
            return None;
        };
        let Some(lease) = row.as_deref().and_then(|row| row.as_lease()) else {
            return Some(true);
        };
        let delete = Op::Delete(LeaseDeletion::of(lease));
        match self.store.request(delete).await {
            Answer::Deleted(deleted) => Some(deleted),
            _ => None,
        }
    }
}

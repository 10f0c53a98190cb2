//! Parents and children of a shard: waiting for the ones, creating leases for the others
//! (`leases.md` E.4, E.5).

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::core::ids::{LeaseKey, ShardId};
use crate::core::lease::Lease;
use crate::core::shard_sync::child_leases;
use crate::core::stream::ChildShard;
use crate::ports::{Clock, Created, Entropy, LeaseStore, StoreError, Written};

/// Waits until every parent that has a lease is finished. Looks soon at first, then at the configured
/// interval or every two seconds, whichever is shorter (Java: every 10 s), and at once when told.
pub async fn parents_finished(
    store: &dyn LeaseStore,
    clock: &dyn Clock,
    shard: &ShardId,
    parents: &[ShardId],
    longest: Duration,
    hint: &Notify,
) {
    let longest = longest.min(Duration::from_secs(2));
    let mut pause = Duration::from_millis(250).min(longest);
    let mut told = HashSet::new();
    for parent in parents {
        loop {
            match store.get(&LeaseKey::of_shard(parent)).await {
                Ok(None) => break,
                Ok(Some(lease)) if lease.is_finished() => break,
                Ok(Some(lease)) => {
                    if told.insert(parent) {
                        let owner = lease
                            .owner
                            .as_ref()
                            .map_or("nobody", |owner| owner.as_str());
                        info!(%shard, "waiting for parent shard {parent}, which is owned by {owner}");
                    }
                }
                Err(error) => {
                    if told.insert(parent) {
                        warn!(%shard, "cannot read the lease of parent shard {parent}, trying again: {error}");
                    }
                }
            }
            tokio::select! {
                biased;
                () = clock.sleep_until(clock.now() + pause) => {}
                () = hint.notified() => {}
            }
            pause = (pause * 2).min(longest);
        }
    }
}

/// Creates the leases of a finished shard's children, then notes them in its own lease; repeats until
/// both are done.
pub async fn create_child_leases(
    store: &dyn LeaseStore,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    lease: &Lease,
    children: &[ChildShard],
) {
    let shard = lease.shard_id();
    if children.is_empty() {
        info!(%shard, "the shard ended without child shards");
        return;
    }
    let mut pause = Duration::from_millis(100);
    while let Err(error) = try_create(store, lease, children).await {
        warn!(%shard, "cannot create the leases of child shards, trying again: {error}");
        let jittered = pause.mul_f64(0.5 + 0.5 * entropy.unit());
        clock.sleep_until(clock.now() + jittered).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn try_create(
    store: &dyn LeaseStore,
    lease: &Lease,
    children: &[ChildShard],
) -> Result<(), StoreError> {
    for child in child_leases(children) {
        if store.create(&child).await? == Created::New {
            info!(shard = %lease.shard_id(), "created the lease of child shard {}", child.key);
        }
    }
    let ids: Vec<ShardId> = children.iter().map(|child| child.id.clone()).collect();
    if lease.has_children(&ids) {
        return Ok(());
    }
    match store.update(&lease.with_children(ids)).await? {
        // A row that is gone was deleted by somebody who decided that it is not needed.
        Written::Applied(_) | Written::Lost(_) => Ok(()),
        Written::Unknown(why) => Err(StoreError::Unavailable(why)),
    }
}

//! Parents and children of a shard: waiting for the ones, creating leases for the others
//! (`leases.md` E.4, E.5).

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::core::ids::{LeaseKey, ShardId};
use crate::core::lease::Lease;
use crate::core::shard_sync::{all_are_listed, child_leases, descendants};
use crate::core::stream::{ChildShard, ShardFilter};
use crate::ports::{Clock, Created, Entropy, LeaseStore, StoreError, Stream, Written};

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

/// The longest pause between two looks for the other parent of a merged shard.
const LONGEST_WAIT_FOR_OTHER_PARENT: Duration = Duration::from_secs(5);

/// Waits until the leases of both parents of a merged shard exist (`leases.md` E.4 step 2a). A merged
/// shard may be reached by one parent long before the other one, whose lease is made at the end of
/// *its* parents: the child must not exist before, as a parent without lease does not hold it back
/// (I.23). A parent that the service does not know any more is not waited for.
pub async fn other_parent_has_lease(
    store: &dyn LeaseStore,
    stream: &dyn Stream,
    clock: &dyn Clock,
    shard: &ShardId,
    children: &[ChildShard],
) {
    let [child] = children else { return };
    let Some(other) = child.parents.iter().find(|parent| *parent != shard) else {
        return;
    };
    let mut pause = Duration::from_millis(250);
    let mut told = false;
    loop {
        match is_awaited(store, stream, &child.id, other).await {
            Ok(false) => return,
            Ok(true) if told => {}
            Ok(true) => {
                told = true;
                info!(%shard, "waiting for shard {other}, the other parent of {}: it has no lease yet", child.id);
            }
            Err(error) => {
                warn!(%shard, "cannot look for the lease of shard {other}, trying again: {error}");
            }
        }
        clock.sleep_until(clock.now() + pause).await;
        pause = (pause * 2).min(LONGEST_WAIT_FOR_OTHER_PARENT);
    }
}

/// Whether the child's lease is still to come because its other parent has none.
async fn is_awaited(
    store: &dyn LeaseStore,
    stream: &dyn Stream,
    child: &ShardId,
    other: &ShardId,
) -> Result<bool, String> {
    let has_lease = async |shard: &ShardId| match store.get(&LeaseKey::of_shard(shard)).await {
        Ok(row) => Ok(row.is_some()),
        Err(error) => Err(error.to_string()),
    };
    // The lease of a parent is only deleted when its children are under way.
    if has_lease(other).await? || has_lease(child).await? {
        return Ok(false);
    }
    let shards = stream
        .list_shards(ShardFilter::All)
        .await
        .map_err(|error| error.to_string())?;
    all_are_listed(&shards).map_err(|why| why.to_string())?;
    if shards.iter().all(|shard| shard.id != *other) {
        return Ok(false);
    }
    // Both may be cleaned up long ago, and this lease have come back from a backup or from a late write:
    // then what came of the child has a lease.
    for descendant in descendants(child, &shards) {
        if has_lease(&descendant).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Notes all children of a finished shard in its own lease, then creates the leases of those that need
/// one; repeats until both are done. Java notes them last; this way round it shows whether the own lease
/// still exists. Whoever was suspended for so long that others finished the shard, its children too, and
/// deleted all their leases must not make those anew: what was read would be read again, and a child before
/// its parent (I.23).
pub async fn create_child_leases(
    store: &dyn LeaseStore,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    lease: &Lease,
    new: &[ChildShard],
    children: &[ChildShard],
) {
    let shard = lease.shard_id();
    if children.is_empty() {
        info!(%shard, "the shard ended without child shards");
        return;
    }
    let mut pause = Duration::from_millis(100);
    while let Err(error) = try_create(store, lease, new, children).await {
        warn!(%shard, "cannot create the leases of child shards, trying again: {error}");
        let jittered = pause.mul_f64(0.5 + 0.5 * entropy.unit());
        clock.sleep_until(clock.now() + jittered).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn try_create(
    store: &dyn LeaseStore,
    lease: &Lease,
    new: &[ChildShard],
    children: &[ChildShard],
) -> Result<(), StoreError> {
    let ids: Vec<ShardId> = children.iter().map(|child| child.id.clone()).collect();
    let exists = if lease.has_children(&ids) {
        store.get(&lease.key).await?.is_some()
    } else {
        match store.update(&lease.with_children(ids)).await? {
            Written::Applied(_) | Written::Lost(Some(_)) => true,
            Written::Lost(None) => false,
            Written::Unknown(why) => return Err(StoreError::Unavailable(why)),
        }
    };
    if !exists {
        // Whoever deleted it decided that it is not needed; should that be wrong, the auditor finds the hole.
        info!(shard = %lease.shard_id(), "the lease of the shard is gone: no leases are created for its child shards");
        return Ok(());
    }
    for child in child_leases(new) {
        if store.create(&child).await? == Created::New {
            info!(shard = %lease.shard_id(), "created the lease of child shard {}", child.key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::hash_range::HashRange;
    use crate::core::sequence::SequenceNumber;
    use crate::core::stream::Shard;
    use crate::worker::testing::{Listed, MemoryStore, owned};

    fn shard(id: &str, parents: &[&str]) -> Shard {
        Shard {
            id: ShardId::new(id),
            parents: parents.iter().map(ShardId::new).collect(),
            hash_range: HashRange::FULL,
            starting_sequence: SequenceNumber::parse("1").unwrap(),
            closed: id != "d",
        }
    }

    #[tokio::test]
    async fn the_child_of_a_merge_waits_for_both_parents_to_have_leases() {
        // c = merge(a, b), and d came of c.
        let all = [
            shard("a", &[]),
            shard("b", &[]),
            shard("c", &["a", "b"]),
            shard("d", &["c"]),
        ];
        let (whole, short) = (&all[..], &all[..1]);
        let trimmed = &[all[0].clone(), all[2].clone(), all[3].clone()][..];
        // shards with a lease, listed shards; whether a, at its end, waits for b, if that can be said
        let cases: &[(&[&str], &[Shard], Option<bool>)] = &[
            (&["a"], whole, Some(true)),
            (&["a", "b"], whole, Some(false)),
            (&["a", "c"], whole, Some(false)),
            // The service has forgotten b.
            (&["a"], trimmed, Some(false)),
            // What is not in a list that is not whole may exist.
            (&["a"], short, None),
            (&["a"], &[], None),
            // b and c are cleaned up, and a came back from a backup.
            (&["a", "d"], whole, Some(false)),
        ];
        for (leased, listed, waits) in cases {
            let store = MemoryStore::with(leased.iter().map(|id| owned(id, "me")));
            let stream = Listed(listed.to_vec());
            let (child, other) = (ShardId::new("c"), ShardId::new("b"));
            let awaited = is_awaited(&store, &stream, &child, &other).await;
            assert_eq!(awaited.ok(), *waits, "{leased:?}");
        }
    }

    #[tokio::test]
    async fn leases_of_children_are_made_while_the_parents_own_lease_exists() {
        let child = |id: &str| ChildShard {
            id: ShardId::new(id),
            parents: vec![ShardId::new("a")],
            hash_range: HashRange::FULL,
        };
        let children = [child("b"), child("c")];
        let ids = children.iter().map(|child| child.id.clone()).collect();
        let noted = owned("a", "me")
            .with_children(ids)
            .applied_to(&owned("a", "me"));
        for lease in [owned("a", "me"), noted] {
            let store = MemoryStore::with([lease.clone()]);
            assert!(
                try_create(&store, &lease, &children, &children)
                    .await
                    .is_ok()
            );
            let keys: Vec<String> = store.rows().keys().map(ToString::to_string).collect();
            assert_eq!(keys, ["a", "b", "c"]);
            assert_eq!(store.row("a").children.len(), 2);

            // Others have finished and deleted it, and perhaps its children too.
            let store = MemoryStore::default();
            assert!(
                try_create(&store, &lease, &children, &children)
                    .await
                    .is_ok()
            );
            assert!(store.rows().is_empty());
        }
    }
}

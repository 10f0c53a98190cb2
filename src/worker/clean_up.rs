//! Deleting the leases of finished shards (`leases.md` E.6, I.27), a few calls at a time.

use std::collections::{BTreeSet, HashMap, HashSet};

use tracing::debug;

use crate::core::ids::{LeaseKey, ShardId};
use crate::core::lease::{Lease, LeaseDeletion};
use crate::core::shard_sync::{CleanUp, children_at_end, clean_up, descendants, lost_children};
use crate::core::stream::{ChildShard, Shard, ShardFilter};
use crate::ports::{Clock, Entropy, LeaseStore, StoreError, Stream};
use crate::worker::family::create_child_leases;

/// What one round does, and in the end what it did.
#[derive(Debug, Default)]
pub struct CleanUpRound {
    delete: Vec<LeaseDeletion>,
    /// Finished leases of which the children are not known, or one is missing.
    unclear: Vec<Lease>,
    /// Children without lease.
    missing: BTreeSet<ShardId>,
    /// Shards that have a lease.
    leased: HashSet<ShardId>,
    deleted: Vec<LeaseKey>,
}

impl CleanUpRound {
    /// What to do about the finished leases that this worker holds. With `may_ask`, the service may be
    /// asked about those whose children are unclear.
    #[must_use]
    pub fn plan(finished: &[LeaseKey], table: &[Lease], may_ask: bool) -> Self {
        let by_shard: HashMap<ShardId, &Lease> = table
            .iter()
            .map(|lease| (lease.shard_id(), lease))
            .collect();
        let mut round = Self {
            leased: by_shard.keys().cloned().collect(),
            ..Self::default()
        };
        for lease in table.iter().filter(|lease| finished.contains(&lease.key)) {
            match clean_up(lease, &by_shard) {
                CleanUp::Delete(deletion) => round.delete.push(deletion),
                CleanUp::Keep => {}
                CleanUp::MissingChild(child) if may_ask => {
                    round.missing.insert(child);
                    round.unclear.push(lease.clone());
                }
                CleanUp::AskService if may_ask => round.unclear.push(lease.clone()),
                CleanUp::MissingChild(_) | CleanUp::AskService => {}
            }
        }
        round
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.unclear.is_empty()
    }

    /// Whether the service will be asked.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.unclear.is_empty()
    }

    /// Child shards whose leases are missing.
    #[must_use]
    pub fn missing(&self) -> &BTreeSet<ShardId> {
        &self.missing
    }

    /// The leases that this round deleted.
    #[must_use]
    pub fn deleted(&self) -> &[LeaseKey] {
        &self.deleted
    }

    /// Does it. What fails is tried in a later round.
    pub async fn run(
        mut self,
        store: &dyn LeaseStore,
        stream: &dyn Stream,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Self {
        if !self.unclear.is_empty() {
            self.ask(store, stream, clock, entropy).await;
        }
        for deletion in std::mem::take(&mut self.delete) {
            match store.delete(&deletion).await {
                Ok(true) => self.deleted.push(deletion.key),
                Ok(false) => debug!(lease = %deletion.key, "the finished lease changed meanwhile"),
                Err(error) => {
                    debug!(lease = %deletion.key, "cannot delete the finished lease: {error}")
                }
            }
        }
        self
    }

    async fn ask(
        &mut self,
        store: &dyn LeaseStore,
        stream: &dyn Stream,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) {
        let shards = match stream.list_shards(ShardFilter::All).await {
            Ok(shards) if !shards.is_empty() => shards,
            Ok(_) => return,
            Err(error) => {
                debug!("cannot ask for the children of finished shards: {error}");
                return;
            }
        };
        for lease in std::mem::take(&mut self.unclear) {
            let id = lease.shard_id();
            let children = match children_at_end(&id, &shards) {
                Ok(children) => children,
                Err(why) => {
                    debug!(shard = %id, "the list of shards is not relied on: {why}");
                    continue;
                }
            };
            if !children.is_empty() {
                let mut lost = lost_children(&children, &shards, &self.leased);
                if let Err(error) = without_read(store, &shards, &mut lost).await {
                    debug!(shard = %id, "cannot look for the leases of its descendants: {error}");
                    continue;
                }
                debug!(shard = %id, children = lost.len(), "creating the leases of child shards anew");
                create_child_leases(store, clock, entropy, &lease, &lost, &children).await;
            } else if shards.iter().all(|shard| shard.id != id) {
                // The service does not know the shard any more, nor any child of it.
                self.delete.push(LeaseDeletion::of(&lease));
            }
        }
    }
}

/// Leaves out children that were read already, as a lease of one of their descendants shows that was made
/// after the last look at the table.
async fn without_read(
    store: &dyn LeaseStore,
    shards: &[Shard],
    lost: &mut Vec<ChildShard>,
) -> Result<(), StoreError> {
    for child in std::mem::take(lost) {
        let mut read = false;
        for descendant in descendants(&child.id, shards) {
            read |= store.get(&LeaseKey::of_shard(&descendant)).await?.is_some();
        }
        if !read {
            lost.push(child);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::hash_range::HashRange;
    use crate::core::sequence::{ExtendedSequenceNumber, SequenceNumber};
    use crate::os::clock::SystemClock;
    use crate::os::entropy::SystemEntropy;
    use crate::worker::testing::{Listed, MemoryStore};

    fn lease(id: &str, checkpoint: &str, children: &[&str]) -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new(id),
            ExtendedSequenceNumber::sentinel(checkpoint.parse().unwrap()),
            vec![],
            None,
        );
        lease.children = children.iter().map(ShardId::new).collect();
        lease
    }

    #[test]
    fn only_what_this_worker_holds_is_looked_at() {
        let table = [
            lease("a", "SHARD_END", &["c"]),
            lease("b", "SHARD_END", &["c"]),
            lease("c", "7", &[]),
        ];
        let round = CleanUpRound::plan(&[LeaseKey::new("a")], &table, true);
        assert_eq!(round.delete, [LeaseDeletion::of(&table[0])]);
        assert!(!round.asks());
    }

    #[test]
    fn the_service_is_asked_about_unknown_children_only_when_allowed() {
        let table = [lease("a", "SHARD_END", &[])];
        assert!(CleanUpRound::plan(&[LeaseKey::new("a")], &table, false).is_empty());
        assert!(CleanUpRound::plan(&[LeaseKey::new("a")], &table, true).asks());
        let missing = [lease("a", "SHARD_END", &["c"])];
        assert!(CleanUpRound::plan(&[LeaseKey::new("a")], &missing, false).is_empty());
        let round = CleanUpRound::plan(&[LeaseKey::new("a")], &missing, true);
        assert!(round.asks());
        assert_eq!(*round.missing(), BTreeSet::from([ShardId::new("c")]));
    }

    fn shard(id: &str, end: u128) -> Shard {
        Shard {
            id: ShardId::new(id),
            parents: Vec::new(),
            hash_range: HashRange { start: 0, end },
            starting_sequence: SequenceNumber::parse("1").unwrap(),
            closed: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_counts_as_unknown_only_by_a_whole_list() {
        let finished = lease("a", "SHARD_END", &["c"]);
        for (end, deleted) in [(u128::MAX, true), (u128::MAX / 2, false)] {
            let store = MemoryStore::with([finished.clone()]);
            let round = CleanUpRound::plan(
                std::slice::from_ref(&finished.key),
                std::slice::from_ref(&finished),
                true,
            );
            let stream = Listed(vec![shard("z", end)]);
            let clock = SystemClock::new();
            let round = round
                .run(&store, &stream, &clock, &SystemEntropy::from_seed(1))
                .await;
            assert_eq!(!round.deleted().is_empty(), deleted, "{end}");
            assert_eq!(store.rows().is_empty(), deleted, "{end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_is_not_made_anew_when_its_children_came_since_the_last_look() {
        // b came of a, and c of b.
        let child_of = |id: &str, parent: &str, closed| Shard {
            parents: vec![ShardId::new(parent)],
            closed,
            ..shard(id, u128::MAX)
        };
        let shards = vec![child_of("b", "a", true), child_of("c", "b", false)];
        for came in [false, true] {
            let finished = lease("a", "SHARD_END", &["b"]);
            let round = CleanUpRound::plan(
                std::slice::from_ref(&finished.key),
                std::slice::from_ref(&finished),
                true,
            );
            let child = came.then(|| lease("c", "TRIM_HORIZON", &[]));
            let store = MemoryStore::with([finished].into_iter().chain(child));
            let (clock, entropy) = (SystemClock::new(), SystemEntropy::from_seed(1));
            round
                .run(&store, &Listed(shards.clone()), &clock, &entropy)
                .await;
            assert_eq!(store.rows().contains_key(&LeaseKey::new("b")), !came);
        }
    }
}

//! Which shards came of which, from a list of shards.

use crate::core::ids::ShardId;
use crate::core::stream::Shard;

/// All shards that a shard came of, as far as the list tells, the nearest first.
#[must_use]
pub fn ancestors(id: &ShardId, shards: &[Shard]) -> Vec<ShardId> {
    all(id, |of| {
        let listed = shards.iter().filter(|shard| shard.id == *of);
        listed.flat_map(|shard| shard.parents.clone()).collect()
    })
}

/// All shards that came of a shard, the nearest first.
#[must_use]
pub fn descendants(id: &ShardId, shards: &[Shard]) -> Vec<ShardId> {
    all(id, |of| {
        let listed = shards.iter().filter(|shard| shard.parents.contains(of));
        listed.map(|shard| shard.id.clone()).collect()
    })
}

/// Goes on from a shard for as long as there are new ones; a history of reshards may be long.
fn all(id: &ShardId, following: impl Fn(&ShardId) -> Vec<ShardId>) -> Vec<ShardId> {
    let mut found: Vec<ShardId> = Vec::new();
    let mut next = following(id);
    let mut gone_through = 0;
    loop {
        for id in next {
            if !found.contains(&id) {
                found.push(id);
            }
        }
        let Some(of) = found.get(gone_through) else {
            return found;
        };
        next = following(of);
        gone_through += 1;
    }
}

//! Splitting, merging, and counts of shards that are reached by both.

use super::{
    error::KinesisError,
    ids::{HashKeyRange, ShardId},
    shard::Origin,
    stream::{Stream, StreamMode},
};

impl Stream {
    /// Splits an open shard in two; `at` becomes the first hash key of the second.
    pub(super) fn split(&mut self, id: ShardId, at: u128, now_ms: i64) -> Result<(), KinesisError> {
        let range = self.open_range(id)?;
        if at <= range.start || at > range.end {
            return Err(KinesisError::invalid(format!(
                "Shard {id} cannot be split at {at}: the new starting hash key must be above {} and at most {}.",
                range.start, range.end
            )));
        }
        let now_ms = self.reshard_ms(&[id], now_ms);
        let epoch = self.next_epoch(now_ms);
        self.close_shard(id, now_ms);
        let origin = Origin {
            parent: Some(id),
            adjacent_parent: None,
        };
        self.open_shard(
            origin,
            HashKeyRange {
                start: range.start,
                end: at - 1,
            },
            epoch,
            now_ms,
        );
        self.open_shard(
            origin,
            HashKeyRange {
                start: at,
                end: range.end,
            },
            epoch,
            now_ms,
        );
        Ok(())
    }

    /// Merges two open shards whose ranges touch, given in either order.
    pub(super) fn merge(
        &mut self,
        id: ShardId,
        adjacent: ShardId,
        now_ms: i64,
    ) -> Result<ShardId, KinesisError> {
        let (a, b) = (self.open_range(id)?, self.open_range(adjacent)?);
        let (low, high) = if a.start <= b.start { (a, b) } else { (b, a) };
        if id == adjacent || low.end.checked_add(1) != Some(high.start) {
            return Err(KinesisError::invalid(format!(
                "Shards {id} and {adjacent} cannot be merged: their hash key ranges are not adjacent."
            )));
        }
        let now_ms = self.reshard_ms(&[id, adjacent], now_ms);
        let epoch = self.next_epoch(now_ms);
        self.close_shard(id, now_ms);
        self.close_shard(adjacent, now_ms);
        let origin = Origin {
            parent: Some(id),
            adjacent_parent: Some(adjacent),
        };
        Ok(self.open_shard(
            origin,
            HashKeyRange {
                start: low.start,
                end: high.end,
            },
            epoch,
            now_ms,
        ))
    }

    /// Gives every open shard the same share of the hash keys, as AWS does it: by splits and merges, which leave closed
    /// shards behind that never had a record. A shard that has the wanted range already is left alone.
    pub(super) fn scale_evenly(&mut self, count: usize, now_ms: i64) -> Result<(), KinesisError> {
        let wanted = HashKeyRange::even(count);
        self.cut_before(&wanted, now_ms)?;
        for target in &wanted {
            let within =
                |range: &HashKeyRange| range.start >= target.start && range.end <= target.end;
            let pieces = self
                .open_shards()
                .into_iter()
                .filter(|(_, range)| within(range));
            let mut pieces: Vec<ShardId> = pieces.map(|(id, _)| id).collect();
            // Neighbours pair by pair, so that the line of descent stays short.
            while pieces.len() > 1 {
                let mut merged = Vec::with_capacity(pieces.len().div_ceil(2));
                for pair in pieces.chunks(2) {
                    merged.push(match *pair {
                        [low, high] => self.merge(low, high, now_ms)?,
                        _ => pair[0], // proven: chunks are never empty.
                    });
                }
                pieces = merged;
            }
        }
        Ok(())
    }

    /// Makes a shard begin wherever one of `wanted` begins, cutting in the middle first for a short line of descent.
    fn cut_before(&mut self, wanted: &[HashKeyRange], now_ms: i64) -> Result<(), KinesisError> {
        let (low, rest) = wanted.split_at(wanted.len() / 2);
        let Some((middle, high)) = rest.split_first() else {
            return Ok(());
        };
        let shard = self.shard_for(middle.start)?;
        if shard.range.start != middle.start {
            let id = shard.id;
            self.split(id, middle.start, now_ms)?;
        }
        self.cut_before(low, now_ms)?;
        self.cut_before(high, now_ms)
    }

    fn open_range(&mut self, id: ShardId) -> Result<HashKeyRange, KinesisError> {
        let shard = self.shard(id)?;
        if !shard.is_open() {
            return Err(KinesisError::invalid(format!(
                "Shard {id} has been split or merged before and is closed."
            )));
        }
        Ok(shard.range)
    }

    /// Refuses on an on-demand stream, whose shards AWS alone changes.
    pub(super) fn check_provisioned(&self) -> Result<(), KinesisError> {
        match self.mode {
            StreamMode::Provisioned => Ok(()),
            StreamMode::OnDemand => Err(KinesisError::validation(format!(
                "Stream {} is on-demand: its shards cannot be changed by hand.",
                self.name
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ids::MAX_HASH_KEY, stream::Phase};
    use super::*;

    const HALF: u128 = 1 << 127;

    fn stream(shards: usize) -> Stream {
        Stream::new(
            "s",
            StreamMode::Provisioned,
            shards,
            0,
            Phase::Active,
            1_000,
        )
    }

    #[test]
    fn a_split_gives_two_children_of_one_parent() {
        let mut stream = stream(1);
        stream.split(ShardId(0), HALF, 1_000).unwrap();
        let children = stream.children(ShardId(0));
        assert_eq!(
            children.iter().map(|c| c.shard_id).collect::<Vec<_>>(),
            [ShardId(1), ShardId(2)]
        );
        assert!(children.iter().all(|c| c.parent_shards == [ShardId(0)]));
        assert_eq!(
            children[0].hash_key_range,
            HashKeyRange {
                start: 0,
                end: HALF - 1
            }
        );
        assert_eq!(
            children[1].hash_key_range,
            HashKeyRange {
                start: HALF,
                end: MAX_HASH_KEY
            }
        );
        let shards: Vec<_> = stream.shards().map(|s| s.describe()).collect();
        assert!(
            shards[0].ending_sequence_number.unwrap() < shards[1].starting_sequence_number,
            "in the same millisecond too"
        );
    }

    #[test]
    fn what_cannot_be_split() {
        let mut stream = stream(2);
        for at in [0, HALF, HALF + 1] {
            assert!(stream.split(ShardId(0), at, 1_000).is_err(), "{at}");
        }
        stream.split(ShardId(0), 1, 1_000).unwrap();
        assert!(stream.split(ShardId(0), 2, 1_000).is_err(), "closed");
        assert!(stream.split(ShardId(9), 2, 1_000).is_err(), "unknown");
        assert!(
            stream.split(ShardId(1), MAX_HASH_KEY, 1_000).is_ok(),
            "a range of one key"
        );
    }

    #[test]
    fn a_merge_gives_one_child_of_two_parents_in_the_order_asked() {
        let mut stream = stream(2);
        let child = stream.merge(ShardId(1), ShardId(0), 2_000).unwrap();
        for parent in [ShardId(0), ShardId(1)] {
            let children = stream.children(parent);
            assert_eq!(children.len(), 1);
            assert_eq!(children[0].parent_shards, [ShardId(1), ShardId(0)]);
            assert_eq!(
                children[0].hash_key_range,
                HashKeyRange {
                    start: 0,
                    end: MAX_HASH_KEY
                }
            );
        }
        assert_eq!(
            stream
                .open_shards()
                .iter()
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
            [child]
        );
    }

    #[test]
    fn what_cannot_be_merged() {
        let mut stream = stream(3);
        assert!(
            stream.merge(ShardId(0), ShardId(2), 1_000).is_err(),
            "not adjacent"
        );
        assert!(
            stream.merge(ShardId(0), ShardId(0), 1_000).is_err(),
            "itself"
        );
        assert!(
            stream.merge(ShardId(0), ShardId(7), 1_000).is_err(),
            "unknown"
        );
        stream.merge(ShardId(0), ShardId(1), 1_000).unwrap();
        assert!(
            stream.merge(ShardId(1), ShardId(2), 1_000).is_err(),
            "closed"
        );
    }

    #[test]
    fn even_counts_are_reached_from_any_count() {
        for (from, to) in [
            (1, 1),
            (1, 2),
            (2, 3),
            (3, 5),
            (5, 3),
            (4, 2),
            (7, 1),
            (1, 10),
        ] {
            let mut stream = stream(from);
            stream.scale_evenly(to, 1_000).unwrap();
            let ranges: Vec<_> = stream
                .open_shards()
                .into_iter()
                .map(|(_, range)| range)
                .collect();
            assert_eq!(ranges, HashKeyRange::even(to), "{from} -> {to}");
            for closed in stream.shards().filter(|s| !s.is_open()) {
                assert!(
                    !stream.children(closed.id).is_empty(),
                    "{from} -> {to}: {}",
                    closed.id
                );
            }
            let made_of_old = |s: &super::super::shard::Shard| s.origin.parent.is_some();
            assert_eq!(
                stream
                    .shards()
                    .filter(|s| s.id.0 >= from as u64)
                    .filter(|s| !made_of_old(s))
                    .count(),
                0
            );
        }
        let mut same = stream(4);
        same.scale_evenly(4, 1_000).unwrap();
        assert_eq!(
            same.shards().count(),
            4,
            "nothing to do leaves nothing behind"
        );
    }
}

//! One stream: its shards, its life-cycle, and what time trims away.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    consumers::Consumer,
    error::KinesisError,
    ids::{HashKeyRange, ShardId},
    options::{HOUR_MS, MIN_RETENTION_HOURS},
    shard::{ChildShard, Origin, Shard, ShardState},
};

/// How a stream's capacity is managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamMode {
    /// The owner chooses the shards.
    Provisioned,
    /// AWS chooses the shards; here they stay the four it begins with.
    OnDemand,
}

impl StreamMode {
    /// The mode's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// A stream's state as describing it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Not usable yet.
    Creating,
    /// Usable, and being resharded or reconfigured.
    Updating,
    /// Usable.
    Active,
    /// Not usable any more.
    Deleting,
}

impl StreamStatus {
    /// The status's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Updating => "UPDATING",
            Self::Active => "ACTIVE",
            Self::Deleting => "DELETING",
        }
    }
}

/// The life-cycle: a passing state knows when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Creating { until_ms: i64 },
    Active,
    Updating { until_ms: i64 },
    Deleting { until_ms: i64 },
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) mode: StreamMode,
    pub(super) incarnation: u32,
    pub(super) created_ms: i64,
    pub(super) retention_hours: i64,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) consumers: BTreeMap<String, Consumer>,
    pub(super) phase: Phase,
    /// Records that came before are gone, shards closed before are gone. Never moves back: a longer retention does not
    /// bring back what a shorter one trimmed.
    pub(super) horizon_ms: i64,
    shards: BTreeMap<ShardId, Shard>,
    /// Start of range → open shard.
    open: BTreeMap<u128, ShardId>,
    /// Closed shards in the order in which they will vanish.
    closed: BTreeSet<(i64, ShardId)>,
    /// When the newest shards were opened.
    pub(super) opened_ms: i64,
    next_shard: u64,
    last_epoch: u64,
}

impl Stream {
    pub(super) fn new(
        name: &str,
        mode: StreamMode,
        shard_count: usize,
        incarnation: u32,
        phase: Phase,
        now_ms: i64,
    ) -> Self {
        let mut stream = Self {
            name: name.to_owned(),
            mode,
            incarnation,
            created_ms: now_ms,
            retention_hours: MIN_RETENTION_HOURS,
            tags: BTreeMap::new(),
            consumers: BTreeMap::new(),
            phase,
            horizon_ms: now_ms,
            shards: BTreeMap::new(),
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            opened_ms: now_ms,
            next_shard: 0,
            last_epoch: 0,
        };
        let epoch = stream.next_epoch(now_ms);
        for range in HashKeyRange::even(shard_count) {
            stream.open_shard(
                Origin {
                    parent: None,
                    adjacent_parent: None,
                },
                range,
                epoch,
                now_ms,
            );
        }
        stream
    }

    /// Lets time pass: ends phases, trims, removes shards that nobody can read any more.
    pub(super) fn advance(&mut self, now_ms: i64) {
        self.phase = match self.phase {
            Phase::Creating { until_ms } | Phase::Updating { until_ms } if until_ms <= now_ms => {
                Phase::Active
            }
            Phase::Deleting { until_ms } if until_ms <= now_ms => Phase::Gone,
            phase => phase,
        };
        self.horizon_ms = self
            .horizon_ms
            .max(now_ms.saturating_sub(self.retention_hours * HOUR_MS));
        while let Some(&(closed_ms, id)) = self
            .closed
            .first()
            .filter(|(closed_ms, _)| *closed_ms < self.horizon_ms)
        {
            self.closed.remove(&(closed_ms, id));
            self.shards.remove(&id);
        }
    }

    pub(super) fn status(&self) -> StreamStatus {
        match self.phase {
            Phase::Creating { .. } => StreamStatus::Creating,
            Phase::Active => StreamStatus::Active,
            Phase::Updating { .. } => StreamStatus::Updating,
            Phase::Deleting { .. } | Phase::Gone => StreamStatus::Deleting,
        }
    }

    /// Whether records may be written and read.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Updating { .. })
    }

    /// Refuses unless the stream is ACTIVE, as operations do that change the stream itself.
    pub(super) fn check_active(&self) -> Result<(), KinesisError> {
        match self.phase {
            Phase::Active => Ok(()),
            _ => Err(KinesisError::in_use(format!(
                "Stream {} is {}, not ACTIVE: try again when it is.",
                self.name,
                self.status().name()
            ))),
        }
    }

    /// Begins UPDATING for `transition_ms`.
    pub(super) fn begin_update(&mut self, transition_ms: i64, now_ms: i64) {
        self.phase = match transition_ms {
            ..=0 => Phase::Active,
            _ => Phase::Updating {
                until_ms: now_ms.saturating_add(transition_ms),
            },
        };
    }

    /// All shards that are not yet wholly trimmed, by id.
    pub(super) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values()
    }

    /// Shards after `id`, by id.
    pub(super) fn shards_after(&self, id: ShardId) -> impl Iterator<Item = &Shard> {
        self.shards
            .range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded))
            .map(|(_, shard)| shard)
    }

    /// The shard, with what is older than the trim horizon taken away.
    pub(super) fn shard(&mut self, id: ShardId) -> Result<&mut Shard, KinesisError> {
        let horizon_ms = self.horizon_ms;
        match self.shards.get_mut(&id) {
            Some(shard) => {
                shard.trim(horizon_ms);
                Ok(shard)
            }
            None => Err(KinesisError::not_found(format!(
                "Stream {} has no shard {id} (any more): see ListShards for those it has.",
                self.name
            ))),
        }
    }

    /// The open shard that takes records of this hash key.
    pub(super) fn shard_for(&mut self, hash_key: u128) -> Result<&mut Shard, KinesisError> {
        let id = self.open.range(..=hash_key).next_back().map(|(_, &id)| id);
        match id {
            Some(id) => self.shard(id),
            None => Err(KinesisError::new(
                super::error::ErrorKind::InternalFailure,
                format!(
                    "No open shard of stream {} covers hash key {hash_key}.",
                    self.name
                ),
            )),
        }
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Open shards in the order of their hash keys.
    pub(super) fn open_shards(&self) -> Vec<(ShardId, HashKeyRange)> {
        self.open
            .values()
            .filter_map(|id| self.shards.get(id))
            .map(|shard| (shard.id, shard.range))
            .collect()
    }

    /// Epochs grow with every resharding even when the clock does not, so that children's sequence numbers lie above
    /// their parents'.
    pub(super) fn next_epoch(&mut self, now_ms: i64) -> u64 {
        self.last_epoch = u64::try_from(now_ms).unwrap_or(0).max(self.last_epoch + 1);
        self.last_epoch
    }

    /// The instant of a resharding of these shards: now, or a moment later if one of them has lived or taken a record this
    /// very millisecond. Without that, whoever lists the shards open at that millisecond would miss the record.
    pub(super) fn reshard_ms(&mut self, parents: &[ShardId], now_ms: i64) -> i64 {
        let earliest = parents
            .iter()
            .filter_map(|id| self.shards.get(id))
            .map(Shard::may_close_at)
            .max();
        let at_ms = earliest.map_or(now_ms, |earliest| earliest.max(now_ms));
        self.opened_ms = self.opened_ms.max(at_ms);
        at_ms
    }

    pub(super) fn open_shard(
        &mut self,
        origin: Origin,
        range: HashKeyRange,
        epoch: u64,
        now_ms: i64,
    ) -> ShardId {
        let id = ShardId(self.next_shard);
        self.next_shard += 1;
        self.shards.insert(
            id,
            Shard::new(id, origin, range, epoch, self.incarnation, now_ms),
        );
        self.open.insert(range.start, id);
        for parent in [origin.parent, origin.adjacent_parent]
            .into_iter()
            .flatten()
        {
            if let Some(parent) = self.shards.get_mut(&parent) {
                parent.add_child(id);
            }
        }
        id
    }

    pub(super) fn close_shard(&mut self, id: ShardId, now_ms: i64) {
        if let Some(shard) = self.shards.get_mut(&id).filter(|shard| shard.is_open()) {
            self.open.remove(&shard.range.start);
            self.closed.insert((now_ms, id));
            shard.close(now_ms);
        }
    }

    /// Children of a closed shard; none for an open one.
    pub(super) fn children(&self, id: ShardId) -> Vec<ChildShard> {
        let Some(ShardState::Closed { children, .. }) =
            self.shards.get(&id).map(|shard| &shard.state)
        else {
            return Vec::new();
        };
        // Children are closed later than their parent, hence still here while it is.
        let children = children.iter().filter_map(|child| self.shards.get(child));
        children
            .map(|child| ChildShard {
                shard_id: child.id,
                parent_shards: [child.origin.parent, child.origin.adjacent_parent]
                    .into_iter()
                    .flatten()
                    .collect(),
                hash_key_range: child.range,
            })
            .collect()
    }
}

//! `ListShards`, and the operations that change a stream's shards.

use serde::{Deserialize, Serialize};

use super::{
    describe::{check_token_age, page, page_size},
    engine::Kinesis,
    error::KinesisError,
    faults::Operation,
    ids::ShardId,
    shard::{Shard, ShardDescription},
    token::{self, ShardsToken},
};

/// Which shards to list, in AWS's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFilter {
    /// Those after the given one.
    AfterShardId(ShardId),
    /// Those that were open at the trim horizon.
    AtTrimHorizon,
    /// All that still have something in retention.
    FromTrimHorizon,
    /// The open ones.
    AtLatest,
    /// Those that were open at an instant, epoch milliseconds.
    AtTimestamp(i64),
    /// Those that were open at an instant or later, epoch milliseconds.
    FromTimestamp(i64),
}

/// A filter whose instant is fixed; travels in page tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Resolved {
    All,
    Open,
    OpenAt(i64),
    OpenSince(i64),
}

impl Resolved {
    /// A shard counts as open from its creation up to, but not including, its closing: so the shards open at any instant
    /// tile the hash keys, as KCL insists (`leases.md E.1`), also at the very millisecond of a resharding.
    fn admits(self, shard: &Shard) -> bool {
        match self {
            Self::All => true,
            Self::Open => shard.is_open(),
            Self::OpenAt(at_ms) => {
                shard.created_ms <= at_ms && shard.closed_ms().is_none_or(|closed| at_ms < closed)
            }
            Self::OpenSince(at_ms) => shard.closed_ms().is_none_or(|closed| at_ms <= closed),
        }
    }
}

/// What a `ListShards` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardQuery<'a> {
    /// The first page.
    Of {
        /// Name or ARN.
        stream: &'a str,
        /// List only shards after this one.
        exclusive_start: Option<ShardId>,
        /// Which of them; by default all.
        filter: Option<ShardFilter>,
    },
    /// A further page, by the token of the one before.
    Next(&'a str),
}

/// Part of a list of shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPage {
    /// The shards, by id.
    pub shards: Vec<ShardDescription>,
    /// Set if there are more.
    pub next_token: Option<String>,
}

impl Kinesis {
    /// `ListShards`. `max_results` is 1 to 10,000, by default 1,000.
    ///
    /// An instant before the trim horizon counts as the trim horizon.
    /// Errors: ResourceNotFound; ResourceInUse (neither ACTIVE nor UPDATING); InvalidArgument (the token);
    /// ExpiredNextToken; Validation.
    pub fn list_shards(
        &mut self,
        query: ShardQuery<'_>,
        max_results: Option<usize>,
        now_ms: i64,
    ) -> Result<ShardPage, KinesisError> {
        let now_ms = self.enter(Operation::ListShards, now_ms)?;
        let size = page_size("MaxResults", max_results, 1_000, 10_000)?;
        let seed = self.options.seed;
        let (stream, after, filter) = match query {
            ShardQuery::Next(text) => {
                let token: ShardsToken = token::open(seed, text).ok_or_else(|| {
                    KinesisError::invalid("The NextToken is not one of ListShards.")
                })?;
                check_token_age(token.issued_ms, now_ms)?;
                (
                    self.same_stream(&token.stream, token.incarnation)?,
                    Some(token.after),
                    token.filter,
                )
            }
            ShardQuery::Of {
                stream,
                exclusive_start,
                filter,
            } => {
                let stream = self.stream(stream)?;
                if !stream.is_usable() {
                    let (name, status) = (&stream.name, stream.status().name());
                    return Err(KinesisError::in_use(format!(
                        "Stream {name} is {status}: its shards cannot be listed."
                    )));
                }
                let horizon_ms = stream.horizon_ms;
                let (after, filter) = match filter.unwrap_or(ShardFilter::FromTrimHorizon) {
                    ShardFilter::AfterShardId(id) => (Some(id), Resolved::All),
                    ShardFilter::FromTrimHorizon => (None, Resolved::All),
                    ShardFilter::AtLatest => (None, Resolved::Open),
                    ShardFilter::AtTrimHorizon => (None, Resolved::OpenAt(horizon_ms)),
                    ShardFilter::AtTimestamp(at_ms) => {
                        (None, Resolved::OpenAt(at_ms.max(horizon_ms)))
                    }
                    ShardFilter::FromTimestamp(at_ms) => {
                        (None, Resolved::OpenSince(at_ms.max(horizon_ms)))
                    }
                };
                (stream, after.max(exclusive_start), filter)
            }
        };
        let admitted = |shard: &&Shard| filter.admits(shard);
        let (shards, has_more) = match after {
            None => page(stream.shards().filter(admitted).map(Shard::describe), size),
            Some(after) => page(
                stream
                    .shards_after(after)
                    .filter(admitted)
                    .map(Shard::describe),
                size,
            ),
        };
        let (stream, incarnation) = (stream.name.clone(), stream.incarnation);
        let next_token = shards.last().filter(|_| has_more).map(|last| {
            token::seal(
                seed,
                &ShardsToken {
                    stream,
                    incarnation,
                    after: last.shard_id,
                    filter,
                    issued_ms: now_ms,
                },
            )
        });
        Ok(ShardPage { shards, next_token })
    }

    /// `SplitShard` at the first hash key of the second child.
    /// Errors: ResourceNotFound, ResourceInUse, InvalidArgument, LimitExceeded, Validation (on-demand).
    pub fn split_shard(
        &mut self,
        stream: &str,
        shard: ShardId,
        at: u128,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        let now_ms = self.enter(Operation::SplitShard, now_ms)?;
        let name = self.reshardable(stream)?;
        self.check_shard_limit(1)?;
        let transition_ms = self.options.transition_ms;
        let stream = self.stream(&name)?;
        stream.split(shard, at, now_ms)?;
        stream.begin_update(transition_ms, now_ms);
        let opened_ms = stream.opened_ms;
        self.tick(opened_ms);
        Ok(())
    }

    /// `MergeShards`. Errors: as [`Self::split_shard`].
    pub fn merge_shards(
        &mut self,
        stream: &str,
        shard: ShardId,
        adjacent: ShardId,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        let now_ms = self.enter(Operation::MergeShards, now_ms)?;
        let name = self.reshardable(stream)?;
        let transition_ms = self.options.transition_ms;
        let stream = self.stream(&name)?;
        stream.merge(shard, adjacent, now_ms)?;
        stream.begin_update(transition_ms, now_ms);
        let opened_ms = stream.opened_ms;
        self.tick(opened_ms);
        Ok(())
    }

    /// `UpdateShardCount` with uniform scaling; returns the count before.
    ///
    /// With enforced limits more than double or less than half the count is refused, as AWS does.
    /// Errors: ResourceNotFound, ResourceInUse, InvalidArgument, LimitExceeded, Validation.
    pub fn update_shard_count(
        &mut self,
        stream: &str,
        target: usize,
        now_ms: i64,
    ) -> Result<usize, KinesisError> {
        let now_ms = self.enter(Operation::UpdateShardCount, now_ms)?;
        let name = self.reshardable(stream)?;
        let current = self.stream(&name)?.open_count();
        if target == 0 {
            return Err(KinesisError::validation(
                "TargetShardCount must be 1 or more.",
            ));
        }
        if self.options.enforce_limits && (target > current * 2 || target * 2 < current) {
            return Err(KinesisError::invalid(format!(
                "Stream {name} cannot go from {current} to {target} shards in one step: at most double, at least half."
            )));
        }
        self.check_shard_limit(target.saturating_sub(current))?;
        let transition_ms = self.options.transition_ms;
        let stream = self.stream(&name)?;
        stream.scale_evenly(target, now_ms)?;
        stream.begin_update(transition_ms, now_ms);
        let opened_ms = stream.opened_ms;
        self.tick(opened_ms);
        Ok(current)
    }

    /// The stream's name, if its shards may be changed now.
    fn reshardable(&mut self, stream: &str) -> Result<String, KinesisError> {
        let stream = self.stream(stream)?;
        stream.check_active()?;
        stream.check_provisioned()?;
        Ok(stream.name.clone())
    }
}

//! Describing and listing streams; account limits, tags, retention.

use std::collections::BTreeMap;

use super::{
    engine::{Kinesis, is_fresh},
    error::{ErrorKind, KinesisError},
    faults::Operation,
    ids::ShardId,
    options::{MAX_RETENTION_HOURS, MAX_TAGS, MIN_RETENTION_HOURS},
    shard::{Shard, ShardDescription},
    stream::{Stream, StreamMode, StreamStatus},
    token::{self, NamesToken},
};

/// A stream without its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// The stream's name.
    pub name: String,
    /// The stream's ARN.
    pub arn: String,
    /// Its state.
    pub status: StreamStatus,
    /// Who manages its shards.
    pub mode: StreamMode,
    /// How long records are kept.
    pub retention_hours: i64,
    /// When it was made, epoch milliseconds.
    pub created_ms: i64,
    /// How many shards take records.
    pub open_shards: usize,
    /// How many consumers are registered.
    pub consumers: usize,
}

/// Part of a list of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// The streams, by name.
    pub streams: Vec<StreamDescription>,
    /// Set if there are more.
    pub next_token: Option<String>,
}

/// Part of the tags of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPage {
    /// The tags, by key.
    pub tags: Vec<(String, String)>,
    /// Whether there are more after the last key.
    pub has_more: bool,
}

/// The account's limits and what is used of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most open shards of provisioned streams.
    pub shard_limit: usize,
    /// Open shards of provisioned streams.
    pub open_shards: usize,
    /// On-demand streams.
    pub on_demand_streams: usize,
    /// Most on-demand streams.
    pub on_demand_stream_limit: usize,
}

/// AWS's default quota; nothing here enforces it.
const ON_DEMAND_STREAM_LIMIT: usize = 50;

impl Kinesis {
    /// `DescribeStreamSummary`. Errors: ResourceNotFound.
    pub fn describe_stream_summary(
        &mut self,
        stream: &str,
        now_ms: i64,
    ) -> Result<StreamDescription, KinesisError> {
        self.enter(Operation::DescribeStreamSummary, now_ms)?;
        let name = self.stream(stream)?.name.clone();
        self.description(&name)
    }

    /// `DescribeStream`: the stream, its shards after `exclusive_start` (none while CREATING), and whether there are more.
    /// `limit` is 1 to 10,000, by default 100. Errors: ResourceNotFound, Validation.
    pub fn describe_stream(
        &mut self,
        stream: &str,
        exclusive_start: Option<ShardId>,
        limit: Option<usize>,
        now_ms: i64,
    ) -> Result<(StreamDescription, Vec<ShardDescription>, bool), KinesisError> {
        self.enter(Operation::DescribeStream, now_ms)?;
        let limit = page_size("Limit", limit, 100, 10_000)?;
        let stream = self.stream(stream)?;
        let (shards, has_more) = match (stream.is_usable(), exclusive_start) {
            (false, _) => (Vec::new(), false),
            (true, None) => page(stream.shards().map(Shard::describe), limit),
            (true, Some(after)) => page(stream.shards_after(after).map(Shard::describe), limit),
        };
        let name = stream.name.clone();
        Ok((self.description(&name)?, shards, has_more))
    }

    /// `ListStreams`, after `exclusive_start` or from where `next_token` left off. `limit` is 1 to 10,000, by default 100.
    /// Errors: Validation, InvalidArgument (the token), ExpiredNextToken.
    pub fn list_streams(
        &mut self,
        exclusive_start: Option<&str>,
        next_token: Option<&str>,
        limit: Option<usize>,
        now_ms: i64,
    ) -> Result<StreamPage, KinesisError> {
        let now_ms = self.enter(Operation::ListStreams, now_ms)?;
        let limit = page_size("Limit", limit, 100, 10_000)?;
        self.forget_gone(now_ms);
        let after = match next_token {
            Some(text) => Some(self.open_names_token("", text)?),
            None => exclusive_start.map(str::to_owned),
        };
        let later = self
            .streams
            .keys()
            .filter(|name| after.as_ref().is_none_or(|after| *name > after));
        let (names, has_more) = page(later.cloned(), limit);
        let next_token = names
            .last()
            .filter(|_| has_more)
            .map(|last| self.seal_names_token("", last));
        let streams = names
            .iter()
            .map(|name| self.description(name))
            .collect::<Result<_, _>>()?;
        Ok(StreamPage {
            streams,
            next_token,
        })
    }

    /// `DescribeLimits`.
    pub fn describe_limits(&mut self, now_ms: i64) -> Result<Limits, KinesisError> {
        let now_ms = self.enter(Operation::DescribeLimits, now_ms)?;
        self.forget_gone(now_ms);
        Ok(Limits {
            shard_limit: self.options.shard_limit,
            open_shards: self.open_provisioned_shards(),
            on_demand_streams: self
                .streams
                .values()
                .filter(|stream| stream.mode == StreamMode::OnDemand)
                .count(),
            on_demand_stream_limit: ON_DEMAND_STREAM_LIMIT,
        })
    }

    /// `IncreaseStreamRetentionPeriod`; what is trimmed already does not come back.
    /// Errors: InvalidArgument (shorter than now, or over 8,760 hours), ResourceInUse, ResourceNotFound.
    pub fn increase_retention(
        &mut self,
        stream: &str,
        hours: i64,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        self.set_retention(
            Operation::IncreaseStreamRetentionPeriod,
            stream,
            hours,
            now_ms,
            |hours, now| hours >= now,
        )
    }

    /// `DecreaseStreamRetentionPeriod`; records older than the new period are gone at once.
    /// Errors: InvalidArgument (longer than now, or under 24 hours), ResourceInUse, ResourceNotFound.
    pub fn decrease_retention(
        &mut self,
        stream: &str,
        hours: i64,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        self.set_retention(
            Operation::DecreaseStreamRetentionPeriod,
            stream,
            hours,
            now_ms,
            |hours, now| hours <= now,
        )
    }

    fn set_retention(
        &mut self,
        operation: Operation,
        stream: &str,
        hours: i64,
        now_ms: i64,
        right_way: fn(i64, i64) -> bool,
    ) -> Result<(), KinesisError> {
        let now_ms = self.enter(operation, now_ms)?;
        let transition_ms = self.options.transition_ms;
        let stream = self.stream(stream)?;
        stream.check_active()?;
        let current = stream.retention_hours;
        if !(MIN_RETENTION_HOURS..=MAX_RETENTION_HOURS).contains(&hours)
            || !right_way(hours, current)
        {
            return Err(KinesisError::invalid(format!(
                "{} cannot take stream {} from {current} to {hours} hours: the period is 24 to 8760 hours.",
                operation.name(),
                stream.name
            )));
        }
        stream.retention_hours = hours;
        stream.begin_update(transition_ms, now_ms);
        Ok(())
    }

    /// `AddTagsToStream`. Errors: Validation (lengths), LimitExceeded (50 tags), ResourceNotFound.
    pub fn add_tags(
        &mut self,
        stream: &str,
        tags: &BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        self.enter(Operation::AddTagsToStream, now_ms)?;
        self.put_tags(stream, tags)
    }

    /// The part of adding tags that `CreateStream` shares.
    pub(super) fn put_tags(
        &mut self,
        stream: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), KinesisError> {
        check_tags(tags)?;
        let stream = self.stream(stream)?;
        let fresh = tags
            .keys()
            .filter(|key| !stream.tags.contains_key(*key))
            .count();
        if stream.tags.len() + fresh > MAX_TAGS {
            return Err(KinesisError::limit(format!(
                "Stream {} would have more than {MAX_TAGS} tags.",
                stream.name
            )));
        }
        stream
            .tags
            .extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(())
    }

    /// `ListTagsForStream`, after `exclusive_start`; `limit` is 1 to 50. Errors: Validation, ResourceNotFound.
    pub fn list_tags(
        &mut self,
        stream: &str,
        exclusive_start: Option<&str>,
        limit: Option<usize>,
        now_ms: i64,
    ) -> Result<TagPage, KinesisError> {
        self.enter(Operation::ListTagsForStream, now_ms)?;
        let limit = page_size("Limit", limit, MAX_TAGS, MAX_TAGS)?;
        let stream = self.stream(stream)?;
        let later = stream
            .tags
            .iter()
            .filter(|(key, _)| exclusive_start.is_none_or(|after| key.as_str() > after));
        let (tags, has_more) = page(
            later.map(|(key, value)| (key.clone(), value.clone())),
            limit,
        );
        Ok(TagPage { tags, has_more })
    }

    /// `RemoveTagsFromStream`; keys that are not there do no harm. Errors: ResourceNotFound.
    pub fn remove_tags(
        &mut self,
        stream: &str,
        keys: &[String],
        now_ms: i64,
    ) -> Result<(), KinesisError> {
        self.enter(Operation::RemoveTagsFromStream, now_ms)?;
        let stream = self.stream(stream)?;
        stream.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn description(&mut self, name: &str) -> Result<StreamDescription, KinesisError> {
        let arn = self.stream_arn(name);
        let stream: &Stream = self.stream(name)?;
        Ok(StreamDescription {
            name: stream.name.clone(),
            arn,
            status: stream.status(),
            mode: stream.mode,
            retention_hours: stream.retention_hours,
            created_ms: stream.created_ms,
            open_shards: if stream.is_usable() {
                stream.open_count()
            } else {
                0
            },
            consumers: stream.consumers.len(),
        })
    }

    pub(super) fn seal_names_token(&self, of: &str, after: &str) -> String {
        let token = NamesToken {
            of: of.to_owned(),
            after: after.to_owned(),
            issued_ms: self.clock_ms,
        };
        token::seal(self.options.seed, &token)
    }

    /// The name after which a listing of `of` goes on.
    pub(super) fn open_names_token(&self, of: &str, text: &str) -> Result<String, KinesisError> {
        let token: NamesToken = token::open(self.options.seed, text)
            .filter(|token: &NamesToken| token.of == of)
            .ok_or_else(|| {
                KinesisError::invalid("The NextToken is not one that this listing gave.")
            })?;
        check_token_age(token.issued_ms, self.clock_ms)?;
        Ok(token.after)
    }
}

/// Refuses a page token older than five minutes.
pub(super) fn check_token_age(issued_ms: i64, now_ms: i64) -> Result<(), KinesisError> {
    match is_fresh(issued_ms, now_ms) {
        true => Ok(()),
        false => Err(KinesisError::new(
            ErrorKind::ExpiredNextToken,
            "The NextToken is older than 300 seconds: list again.",
        )),
    }
}

/// Refuses tags whose keys or values have the wrong length.
pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), KinesisError> {
    let fits = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if tags.len() > MAX_TAGS || !tags.iter().all(fits) {
        return Err(KinesisError::validation(
            "Tags: at most 50, keys of 1 to 128 and values of 0 to 256 characters.",
        ));
    }
    Ok(())
}

/// The size of a page asked for, or `default`; Validation outside of 1 to `max`.
pub(super) fn page_size(
    what: &str,
    asked: Option<usize>,
    default: usize,
    max: usize,
) -> Result<usize, KinesisError> {
    match asked {
        None => Ok(default),
        Some(size) if (1..=max).contains(&size) => Ok(size),
        Some(size) => Err(KinesisError::validation(format!(
            "{what} is {size}: it must be 1 to {max}."
        ))),
    }
}

/// The first `size` of `items`, and whether there are more.
pub(super) fn page<T>(mut items: impl Iterator<Item = T>, size: usize) -> (Vec<T>, bool) {
    let page: Vec<T> = items.by_ref().take(size).collect();
    (page, items.next().is_some())
}

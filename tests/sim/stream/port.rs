//! `Stream` over the simulated stream.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::SequenceNumber;
use kcl_daemon::core::stream::{ChildShard, IteratorStart, Record, Shard, ShardFilter};
use kcl_daemon::local::kinesis::{self, ErrorKind, KinesisError, Position};
use kcl_daemon::ports::{
    RecordsPage, ShardIterator, Stream, StreamError, StreamErrorKind, StreamSummary,
};
use tokio::sync::oneshot;

use super::source::{STREAM, Source, engine_id, sequence};
use crate::trace::{Mishap, What};
use crate::weather::StreamWeather;
use crate::world::{Process, Rng, S, Time, World};

/// How long a caller waits for an answer.
const TIMEOUT: Time = 10 * S;

/// The stream as one process reaches it.
pub struct SimStream {
    world: Arc<World>,
    process: Arc<Process>,
}

fn error(kind: StreamErrorKind, message: &str) -> StreamError {
    StreamError {
        kind,
        message: message.to_owned(),
    }
}

fn from_engine(cause: &KinesisError, bad_argument: StreamErrorKind) -> StreamError {
    let kind = match cause.kind {
        ErrorKind::ExpiredIterator => StreamErrorKind::Expired,
        ErrorKind::ResourceNotFound => StreamErrorKind::Gone,
        ErrorKind::ProvisionedThroughputExceeded | ErrorKind::LimitExceeded => {
            StreamErrorKind::SlowDown
        }
        ErrorKind::InvalidArgument => bad_argument,
        _ => StreamErrorKind::Retry,
    };
    error(kind, &cause.message)
}

impl SimStream {
    pub fn new(world: &Arc<World>, process: &Arc<Process>) -> Self {
        Self {
            world: Arc::clone(world),
            process: Arc::clone(process),
        }
    }

    /// Lets `work` happen at the service, and waits for what comes of it.
    pub async fn request<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Source, &StreamWeather, &mut Rng, i64) -> Result<T, StreamError>
        + Send
        + 'static,
    ) -> Result<T, StreamError> {
        let (acts, dies) = self.process.act();
        let answer = acts.then(|| self.send(work));
        if dies {
            self.world.die_of_fate(&self.process);
        }
        match answer {
            Some(answer) => match answer.await {
                Ok(answer) => answer,
                // The process is dead.
                Err(_closed) => pending().await,
            },
            None => pending().await,
        }
    }

    fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Source, &StreamWeather, &mut Rng, i64) -> Result<T, StreamError>
        + Send
        + 'static,
    ) -> oneshot::Receiver<Result<T, StreamError>> {
        let (sender, receiver) = oneshot::channel();
        let weather = self.world.weather();
        let weather = &weather.stream;
        let mut rng = self.world.rng();
        let to = rng.mostly_low(1_000, weather.latency);
        let back = rng.mostly_low(1_000, weather.latency);
        let process = Arc::clone(&self.process);
        let no_answer = || (TIMEOUT, error(StreamErrorKind::Retry, "no answer"));
        let failure = if weather.down {
            Some((Mishap::StreamDown, no_answer()))
        } else if rng.chance(weather.hanging) {
            Some((Mishap::StreamHangs, no_answer()))
        } else if rng.chance(weather.throttled) {
            let error = error(StreamErrorKind::SlowDown, "throttled");
            Some((Mishap::StreamThrottles, (back, error)))
        } else if rng.chance(weather.failing) {
            let error = error(StreamErrorKind::Retry, "failed");
            Some((Mishap::StreamFails, (back, error)))
        } else {
            None
        };
        if let Some((mishap, (delay, error))) = failure {
            self.world.note_by(&process, What::Mishap(mishap));
            self.world.after_for(&process, delay, move |_| {
                let _ = sender.send(Err(error));
            });
            return receiver;
        }
        self.world.after(to, move |world| {
            let now_ms = world.wall_ms();
            let weather = world.weather().stream.clone();
            let answer = work(&mut world.source(), &weather, &mut world.rng(), now_ms);
            world.after_for(&process, back, move |_| {
                let _ = sender.send(answer);
            });
        });
        receiver
    }
}

/// What a list of shards may look like while shards change.
fn distort(
    shards: Vec<Shard>,
    source: &Source,
    weather: &StreamWeather,
    rng: &mut Rng,
    filter: ShardFilter,
) -> (Vec<Shard>, Option<Mishap>) {
    if filter == ShardFilter::All && rng.chance(weather.stale_list) {
        return (source.before_reshard().to_vec(), Some(Mishap::ListStale));
    }
    if rng.chance(weather.short_list) {
        let kept = usize::try_from(rng.below(shards.len() as u64)).unwrap_or(0);
        return (shards[..kept].to_vec(), Some(Mishap::ListShort));
    }
    if rng.chance(weather.open_parent) {
        let mut shards = shards;
        if let Some(closed) = shards.iter_mut().rev().find(|shard| shard.closed) {
            closed.closed = false;
            return (shards, Some(Mishap::ListOpenParent));
        }
        return (shards, None);
    }
    (shards, None)
}

fn from_record(record: &kinesis::Record) -> Record {
    Record {
        sequence_number: sequence(record.sequence_number),
        partition_key: record.partition_key.to_string(),
        data: Bytes::copy_from_slice(&record.data),
        arrival_millis: record.arrival_ms,
    }
}

#[async_trait]
impl Stream for SimStream {
    fn name(&self) -> &str {
        STREAM
    }

    async fn describe(&self) -> Result<StreamSummary, StreamError> {
        self.request(|source, _, _, now_ms| {
            let summary = source
                .engine
                .describe_stream_summary(STREAM, now_ms)
                .map_err(|cause| from_engine(&cause, StreamErrorKind::Fatal))?;
            Ok(StreamSummary {
                arn: summary.arn,
                readable: matches!(summary.status.name(), "ACTIVE" | "UPDATING"),
                status: summary.status.name().to_owned(),
            })
        })
        .await
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        let (shards, wrong) = self
            .request(move |source, weather, rng, now_ms| {
                let shards = source
                    .list(filter, now_ms)
                    .map_err(|cause| from_engine(&cause, StreamErrorKind::Fatal))?;
                Ok(distort(shards, source, weather, rng, filter))
            })
            .await?;
        let listed = What::Listed {
            shards: shards.len(),
            wrong: wrong.map(Mishap::text),
        };
        if let Some(wrong) = wrong {
            self.world.note_by(&self.process, What::Mishap(wrong));
        }
        self.world.note_by(&self.process, listed);
        Ok(shards)
    }

    async fn iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Option<ShardIterator>, StreamError> {
        let text = |number: &SequenceNumber| number.as_str().to_owned();
        let position = match start {
            IteratorStart::Latest => Position::Latest,
            IteratorStart::TrimHorizon => Position::TrimHorizon,
            IteratorStart::AtTimestamp(at) => Position::AtTimestamp(*at),
            IteratorStart::AtSequenceNumber(number) => Position::AtSequenceNumber(text(number)),
            IteratorStart::AfterSequenceNumber(number) => {
                Position::AfterSequenceNumber(text(number))
            }
        };
        let id = engine_id(shard);
        let iterator = self
            .request(move |source, _, _, now_ms| {
                source
                    .engine
                    .get_shard_iterator(STREAM, id, &position, now_ms)
                    .map_err(|cause| from_engine(&cause, StreamErrorKind::InvalidPosition))
            })
            .await?;
        if *start == IteratorStart::Latest {
            let shard = shard.clone();
            self.world
                .note_by(&self.process, What::ReadsFromLatest { shard });
        }
        Ok(Some(ShardIterator(iterator)))
    }

    async fn get_records(
        &self,
        _: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
    ) -> Result<RecordsPage, StreamError> {
        let iterator = iterator.0.clone();
        let page = self
            .request(move |source, weather, rng, now_ms| {
                Ok(read(source, weather, rng, &iterator, limit, now_ms))
            })
            .await?;
        for mishap in page.1 {
            self.world.note_by(&self.process, What::Mishap(mishap));
        }
        page.0
    }
}

/// A page, and what is wrong with it.
fn read(
    source: &mut Source,
    weather: &StreamWeather,
    rng: &mut Rng,
    iterator: &str,
    limit: u32,
    now_ms: i64,
) -> (Result<RecordsPage, StreamError>, Vec<Mishap>) {
    if rng.chance(weather.expired) {
        let error = error(StreamErrorKind::Expired, "too old");
        return (Err(error), vec![Mishap::IteratorExpired]);
    }
    let (empty, no_children) = (
        rng.chance(weather.empty_page),
        rng.chance(weather.no_children),
    );
    source.engine.faults.empty_reads = u32::from(empty);
    source.engine.faults.omit_child_shards = no_children;
    let page = source
        .engine
        .get_records(iterator, Some(limit as usize), None, now_ms)
        .map_err(|cause| from_engine(&cause, StreamErrorKind::Expired));
    let page = page.map(|page| RecordsPage {
        records: page.records.iter().map(from_record).collect(),
        next: page.next_iterator.map(ShardIterator),
        millis_behind_latest: Some(page.millis_behind_latest),
        children: page.child_shards.iter().map(from_child).collect(),
    });
    let is_end = page.as_ref().is_ok_and(|page| page.next.is_none());
    let mishaps = [
        (empty && page.is_ok(), Mishap::EmptyPage),
        (no_children && is_end, Mishap::NoChildShards),
    ];
    let mishaps = mishaps.into_iter().filter(|(is, _)| *is);
    (page, mishaps.map(|(_, mishap)| mishap).collect())
}

fn from_child(child: &kinesis::ChildShard) -> ChildShard {
    ChildShard {
        id: ShardId::new(child.shard_id.to_string()),
        parents: child
            .parent_shards
            .iter()
            .map(|id| ShardId::new(id.to_string()))
            .collect(),
        hash_range: HashRange {
            start: child.hash_key_range.start,
            end: child.hash_key_range.end,
        },
    }
}

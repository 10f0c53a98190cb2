//! `Stream` over the simulated stream.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use kcl_daemon::core::ids::ShardId;
use kcl_daemon::core::sequence::SequenceNumber;
use kcl_daemon::core::stream::{ChildShard, IteratorStart, Record, Shard, ShardFilter};
use kcl_daemon::local::kinesis::{self, ErrorKind, KinesisError, Position};
use kcl_daemon::ports::{
    RecordsPage, ShardIterator, Stream, StreamError, StreamErrorKind, StreamSummary,
};
use tokio::sync::oneshot;

use super::source::{STREAM, Source, engine_id, sequence};
use crate::trace::What;
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
            self.world.kill(&self.process);
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
        let failure = if weather.down || rng.chance(weather.hanging) {
            Some((TIMEOUT, error(StreamErrorKind::Retry, "no answer")))
        } else if rng.chance(weather.throttled) {
            Some((back, error(StreamErrorKind::SlowDown, "throttled")))
        } else if rng.chance(weather.failing) {
            Some((back, error(StreamErrorKind::Retry, "failed")))
        } else {
            None
        };
        if let Some((delay, error)) = failure {
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
) -> (Vec<Shard>, Option<&'static str>) {
    if filter == ShardFilter::All && rng.chance(weather.stale_list) {
        return (
            source.before_reshard().to_vec(),
            Some("of before the last reshard"),
        );
    }
    if rng.chance(weather.short_list) {
        let kept = usize::try_from(rng.below(shards.len() as u64)).unwrap_or(0);
        return (shards[..kept].to_vec(), Some("its last shards are missing"));
    }
    if rng.chance(weather.open_parent) {
        let mut shards = shards;
        if let Some(closed) = shards.iter_mut().rev().find(|shard| shard.closed) {
            closed.closed = false;
            return (shards, Some("a closed parent is shown as open"));
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
            wrong,
        };
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
        self.request(move |source, weather, rng, now_ms| {
            if rng.chance(weather.expired) {
                return Err(error(StreamErrorKind::Expired, "too old"));
            }
            source.engine.faults.empty_reads = u32::from(rng.chance(weather.empty_page));
            source.engine.faults.omit_child_shards = rng.chance(weather.no_children);
            let page = source
                .engine
                .get_records(&iterator, Some(limit as usize), None, now_ms)
                .map_err(|cause| from_engine(&cause, StreamErrorKind::Expired))?;
            Ok(RecordsPage {
                records: page.records.iter().map(from_record).collect(),
                next: page.next_iterator.map(ShardIterator),
                millis_behind_latest: Some(page.millis_behind_latest),
                children: page
                    .child_shards
                    .iter()
                    .map(|child| ChildShard {
                        id: ShardId::new(child.shard_id.to_string()),
                        parents: child
                            .parent_shards
                            .iter()
                            .map(|id| ShardId::new(id.to_string()))
                            .collect(),
                        hash_range: kcl_daemon::core::hash_range::HashRange {
                            start: child.hash_key_range.start,
                            end: child.hash_key_range.end,
                        },
                    })
                    .collect(),
            })
        })
        .await
    }
}

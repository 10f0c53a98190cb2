//! One shard: parents, child, records (E.5, G.3).

use std::sync::Arc;

use kcl_daemon::core::aggregate::RangeFilter;
use kcl_daemon::core::checkpoint::Progress;
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, InitialPosition, Position};
use kcl_daemon::core::stream::{IteratorStart, Record};
use kcl_daemon::ports::{
    Ending, Heard, Processor, ProcessorFactory as _, ShardIterator, Stream as _, StreamError,
    StreamErrorKind, Task,
};
use multilang_protocol::{BatchEncoder, CheckpointReply, Data, EncodedBatch, RecordRef};

use super::{Bug, JavaWorker};
use crate::world::S;

/// How a conversation over one task ended.
pub(super) enum Told {
    Answered,
    /// The lease is not held any more.
    Lost,
    /// The leader moves the lease, or the worker stops.
    GiveWay,
    /// The child is gone.
    Died,
}

pub(super) struct Consumer {
    pub(super) worker: Arc<JavaWorker>,
    pub(super) key: LeaseKey,
    pub(super) token: u64,
    child: Box<dyn Processor>,
    pub(super) progress: Progress,
    pub(super) at_end: bool,
}

impl JavaWorker {
    /// The life of a consumer. It ends with its lease, or with the shard; the lease of a finished shard
    /// is renewed on.
    ///
    /// A lease that expired here while its renewal was on its way is held again when that went through, by
    /// the same acquisition, and gets another consumer.
    pub(super) async fn consume(self: Arc<Self>, lease: Lease, token: u64) {
        let key = lease.key.clone();
        Arc::clone(&self).live(lease, token).await;
        let mut state = self.state();
        if !state.finished.contains(&key) {
            state.consumers.remove(&(key, token));
        }
    }

    async fn live(self: Arc<Self>, lease: Lease, token: u64) {
        let key = lease.key.clone();
        if lease.is_finished() && !self.has(Bug::RestartAtShardEnd) {
            // Its consumer ends at once and the lease is renewed on, in a hand-off too (`ShardConsumer`,
            // `LeaseGracefulShutdownHandler.enqueueShutdown`).
            self.state().finished.insert(key);
            self.enqueue_clean_up(lease);
            return;
        }
        if !self.parents_are_done(&lease, token).await {
            return;
        }
        // Possibly stale: Java reads eventually consistent here (A.8), again and again until it can.
        let checkpoint = loop {
            if let Ok(Some(stored)) = self.get(&key).await {
                break stored.checkpoint;
            }
            self.sleep(S).await;
            if self.held(&key, token).is_none() {
                return;
            }
        };
        let Ok(child) = self.factory.start(&lease.shard_id()).await else {
            self.state().failed = true;
            return;
        };
        if let Some(held) = self.state().held.get_mut(&key) {
            held.begun = true;
        }
        let mut consumer = Consumer {
            worker: Arc::clone(&self),
            key: key.clone(),
            token,
            child,
            progress: Progress::from_checkpoint(checkpoint.clone()),
            at_end: false,
        };
        consumer.live(&lease, checkpoint).await;
        consumer.child.end(Ending::Gently).await;
    }

    /// Waits for the parents; `false` when the lease is gone first, or to be given away.
    ///
    /// A parent whose row cannot be read blocks (`BlockOnParentShardTask`). Nothing but the hand-off's time
    /// limit ends this wait; when it ends by itself, the lease is given away at once (`ShutdownTask`).
    async fn parents_are_done(&self, lease: &Lease, token: u64) -> bool {
        loop {
            let mut blocked = false;
            for parent in &lease.parents {
                let parent = self.get(&LeaseKey::of_shard(parent)).await;
                blocked |= parent.map_or(true, |row| row.is_some_and(|row| !row.is_finished()));
            }
            if !blocked {
                let handing = {
                    let state = self.state();
                    let held = state.held.get(&lease.key);
                    held.is_some_and(|held| held.token == token && held.handing_since.is_some())
                };
                if handing && !self.has(Bug::HeartbeatAfterHandOff) {
                    self.transfer_and_drop(&lease.key, token).await;
                }
                return self.held(&lease.key, token).is_some();
            }
            // Java's default is ten seconds.
            self.sleep(2 * S).await;
            if self.held(&lease.key, token).is_none() {
                return false;
            }
        }
    }
}

impl Consumer {
    pub(super) fn lease(&self) -> Option<Lease> {
        self.worker.held(&self.key, self.token)
    }

    fn is_to_give_way(&self) -> bool {
        let state = self.worker.state();
        let held = state.held.get(&self.key);
        state.stopping || held.is_some_and(|held| held.handing_since.is_some())
    }

    fn set_busy(&self, busy: bool) {
        if let Some(held) = self.worker.state().held.get_mut(&self.key) {
            held.busy = busy;
        }
    }

    async fn live(&mut self, lease: &Lease, checkpoint: ExtendedSequenceNumber) {
        let task = Task::Initialize {
            shard: lease.shard_id(),
            checkpoint: checkpoint.clone(),
        };
        if let Told::Died = self.tell(task, false).await {
            return self.died();
        }
        let mut iterator: Option<ShardIterator> = None;
        let mut last: Option<ExtendedSequenceNumber> = None;
        loop {
            if self.lease().is_none() {
                self.tell(Task::LeaseLost, false).await;
                return;
            }
            if self.is_to_give_way() {
                return self.give_way().await;
            }
            let page = match &iterator {
                None => match self.open(lease, &checkpoint, last.as_ref()).await {
                    Ok(opened) => {
                        iterator = opened;
                        self.worker.sleep(S / 5).await;
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Some(iterator) => {
                    let shard = lease.shard_id();
                    self.worker
                        .stream
                        .get_records(&shard, iterator, 10_000)
                        .await
                }
            };
            let page = match page {
                Ok(page) => page,
                // The shard is gone, as trimmed ones are: its end, without children, and nobody looks for
                // any (`KinesisDataFetcher`, whose last result says so; E.4).
                Err(error) if error.kind == StreamErrorKind::Gone => {
                    return self.finish(lease, Vec::new()).await;
                }
                Err(error) => {
                    if error.kind == StreamErrorKind::Expired {
                        iterator = None;
                    }
                    self.worker.sleep(S).await;
                    continue;
                }
            };
            if page.next.is_none() && page.children.is_empty() {
                // No answer that Java believes: it asks again, with the same iterator, and what records
                // came with it are not delivered (`DataRetrievalUtil.isValidResult`).
                self.worker.sleep(S).await;
                continue;
            }
            let (line, up_to) = encode(&page.records, &checkpoint, lease);
            if let (Some(up_to), true) = (up_to, line.records() > 0) {
                if self.lease().is_none() {
                    continue;
                }
                self.progress.delivering(&up_to);
                self.set_busy(true);
                let told = self.tell(Task::ProcessRecords(line), true).await;
                self.set_busy(false);
                if let Told::Died = told {
                    if !self.worker.has(Bug::SkippedBatch) {
                        return self.died();
                    }
                    // As if nothing had happened: with the next batch, and a new child.
                    if !self.start_again(lease).await {
                        return self.died();
                    }
                }
                last = Some(up_to);
            }
            match page.next {
                Some(next) => iterator = Some(next),
                None => return self.end(lease, page.children).await,
            }
            self.worker.sleep(S).await;
        }
    }

    async fn start_again(&mut self, lease: &Lease) -> bool {
        let Ok(child) = self.worker.factory.start(&lease.shard_id()).await else {
            return false;
        };
        self.child = child;
        let task = Task::Initialize {
            shard: lease.shard_id(),
            checkpoint: self.progress.last().clone(),
        };
        !matches!(self.tell(task, false).await, Told::Died)
    }

    /// The process of a multilang daemon ends with its child.
    pub(super) fn died(&self) {
        self.worker.state().failed = true;
    }

    async fn open(
        &mut self,
        lease: &Lease,
        checkpoint: &ExtendedSequenceNumber,
        last: Option<&ExtendedSequenceNumber>,
    ) -> Result<Option<ShardIterator>, StreamError> {
        let start = match (last.map(|last| &last.position), &checkpoint.position) {
            (Some(Position::Number(number)), _) => {
                IteratorStart::AfterSequenceNumber(number.clone())
            }
            (_, Position::Number(number)) => IteratorStart::AtSequenceNumber(number.clone()),
            (_, Position::Latest | Position::ShardEnd) => IteratorStart::Latest,
            (_, Position::AtTimestamp) => match self.worker.settings.position {
                InitialPosition::AtTimestamp(at) => IteratorStart::AtTimestamp(at),
                _ => IteratorStart::TrimHorizon,
            },
            (_, Position::TrimHorizon) => IteratorStart::TrimHorizon,
        };
        self.worker.stream.iterator(&lease.shard_id(), &start).await
    }

    /// Gives the child a task and hears it out.
    pub(super) async fn tell(&mut self, task: Task, may_lose: bool) -> Told {
        let kind = task.kind();
        self.child.send(task);
        loop {
            match self.child.next().await {
                Heard::Answered(_) => {
                    return match () {
                        () if may_lose && self.lease().is_none() => Told::Lost,
                        () if may_lose && self.is_to_give_way() => Told::GiveWay,
                        () => Told::Answered,
                    };
                }
                Heard::Ended(_) => return Told::Died,
                Heard::Checkpoint(request) => {
                    let error = self.checkpoint(kind, &request).await;
                    self.child.reply(match error {
                        None => CheckpointReply::stored(request),
                        Some(name) => CheckpointReply::refused(request, name, ""),
                    });
                }
            }
        }
    }
}

fn encode(
    records: &[Record],
    checkpoint: &ExtendedSequenceNumber,
    lease: &Lease,
) -> (EncodedBatch, Option<ExtendedSequenceNumber>) {
    use kcl_daemon::core::aggregate::{Deaggregated, deaggregate};
    let range = lease.hash_range.unwrap_or(HashRange::FULL);
    let mut encoder = BatchEncoder::new();
    let mut up_to = None;
    let mut push = |record: &Record, sub: u64| {
        let place = ExtendedSequenceNumber::record(record.sequence_number.clone(), sub);
        if place <= *checkpoint {
            return;
        }
        encoder.push(&RecordRef {
            data: Data::Raw(b""),
            partition_key: &record.partition_key,
            sequence_number: record.sequence_number.as_str(),
            arrival_millis: record.arrival_millis,
            sub_sequence_number: sub,
        });
        up_to = Some(place);
    };
    for record in records {
        match deaggregate(&record.data, range, RangeFilter::Whole) {
            Deaggregated::UserRecords { records, .. } => {
                records
                    .iter()
                    .for_each(|user| push(record, user.sub_sequence));
            }
            _ => push(record, 0),
        }
    }
    (encoder.finish(Some(0)), up_to)
}

//! One shard: parents, child, records, checkpoints, the end (E.4, E.5, F, G.3).

use std::sync::Arc;

use kcl_daemon::core::aggregate::RangeFilter;
use kcl_daemon::core::checkpoint::{Decision, Progress, Request};
use kcl_daemon::core::hash_range::HashRange;
use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::sequence::{ExtendedSequenceNumber, InitialPosition, Position};
use kcl_daemon::core::shard_sync::{child_leases, children_of};
use kcl_daemon::core::stream::{ChildShard, IteratorStart, Record, ShardFilter};
use kcl_daemon::ports::{
    Ending, Heard, Processor, ProcessorFactory as _, ShardIterator, Stream as _, StreamError,
    StreamErrorKind, Task,
};
use multilang_protocol::{
    ActionKind, BatchEncoder, CheckpointReply, CheckpointRequest, Data, EncodedBatch, RecordRef,
};

use super::{Bug, JavaWorker};
use crate::trace::{Answer, Op, Row};
use crate::world::S;

/// How a conversation over one task ended.
enum Told {
    Answered,
    /// The lease is not held any more.
    Lost,
    /// The leader moves the lease, or the worker stops.
    GiveWay,
    /// The child is gone.
    Died,
}

struct Consumer {
    worker: Arc<JavaWorker>,
    key: LeaseKey,
    token: u64,
    child: Box<dyn Processor>,
    progress: Progress,
    at_end: bool,
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
            self.give_way_without_consumer(&key, token).await;
            return;
        }
        if !self.parents_are_done(&lease, token).await {
            return;
        }
        // Possibly stale: Java reads eventually consistent here (A.8).
        let stored = match self.store.request(Op::Get(key.clone(), false)).await {
            Answer::Row(Some(row)) => row.as_lease().map(|lease| lease.checkpoint.clone()),
            _ => None,
        };
        let checkpoint = stored.unwrap_or_else(|| lease.checkpoint.clone());
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

    /// Waits for the parents; `false` when the lease is gone first.
    async fn parents_are_done(&self, lease: &Lease, token: u64) -> bool {
        loop {
            let mut blocked = false;
            for parent in &lease.parents {
                let key = LeaseKey::of_shard(parent);
                if let Answer::Row(Some(row)) = self.store.request(Op::Get(key, false)).await {
                    blocked |= row.as_lease().is_some_and(|lease| !lease.is_finished());
                }
            }
            if !blocked {
                return self.held(&lease.key, token).is_some();
            }
            self.sleep(2 * S).await;
            if self.held(&lease.key, token).is_none() {
                return false;
            }
            self.force_hand_off(&lease.key, token, false).await;
        }
    }

    /// A lease without a consumer that could end a hand-off.
    async fn give_way_without_consumer(&self, key: &LeaseKey, token: u64) {
        while self.held(key, token).is_some() {
            self.sleep(2 * S).await;
            self.force_hand_off(key, token, false).await;
        }
    }

    /// Ends a hand-off whose time is over; at once when `now`.
    pub(super) async fn force_hand_off(&self, key: &LeaseKey, token: u64, now: bool) {
        let due = {
            let state = self.state();
            let held = state.held.get(key).filter(|held| held.token == token);
            held.and_then(|held| {
                let since = held.handing_since?;
                let over = self.now() > since + self.settings.hand_off_timeout;
                let stuck = !held.begun && self.has(Bug::HeartbeatAfterHandOff);
                ((over || now) && !stuck).then(|| held.lease.clone())
            })
        };
        let Some(update) = due.and_then(|lease| lease.hand_off_finished_by(&self.me)) else {
            return;
        };
        self.store.request(Op::Update(update)).await;
        self.state().held.remove(key);
    }
}

impl Consumer {
    fn lease(&self) -> Option<Lease> {
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
                // The end of the shard, without children (E.4).
                Err(error) if error.kind == StreamErrorKind::Gone => {
                    return self.end(lease, Vec::new()).await;
                }
                Err(error) => {
                    if error.kind == StreamErrorKind::Expired {
                        iterator = None;
                    }
                    self.worker.sleep(S).await;
                    continue;
                }
            };
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
    fn died(&self) {
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
    async fn tell(&mut self, task: Task, may_lose: bool) -> Told {
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

    /// A checkpoint by Java's rules (F.3, F.4).
    async fn checkpoint(
        &mut self,
        kind: ActionKind,
        request: &CheckpointRequest,
    ) -> Option<&'static str> {
        if matches!(kind, ActionKind::Initialize | ActionKind::LeaseLost) {
            return Some("InvalidStateException");
        }
        if self.at_end
            && self.worker.has(Bug::CheckpointAtEndSwallowed)
            && let Some(named) = &request.sequence_number
            && named.parse::<Position>().as_ref() == Ok(&self.progress.last().position)
        {
            return None;
        }
        let decision = self.progress.decide(&Request {
            sequence_number: request.sequence_number.as_deref(),
            sub_sequence_number: request.sub_sequence_number,
        });
        let to = match decision {
            Decision::AlreadyThere => return None,
            Decision::Refuse(_) => return Some("IllegalArgumentException"),
            Decision::Write(to) => to,
        };
        for _ in 0..3 {
            let Some(lease) = self.lease() else {
                return Some("ShutdownException");
            };
            let update = lease.checkpointed(to.clone());
            match self.worker.store.request(Op::Update(update)).await {
                Answer::Applied(row) => {
                    let now = self.worker.now();
                    let mut state = self.worker.state();
                    if let (Some(held), Some(row)) = (state.held.get_mut(&self.key), row.as_lease())
                    {
                        held.lease.clone_from(row);
                        held.renewed = now;
                    }
                    drop(state);
                    self.progress.written(to);
                    return None;
                }
                Answer::Lost(_) => {
                    let current = self.worker.state();
                    let moved = current
                        .held
                        .get(&self.key)
                        .is_some_and(|held| held.lease.counter != lease.counter);
                    drop(current);
                    if moved {
                        // The renewer was quicker.
                        continue;
                    }
                    self.worker.state().held.remove(&self.key);
                    return Some("ShutdownException");
                }
                answer => {
                    if self.worker.has(Bug::RevertRace)
                        && let Some(held) = self.worker.state().held.get_mut(&self.key)
                    {
                        // The copy from before the call, whatever was renewed since.
                        held.lease = lease;
                    }
                    return Some(match answer {
                        Answer::Throttled => "ThrottlingException",
                        _ => "KinesisClientLibDependencyException",
                    });
                }
            }
        }
        Some("KinesisClientLibDependencyException")
    }

    async fn give_way(&mut self) {
        if let Told::Died = self.tell(Task::ShutdownRequested, false).await {
            return self.died();
        }
        self.worker
            .force_hand_off(&self.key, self.token, true)
            .await;
        self.tell(Task::LeaseLost, false).await;
        if self.worker.has(Bug::RenewalAfterRelease) && self.worker.state().stopping {
            self.release_and_renew().await;
        }
    }

    /// What releases while another thread renews.
    async fn release_and_renew(&mut self) {
        let Some(lease) = self.lease() else { return };
        let release = lease.released(&self.worker.me);
        if let Answer::Applied(row) = self.worker.store.request(Op::Update(release)).await
            && let Some(lease) = row.as_lease()
        {
            self.worker.store.request(Op::Update(lease.renewal())).await;
        }
    }

    /// The end of the shard (E.4).
    async fn end(&mut self, lease: &Lease, mut children: Vec<ChildShard>) {
        if children.is_empty() {
            let shards = loop {
                // A task that failed is repeated.
                match self.worker.stream.list_shards(ShardFilter::All).await {
                    Ok(shards) => break shards,
                    Err(_) => self.worker.sleep(S).await,
                }
                if self.lease().is_none() || self.is_to_give_way() {
                    return self.give_way().await;
                }
            };
            children = children_of(&lease.shard_id(), &shards);
        }
        if let [child] = &children[..] {
            // Both parents of a merged shard are waited for.
            let parents = child.parents.clone();
            for parent in parents {
                let key = LeaseKey::of_shard(&parent);
                while let Answer::Row(None) =
                    self.worker.store.request(Op::Get(key.clone(), false)).await
                {
                    self.worker.sleep(2 * S).await;
                    if self.lease().is_none() || self.is_to_give_way() {
                        return self.give_way().await;
                    }
                    // Perhaps somebody else knows better: the other one may be gone for good.
                    if self.worker.world.rng().below(30) == 0 {
                        self.worker.state().held.remove(&self.key);
                        self.tell(Task::LeaseLost, false).await;
                        return;
                    }
                }
            }
        }
        for child in child_leases(&children) {
            self.worker
                .store
                .request(Op::Create(Arc::new(Row::lease(child))))
                .await;
        }
        let ids = children.iter().map(|child| child.id.clone()).collect();
        self.worker
            .store
            .request(Op::Update(lease.with_children(ids)))
            .await;
        self.progress.shard_ended();
        self.at_end = true;
        loop {
            if self.lease().is_none() {
                self.tell(Task::LeaseLost, false).await;
                return;
            }
            if let Told::Died = self.tell(Task::ShardEnded, false).await {
                return self.died();
            }
            if self.progress.is_finished() {
                self.worker.state().finished.insert(self.key.clone());
                return;
            }
            self.worker.sleep(S).await;
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

//! One shard: checkpoints, giving way, the end (E.4, F).

use std::sync::Arc;

use kcl_daemon::core::checkpoint::{Decision, Request};
use kcl_daemon::core::ids::{LeaseKey, ShardId};
use kcl_daemon::core::lease::Lease;
use kcl_daemon::core::sequence::Position;
use kcl_daemon::core::shard_sync::child_leases;
use kcl_daemon::core::stream::ChildShard;
use kcl_daemon::ports::Task;
use multilang_protocol::{ActionKind, CheckpointRequest};

use super::Bug;
use super::consumer::{Consumer, Told};
use crate::trace::{Answer, Op, Row};
use crate::world::S;

impl Consumer {
    /// A checkpoint by Java's rules (F.3, F.4).
    pub(super) async fn checkpoint(
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

    /// `shutdownRequested`, then the lease is dropped, whether it could be given away or not
    /// (`ShutdownNotificationTask`, `ShardConsumerShutdownNotification`), then `leaseLost`.
    pub(super) async fn give_way(&mut self) {
        if let Told::Died = self.tell(Task::ShutdownRequested, false).await {
            return self.died();
        }
        let last = self.lease();
        self.worker.transfer_and_drop(&self.key, self.token).await;
        self.tell(Task::LeaseLost, false).await;
        if let Some(lease) = last
            && self.worker.has(Bug::RenewalAfterRelease)
            && self.worker.state().stopping
        {
            self.release_and_renew(&lease).await;
        }
    }

    /// What releases while another thread renews.
    async fn release_and_renew(&mut self, lease: &Lease) {
        let release = lease.released(&self.worker.me);
        if let Answer::Applied(row) = self.worker.store.request(Op::Update(release)).await
            && let Some(lease) = row.as_lease()
        {
            self.worker.store.request(Op::Update(lease.renewal())).await;
        }
    }

    /// The end of the shard (E.4). Neither a hand-off nor a stop interrupts it: SHARD_END ranks above
    /// them (`ShutdownReason`), and the lease is given away by the time limit alone.
    pub(super) async fn end(&mut self, lease: &Lease, children: Vec<ChildShard>) {
        if let [child] = &children[..] {
            let parents = child.parents.clone();
            while !self.merges(&parents).await {
                self.worker.sleep(S * 3 / 2).await;
                if self.lease().is_none() {
                    self.tell(Task::LeaseLost, false).await;
                    return;
                }
            }
            if self.lease().is_none() {
                self.tell(Task::LeaseLost, false).await;
                return;
            }
        }
        self.finish(lease, children).await;
    }

    /// Whether the child of two merged parents can be made: both have their leases, or neither has. While
    /// one has and the other has not, each look has one chance in thirty to make this worker drop its
    /// lease, for another one to try: the other parent may be gone for good
    /// (`ShutdownTask.createLeasesForChildShardsIfNotExist`, `RETRY_RANDOM_MAX_RANGE`).
    async fn merges(&mut self, parents: &[ShardId]) -> bool {
        let mut there = Vec::new();
        for parent in parents {
            match self.worker.get(&LeaseKey::of_shard(parent)).await {
                Ok(row) => there.push(row.is_some()),
                Err(()) => return false,
            }
        }
        let agree = there.windows(2).all(|two| two[0] == two[1]);
        if !agree && self.worker.world.rng().below(30) == 0 {
            self.worker.drop_held(&self.key, self.token);
        }
        agree
    }

    /// Leases for the children, and the child's last word. A call that fails makes all of it begin again
    /// (`ShutdownTask`).
    pub(super) async fn finish(&mut self, lease: &Lease, children: Vec<ChildShard>) {
        while !self.children_are_made(lease, &children).await {
            self.worker.sleep(S * 3 / 2).await;
            if self.lease().is_none() {
                self.tell(Task::LeaseLost, false).await;
                return;
            }
        }
        self.progress.shard_ended();
        self.at_end = true;
        loop {
            let Some(held) = self.lease() else {
                self.tell(Task::LeaseLost, false).await;
                return;
            };
            if self.is_enqueued(&held) {
                self.worker.state().finished.insert(self.key.clone());
                return;
            }
            if let Told::Died = self.tell(Task::ShardEnded, false).await {
                return self.died();
            }
            if self.progress.is_finished() || children.is_empty() {
                self.worker.enqueue_clean_up(held);
            }
            if self.progress.is_finished() {
                self.worker.state().finished.insert(self.key.clone());
                return;
            }
            self.worker.sleep(S * 3 / 2).await;
        }
    }

    /// Whether the shard is taken for ended: without children it is to be cleaned up after the first try,
    /// and a second one that comes before the next renewal takes that for the end. The lease stays held
    /// without SHARD_END until it is deleted (`ShutdownTask.takeShardEndAction`,
    /// `LeaseCleanupManager.isEnqueuedForDeletion`).
    fn is_enqueued(&self, held: &Lease) -> bool {
        let state = self.worker.state();
        let enqueued = state.clean_up.get(&self.key);
        enqueued.is_some_and(|lease| {
            (lease.counter, &lease.owner, &lease.checkpoint)
                == (held.counter, &held.owner, &held.checkpoint)
        })
    }

    async fn children_are_made(&mut self, lease: &Lease, children: &[ChildShard]) -> bool {
        if children.is_empty() {
            return true;
        }
        for child in child_leases(children) {
            let create = Op::Create(Arc::new(Row::lease(child)));
            if !matches!(self.worker.store.request(create).await, Answer::Created(_)) {
                return false;
            }
        }
        let ids = children.iter().map(|child| child.id.clone()).collect();
        let update = Op::Update(lease.with_children(ids));
        // Without its row there is nothing to end, and nobody to be told so.
        matches!(
            self.worker.store.request(update).await,
            Answer::Applied(_) | Answer::Lost(_)
        )
    }
}

//! Carrying out what the state machine of a consumer asks for.

use std::sync::Arc;
use std::time::Duration;

use multilang_protocol::{CheckpointReply, Dialect};
use tracing::warn;

use super::{Done, ShardConsumer, Ticket};
use crate::core::checkpoint::CheckpointError;
use crate::core::consumer::{Action, Outcome, Warning};
use crate::core::hash_range::HashRange;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::fetch::{Batch, EncodeSettings, Fetcher};
use crate::os::tasks::TaskGroup;
use crate::ports::{ChildExit, Ending, Task};
use crate::worker::family::{create_child_leases, parents_finished};

impl ShardConsumer {
    pub(super) fn carry_out(&mut self, action: Action<Batch, Ticket>) -> Option<Outcome> {
        match action {
            Action::StartChild(from) => self.start_child(from),
            Action::StartFetching(from) => self.start_fetching(from),
            Action::StopFetching => self.stop_fetching(),
            Action::Process(batch) => self.process(batch),
            Action::RequestShutdown => self.send(Task::ShutdownRequested),
            Action::TellLeaseLost => self.send(Task::LeaseLost),
            Action::TellShardEnded => self.send(Task::ShardEnded),
            Action::WriteCheckpoint(to) => {
                let handle = self.handle.clone();
                self.beside
                    .spawn(async move { Done::Written(handle.checkpoint(to).await) });
            }
            Action::Reply(ticket, error) => self.reply(ticket, error),
            Action::CreateChildLeases(children) => {
                let ports = self.ports.clone();
                let lease = self.lease.clone();
                self.beside.spawn(async move {
                    let (clock, entropy) = (&*ports.fetcher.clock, &*ports.fetcher.entropy);
                    let store = &*ports.store;
                    create_child_leases(store, clock, entropy, &lease, &children, &children).await;
                    Done::ChildLeasesCreated
                });
            }
            Action::ReleaseLease => {
                let handle = self.handle.clone();
                self.beside.spawn(async move {
                    handle.release().await;
                    Done::Released
                });
            }
            Action::EndChild => self.end_child(),
            Action::Wake(pause) => self.wake_after(pause),
            Action::Warn(warning) => self.warn(&warning),
            Action::Finish(outcome) => return Some(outcome),
        }
        None
    }

    fn process(&mut self, batch: Batch) {
        let records = batch.encoded.records() as u64;
        let behind = batch.millis_behind_latest;
        self.status.send_modify(|status| {
            status.records += records;
            status.millis_behind_latest = behind;
        });
        self.handle.delivered(batch.bytes);
        let line = batch.encoded.clone();
        self.in_flight = Some(batch);
        self.send(Task::ProcessRecords(line));
    }

    fn send(&mut self, task: Task) {
        if let Some(processor) = &mut self.processor {
            self.asked = Some(task.kind());
            let now = self.ports.fetcher.clock.now();
            self.overdue = self.settings.warn_task_after.map(|after| now + after);
            processor.send(task);
        }
    }

    pub(super) fn warn_overdue(&mut self) {
        let Some(after) = self.settings.warn_task_after else {
            return;
        };
        let action = self
            .asked
            .map_or("its action", |kind| kind.wire_name(Dialect::P2));
        warn!(shard = %self.shard, "the child works on '{action}' for longer than {} ms", after.as_millis());
        self.overdue = self
            .overdue
            .map(|due| due + after.max(Duration::from_secs(1)));
    }

    fn reply(&mut self, ticket: Ticket, error: Option<CheckpointError>) {
        if ticket.child != self.child {
            return;
        }
        if let Some(processor) = &mut self.processor {
            processor.reply(match error {
                None => CheckpointReply::stored(ticket.request),
                Some(error) => {
                    CheckpointReply::refused(ticket.request, error.name.as_str(), error.message)
                }
            });
        }
    }

    fn wake_after(&mut self, pause: Duration) {
        let clock = &self.ports.fetcher.clock;
        let pause = pause.mul_f64(0.75 + 0.25 * self.ports.fetcher.entropy.unit());
        let sleep = clock.sleep_until(clock.now() + pause);
        self.beside.spawn(async move {
            sleep.await;
            Done::Woken
        });
    }

    pub(super) fn wait_for_parents(&mut self) {
        let ports = self.ports.clone();
        let (shard, parents) = (self.shard.clone(), self.lease.parents.clone());
        let (hint, longest) = (Arc::clone(&self.parents_hint), self.settings.parent_poll);
        self.beside.spawn(async move {
            let clock = &*ports.fetcher.clock;
            parents_finished(&*ports.store, clock, &shard, &parents, longest, &hint).await;
            Done::ParentsFinished
        });
    }

    fn start_child(&mut self, from: ExtendedSequenceNumber) {
        self.start_from = from;
        let (processors, shard) = (Arc::clone(&self.ports.processors), self.shard.clone());
        self.beside
            .spawn(async move { Done::Started(processors.start(&shard).await) });
    }

    pub(super) fn stop_fetching(&mut self) {
        self.fetcher = None;
        self.waiting = None;
        self.ending = TaskGroup::new();
        self.may_end = false;
    }

    fn start_fetching(&mut self, from: ExtendedSequenceNumber) {
        self.stop_fetching();
        self.fetcher = Some(Fetcher::start(
            self.ports.fetcher.clone(),
            self.settings.fetch,
            EncodeSettings {
                hash_range: self.lease.hash_range.unwrap_or(HashRange::FULL),
                filter: self.settings.range_filter,
            },
            self.shard.clone(),
            from,
            self.anchor.clone(),
        ));
    }

    fn end_child(&mut self) {
        self.asked = None;
        let processor = self.processor.take();
        self.beside.spawn(async move {
            Done::ChildEnded(match processor {
                Some(mut processor) => processor.end(Ending::Gently).await,
                None => ChildExit::Ended,
            })
        });
    }

    fn warn(&self, warning: &Warning) {
        match warning {
            Warning::Restarting { failures, pause } => warn!(shard = %self.shard,
                "starting the child again from checkpoint {} in {:.1} s (failure {failures} without a checkpoint in between)",
                self.machine.checkpoint(), pause.as_secs_f64()),
            Warning::NoCheckpointAtShardEnd { asked } => warn!(shard = %self.shard,
                "the processor did not checkpoint at the end of the shard (asked {asked} times); its child shards \
                 are not read until it does: call checkpoint() in shardEnded"),
            Warning::EndedWithoutAnswer(action) => {
                warn!(shard = %self.shard, "the child ended without answering {action}");
            }
        }
    }
}

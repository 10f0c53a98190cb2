//! The driver of one shard consumer: feeds events into `core::consumer` and carries its actions out.
//!
//! One task per held lease. It owns the child and the fetcher, so that all three end together; what
//! takes time (starting and ending a child, writing a checkpoint, creating leases) runs beside it and
//! comes back as an event, so that every wait also waits for "stop" and for the loss of the lease.

mod acting;
mod handle;
mod stall;

pub use handle::{ConsumerHandle, ConsumerPorts, ConsumerSettings, ConsumerStatus, Message};

use std::sync::Arc;

use multilang_protocol::{ActionKind, CheckpointPermission, CheckpointRequest, checkpoint_allowed};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, error, info};

use crate::core::checkpoint::CheckpointError;
use crate::core::consumer::{Asked, Consumer, Event, Outcome};
use crate::core::ids::ShardId;
use crate::core::lease::Lease;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::stream::ChildShard;
use crate::core::time::Moment;
use crate::fetch::{Anchor, Batch, Fetched, Fetcher};
use crate::os::tasks::TaskGroup;
use crate::ports::{ChildExit, Clock, Ending, Heard, Processor, Task};
use crate::worker::family::other_parent_has_lease;
use crate::worker::keeper::{LeaseHandle, LeaseState};

/// A checkpoint request whose reply is owed, and the child it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ticket {
    child: u64,
    request: CheckpointRequest,
}

type ConsumerEvent = Event<Batch, Ticket, ChildExit>;

/// What a task beside the consumer came back with.
enum Done {
    ParentsFinished,
    Woken,
    Started(Result<Box<dyn Processor>, ChildExit>),
    Written(Result<(), CheckpointError>),
    ChildLeasesCreated,
    Released,
    ChildEnded(ChildExit),
}

/// The driver.
pub struct ShardConsumer {
    ports: ConsumerPorts,
    settings: ConsumerSettings,
    shard: ShardId,
    lease: Lease,
    handle: LeaseHandle,
    lease_state: watch::Receiver<LeaseState>,
    /// The lease's state will not change any more.
    lease_settled: bool,
    mailbox: mpsc::UnboundedReceiver<Message>,
    /// Whether nobody can send to it any more.
    abandoned: bool,
    status: watch::Sender<ConsumerStatus>,
    machine: Consumer<Batch, Ticket>,
    beside: TaskGroup<Done>,
    parents_hint: Arc<Notify>,
    processor: Option<Box<dyn Processor>>,
    /// Counts the children of this consumer, so that a reply never reaches the wrong one.
    child: u64,
    /// What the present child was last asked.
    asked: Option<ActionKind>,
    /// When to warn that the child takes long over what it was asked.
    overdue: Option<Moment>,
    /// The checkpoint the present child starts from.
    start_from: ExtendedSequenceNumber,
    fetcher: Option<Fetcher>,
    anchor: Anchor,
    /// Fetched while the lease was not fresh; delivered when it is.
    waiting: Option<Fetched>,
    /// The end of the shard, while it waits for the other parent of its child; dropped when the shard is
    /// read anew.
    ending: TaskGroup<Vec<ChildShard>>,
    /// It has waited.
    may_end: bool,
    /// Since when the child waits for something to be fetched.
    wanting_since: Option<Moment>,
    /// With the child right now; holds its part of the memory budget until the answer.
    in_flight: Option<Batch>,
    /// Told to stop at once: a child that still starts is killed.
    killing: bool,
}

impl ShardConsumer {
    /// Starts a consumer for a lease that was just acquired. The future is its whole life; it gives
    /// the outcome.
    pub fn start(
        ports: ConsumerPorts,
        settings: ConsumerSettings,
        lease: Lease,
        handle: LeaseHandle,
    ) -> (ConsumerHandle, impl Future<Output = Outcome> + Send) {
        let (mailbox_sender, mailbox) = mpsc::unbounded_channel();
        let machine = Consumer::new(
            lease.checkpoint.clone(),
            settings.failure_policy,
            settings.task_backoff,
        );
        let (status, status_view) = watch::channel(ConsumerStatus {
            state: machine.describe(),
            pid: None,
            checkpoint: lease.checkpoint.clone(),
            records: 0,
            millis_behind_latest: None,
            failures: 0,
        });
        let consumer = Self {
            shard: lease.shard_id(),
            lease_state: handle.watch(),
            lease_settled: false,
            start_from: lease.checkpoint.clone(),
            ports,
            settings,
            lease,
            handle,
            mailbox,
            abandoned: false,
            status,
            machine,
            beside: TaskGroup::new(),
            parents_hint: Arc::default(),
            processor: None,
            child: 0,
            asked: None,
            overdue: None,
            fetcher: None,
            anchor: Anchor::default(),
            waiting: None,
            ending: TaskGroup::new(),
            may_end: false,
            wanting_since: None,
            in_flight: None,
            killing: false,
        };
        let handle = ConsumerHandle::new(mailbox_sender, status_view);
        (handle, consumer.run())
    }

    async fn run(mut self) -> Outcome {
        self.wait_for_parents();
        loop {
            for event in self.next_events().await {
                if let Some(outcome) = self.handle_event(event) {
                    self.publish();
                    return self.wind_up(outcome).await;
                }
            }
            self.publish();
        }
    }

    /// Sees that nothing of this consumer outlives it.
    async fn wind_up(&mut self, outcome: Outcome) -> Outcome {
        self.fetcher = None;
        if let Some(mut processor) = self.processor.take() {
            processor.end(Ending::AtOnce).await;
        }
        // A child may be about to start.
        self.beside.shutdown().await;
        self.ending.shutdown().await;
        outcome
    }

    /// Whether a batch may be delivered now (I.2). Asked again right before every delivery, because a
    /// process that was stopped for a while wakes up with an old answer.
    fn is_fresh(&self) -> bool {
        match &*self.lease_state.borrow() {
            LeaseState::Held { until } | LeaseState::HandingOff { until, .. } => {
                self.ports.fetcher.clock.now() < *until
            }
            LeaseState::Stale | LeaseState::Lost(_) | LeaseState::Released => false,
        }
    }

    async fn next_events(&mut self) -> Vec<ConsumerEvent> {
        let wants_batch = self.machine.wants_batch();
        if wants_batch
            && self.is_fresh()
            && let Some(fetched) = self.waiting.take()
        {
            return self.on_fetched(fetched);
        }
        let may_fetch = wants_batch && self.waiting.is_none();
        let clock = Arc::clone(&self.ports.fetcher.clock);
        let overdue = self.overdue;
        let stalls_at = self.stalls_at(may_fetch && self.ending.is_empty());
        tokio::select! {
            biased;
            message = self.mailbox.recv(), if !self.abandoned => match message {
                Some(Message::Stop) => vec![Event::StopRequested],
                Some(Message::StopNow) => self.stop_now(),
                // Said once: an empty mailbox without a sender would win each time.
                None => {
                    self.abandoned = true;
                    self.stop_now()
                }
                Some(Message::LookAtParents) => {
                    self.parents_hint.notify_one();
                    vec![]
                }
            },
            changed = self.lease_state.changed(), if !self.lease_settled => {
                self.on_lease_changed(changed.is_err())
            },
            Some(done) = self.beside.join_next() => match done {
                Ok(done) => self.on_done(done),
                Err(panic) => {
                    error!(shard = %self.shard, "a task of the shard consumer failed, its child is started again: {panic}");
                    self.child_is_gone(ChildExit::Ended)
                }
            },
            () = at(&*clock, overdue) => {
                self.warn_overdue();
                vec![]
            }
            () = at(&*clock, stalls_at) => self.on_stalled(),
            heard = next_heard(&mut self.processor) => self.on_heard(heard),
            Some(children) = self.ending.join_next() => {
                // A panic there leaves the end to be read again.
                if let Ok(children) = children {
                    self.may_end = true;
                    self.waiting = Some(Fetched::ShardEnd(children));
                }
                vec![]
            }
            fetched = next_fetched(&mut self.fetcher), if may_fetch => {
                if self.is_fresh() {
                    self.on_fetched(fetched)
                } else {
                    self.waiting = Some(fetched);
                    vec![]
                }
            },
        }
    }

    fn on_fetched(&mut self, fetched: Fetched) -> Vec<ConsumerEvent> {
        match fetched {
            Fetched::Batch(batch) => vec![Event::Fetched {
                up_to: batch.up_to.clone(),
                batch,
            }],
            Fetched::ShardEnd(children) if self.may_end => vec![Event::ShardEnd(children)],
            Fetched::ShardEnd(children) => {
                let (ports, shard) = (self.ports.clone(), self.shard.clone());
                self.ending.spawn(async move {
                    let (store, stream) = (&*ports.store, &*ports.fetcher.stream);
                    let clock = &*ports.fetcher.clock;
                    other_parent_has_lease(store, stream, clock, &shard, &children).await;
                    children
                });
                vec![]
            }
        }
    }

    fn on_lease_changed(&mut self, keeper_gone: bool) -> Vec<ConsumerEvent> {
        let state = self.lease_state.borrow_and_update().clone();
        match state {
            LeaseState::Released => {
                self.lease_settled = true;
                vec![]
            }
            LeaseState::Lost(_) => {
                self.lease_settled = true;
                vec![Event::LeaseLost]
            }
            LeaseState::Held { .. } | LeaseState::HandingOff { .. } | LeaseState::Stale
                if keeper_gone =>
            {
                self.lease_settled = true;
                vec![Event::LeaseLost]
            }
            // The child has its last word, then the lease is given up to the next owner.
            LeaseState::HandingOff { .. } => vec![Event::StopRequested],
            LeaseState::Held { .. } | LeaseState::Stale => vec![],
        }
    }

    fn on_done(&mut self, done: Done) -> Vec<ConsumerEvent> {
        match done {
            Done::ParentsFinished => vec![Event::ParentsFinished],
            Done::Woken => vec![Event::Woken],
            Done::Written(result) => {
                if let Err(error) = &result {
                    info!(shard = %self.shard, "checkpoint not stored: {error}");
                }
                vec![Event::CheckpointWritten(result)]
            }
            Done::ChildLeasesCreated => vec![Event::ChildLeasesCreated],
            Done::Released => vec![Event::Released],
            Done::ChildEnded(exit) => vec![Event::ChildEnded {
                exit,
                forgiven: true,
            }],
            Done::Started(Ok(processor)) => self.on_started(processor),
            Done::Started(Err(exit)) => self.child_is_gone(exit),
        }
    }

    fn on_started(&mut self, mut processor: Box<dyn Processor>) -> Vec<ConsumerEvent> {
        if self.killing {
            self.processor = Some(processor);
            return self.stop_now();
        }
        self.child += 1;
        debug!(shard = %self.shard, pid = processor.pid(), "child started");
        processor.send(Task::Initialize {
            shard: self.shard.clone(),
            checkpoint: self.start_from.clone(),
        });
        self.asked = Some(ActionKind::Initialize);
        self.processor = Some(processor);
        vec![]
    }

    fn on_heard(&mut self, heard: Heard) -> Vec<ConsumerEvent> {
        match heard {
            Heard::Answered(kind) => {
                self.in_flight = None;
                self.overdue = None;
                vec![Event::Answered(kind)]
            }
            Heard::Checkpoint(request) => {
                let permission = match (&self.processor, self.asked) {
                    (Some(processor), Some(asked)) => {
                        checkpoint_allowed(processor.dialect(), asked)
                    }
                    _ => CheckpointPermission::Yes,
                };
                vec![Event::Asked(Asked {
                    sequence_number: request.sequence_number.clone(),
                    sub_sequence_number: request.sub_sequence_number,
                    ticket: Ticket {
                        child: self.child,
                        request,
                    },
                    permission,
                })]
            }
            Heard::Ended(exit) => {
                self.processor = None;
                self.child_is_gone(exit)
            }
        }
    }

    fn child_is_gone(&mut self, exit: ChildExit) -> Vec<ConsumerEvent> {
        self.in_flight = None;
        self.asked = None;
        self.overdue = None;
        // `Ended` is how a child leaves that was on its way out anyway.
        let forgiven = matches!(exit, ChildExit::SpeaksOlderProtocol(_) | ChildExit::Ended);
        if forgiven {
            info!(shard = %self.shard, "child: {exit}");
        } else {
            error!(shard = %self.shard, "child failed while {}: {exit}", self.machine.describe());
        }
        vec![Event::ChildEnded { exit, forgiven }]
    }

    /// Kills the child, if there is one, and gives the lease up.
    fn stop_now(&mut self) -> Vec<ConsumerEvent> {
        self.killing = true;
        self.fetcher = None;
        if let Some(mut processor) = self.processor.take() {
            self.beside.spawn(async move {
                processor.end(Ending::AtOnce).await;
                Done::ChildEnded(ChildExit::Ended)
            });
        }
        vec![Event::StopRequested]
    }

    fn handle_event(&mut self, event: ConsumerEvent) -> Option<Outcome> {
        for action in self.machine.on(event) {
            if let Some(outcome) = self.carry_out(action) {
                return Some(outcome);
            }
        }
        None
    }

    fn publish(&self) {
        let state = self.machine.describe();
        let pid = self
            .processor
            .as_ref()
            .and_then(|processor| processor.pid());
        let (checkpoint, failures) = (self.machine.checkpoint(), self.machine.failures());
        self.status.send_if_modified(|status| {
            let changed = status.state != state
                || status.pid != pid
                || status.failures != failures
                || status.checkpoint != *checkpoint;
            if changed {
                status.state = state;
                status.pid = pid;
                status.failures = failures;
                status.checkpoint = checkpoint.clone();
            }
            changed
        });
    }
}

async fn at(clock: &dyn Clock, moment: Option<Moment>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn next_heard(processor: &mut Option<Box<dyn Processor>>) -> Heard {
    match processor {
        Some(processor) => processor.next().await,
        None => std::future::pending().await,
    }
}

async fn next_fetched(fetcher: &mut Option<Fetcher>) -> Fetched {
    match fetcher {
        Some(fetcher) => fetcher.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;

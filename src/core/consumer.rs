//! The life of one shard consumer as a state machine: what happened in, what to do out.
//!
//! A consumer exists while this worker holds the shard's lease. It waits for the parents, starts a
//! child, hands it batches one at a time, answers its checkpoint requests, and ends it when the shard
//! ends, the lease is lost or the worker stops (`protocol.md` §6, §12, §13; `leases.md` E.4, F, G.3).
//! The driver in `worker::consumer` feeds [`Event`]s in and carries [`Action`]s out; it has no policy.
//!
//! The order of reasons is KCL's: a lost lease outranks the end of the shard, which outranks a stop.

mod ended;
mod leaving;
mod vocabulary;

pub use vocabulary::{Action, Asked, Event, FailurePolicy, Outcome, Warning};

use std::time::Duration;

use multilang_protocol::{ActionKind, CheckpointPermission};

use crate::core::checkpoint::{
    CheckpointError, CheckpointErrorName, Decision, Progress, Request as CheckpointAsk,
};
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::stream::ChildShard;

/// Why a consumer is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Leaving {
    No,
    StopRequested,
    LeaseLost,
}

/// Where the consumer stands. Data lives in the state in which it means something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    WaitingForParents,
    /// The child failed; the next one starts after a pause.
    Pausing,
    Initializing,
    /// The child is ready and has nothing to do.
    Idle,
    Processing,
    CreatingChildLeases,
    /// `shardEnded` is outstanding.
    EndingShard {
        asked: u32,
    },
    /// The child did not checkpoint at the end; it is asked again after a pause.
    AskingAgain {
        asked: u32,
    },
    RequestingShutdown,
    /// The lease is being released, and `leaseLost` is outstanding.
    TellingLeaseLost {
        outcome: Outcome,
        answered: bool,
        released: bool,
    },
    EndingChild {
        next: AfterChild,
        released: bool,
    },
    /// No child any more; the release is under way.
    Releasing,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum AfterChild {
    Finish(Outcome),
    Restart { asked: u32 },
}

/// The state machine. `B` is a batch, `R` the ticket of a checkpoint request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Consumer<B, R> {
    state: State,
    leaving: Leaving,
    policy: FailurePolicy,
    /// `taskBackoffTimeMillis`: the first pause between two `shardEnded`; doubles.
    task_backoff: Duration,
    progress: Progress,
    failures: u32,
    /// The checkpoint request whose write is under way, and what is written.
    writing: Option<(R, ExtendedSequenceNumber)>,
    batches: std::marker::PhantomData<fn(B)>,
}

type Actions<B, R> = Vec<Action<B, R>>;

/// The shortest pause that `taskBackoffTimeMillis` may ask for.
const SHORTEST_TASK_BACKOFF: Duration = Duration::from_millis(10);
/// The longest pause between two `shardEnded`.
const LONGEST_PAUSE_AT_SHARD_END: Duration = Duration::from_secs(30);
/// How long to wait for the answer to a dead child's last checkpoint before looking again.
const STILL_WRITING: Duration = Duration::from_millis(100);
/// After so many fruitless `shardEnded` the child is replaced by a new one.
const NEW_CHILD_AFTER: u32 = 3;

impl<B, R> Consumer<B, R> {
    /// A consumer of a shard whose lease holds this checkpoint.
    #[must_use]
    pub fn new(
        checkpoint: ExtendedSequenceNumber,
        policy: FailurePolicy,
        task_backoff: Duration,
    ) -> Self {
        Self {
            task_backoff: task_backoff.clamp(SHORTEST_TASK_BACKOFF, LONGEST_PAUSE_AT_SHARD_END),
            state: State::WaitingForParents,
            leaving: Leaving::No,
            policy,
            progress: Progress::from_checkpoint(checkpoint),
            failures: 0,
            writing: None,
            batches: std::marker::PhantomData,
        }
    }

    /// Whether the next batch may be given.
    #[must_use]
    pub fn wants_batch(&self) -> bool {
        self.state == State::Idle && self.leaving == Leaving::No
    }

    /// Where it stands, in KCL's words, for status and logs.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.state {
            State::WaitingForParents => "waiting for parent shards",
            State::Pausing => "pausing before the child is started again",
            State::Initializing => "initializing",
            State::Idle => "processing (waiting for records)",
            State::Processing => "processing (child is busy)",
            State::CreatingChildLeases => "creating leases of child shards",
            State::EndingShard { .. } => "ending the shard",
            State::AskingAgain { .. } => "waiting to send shardEnded again",
            State::RequestingShutdown => "shutdown requested",
            State::TellingLeaseLost { .. } => "telling the child that the lease is lost",
            State::EndingChild { .. } => "ending the child",
            State::Releasing => "releasing the lease",
            State::Done => "done",
        }
    }

    /// The last checkpoint in the table.
    #[must_use]
    pub fn checkpoint(&self) -> &ExtendedSequenceNumber {
        self.progress.last()
    }

    /// Failures of the child since its last checkpoint.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes in an event; says what to do. Events that a state does not expect change nothing.
    pub fn on<X>(&mut self, event: Event<B, R, X>) -> Actions<B, R> {
        match event {
            Event::ParentsFinished => self.on_parents_finished(),
            Event::Woken => self.on_woken(),
            Event::Answered(kind) => self.on_answered(kind),
            Event::Asked(asked) => self.on_asked(asked),
            Event::CheckpointWritten(result) => self.on_written(result),
            Event::ChildEnded { forgiven, .. } => self.on_child_ended(forgiven),
            Event::Fetched { batch, up_to } => self.on_fetched(batch, up_to.as_ref()),
            Event::ShardEnd(children) => self.on_shard_end(children),
            Event::ChildLeasesCreated => self.on_child_leases_created(),
            Event::LeaseLost => self.leave(Leaving::LeaseLost),
            Event::StopRequested => self.leave(Leaving::StopRequested),
            Event::Released => self.on_released(),
        }
    }

    fn on_parents_finished(&mut self) -> Actions<B, R> {
        if self.state != State::WaitingForParents {
            return Vec::new();
        }
        self.start_child()
    }

    fn start_child(&mut self) -> Actions<B, R> {
        self.state = State::Initializing;
        let from = self.progress.last().clone();
        self.progress = Progress::from_checkpoint(from.clone());
        vec![
            Action::StartChild(from.clone()),
            Action::StartFetching(from),
        ]
    }

    fn on_woken(&mut self) -> Actions<B, R> {
        match self.state {
            // Where the next child starts is known when the last checkpoint's write is answered.
            State::Pausing if self.writing.is_some() => vec![Action::Wake(STILL_WRITING)],
            State::Pausing => self.start_child(),
            State::AskingAgain { asked } => {
                self.state = State::EndingShard { asked: asked + 1 };
                vec![Action::TellShardEnded]
            }
            _ => Vec::new(),
        }
    }

    fn on_fetched(&mut self, batch: B, up_to: Option<&ExtendedSequenceNumber>) -> Actions<B, R> {
        if !self.wants_batch() {
            return Vec::new();
        }
        if let Some(up_to) = up_to {
            self.progress.delivering(up_to);
        }
        self.state = State::Processing;
        vec![Action::Process(batch)]
    }

    fn on_shard_end(&mut self, children: Vec<ChildShard>) -> Actions<B, R> {
        if !self.wants_batch() {
            return Vec::new();
        }
        self.state = State::CreatingChildLeases;
        vec![Action::CreateChildLeases(children)]
    }

    fn on_child_leases_created(&mut self) -> Actions<B, R> {
        if self.state != State::CreatingChildLeases {
            return Vec::new();
        }
        self.progress.shard_ended();
        self.state = State::EndingShard { asked: 1 };
        vec![Action::TellShardEnded]
    }

    fn on_answered(&mut self, kind: ActionKind) -> Actions<B, R> {
        match (&mut self.state, kind) {
            (State::Initializing, ActionKind::Initialize)
            | (State::Processing, ActionKind::ProcessRecords) => match self.leaving {
                Leaving::No => {
                    self.state = State::Idle;
                    Vec::new()
                }
                Leaving::StopRequested => self.request_shutdown(),
                Leaving::LeaseLost => self.tell_lease_lost(),
            },
            (State::EndingShard { asked }, ActionKind::ShardEnded) => {
                let asked = *asked;
                self.on_shard_ended_answered(asked)
            }
            (State::RequestingShutdown, ActionKind::ShutdownRequested) => self.tell_lease_lost(),
            (State::TellingLeaseLost { answered, .. }, ActionKind::LeaseLost) => {
                *answered = true;
                self.after_lease_lost()
            }
            _ => Vec::new(),
        }
    }

    fn on_shard_ended_answered(&mut self, asked: u32) -> Actions<B, R> {
        if self.progress.is_finished() {
            return self.end_child(AfterChild::Finish(Outcome::ShardFinished));
        }
        match self.leaving {
            Leaving::LeaseLost => return self.tell_lease_lost(),
            Leaving::StopRequested => {
                return self.end_child(AfterChild::Finish(Outcome::Released));
            }
            Leaving::No => {}
        }
        let warning = Action::Warn(Warning::NoCheckpointAtShardEnd { asked });
        if asked.is_multiple_of(NEW_CHILD_AFTER) {
            let mut actions = vec![warning];
            actions.extend(self.end_child(AfterChild::Restart { asked }));
            return actions;
        }
        self.state = State::AskingAgain { asked };
        vec![
            warning,
            Action::Wake(doubling(
                self.task_backoff,
                LONGEST_PAUSE_AT_SHARD_END,
                asked,
            )),
        ]
    }

    // ------------------------------------------------------------------------------- checkpoints

    fn on_asked(&mut self, asked: Asked<R>) -> Actions<B, R> {
        let refusal = match asked.permission {
            CheckpointPermission::InvalidState => Some((
                CheckpointErrorName::InvalidState,
                "a checkpoint cannot be made in this phase",
            )),
            CheckpointPermission::Shutdown => Some((
                CheckpointErrorName::Shutdown,
                "the lease is not held any more",
            )),
            CheckpointPermission::Yes if self.leaving == Leaving::LeaseLost => Some((
                CheckpointErrorName::Shutdown,
                "the lease is not held any more",
            )),
            CheckpointPermission::Yes => None,
        };
        if let Some((name, message)) = refusal {
            return vec![Action::Reply(
                asked.ticket,
                Some(CheckpointError::new(name, message)),
            )];
        }
        let decision = self.progress.decide(&CheckpointAsk {
            sequence_number: asked.sequence_number.as_deref(),
            sub_sequence_number: asked.sub_sequence_number,
        });
        match decision {
            Decision::AlreadyThere => vec![Action::Reply(asked.ticket, None)],
            Decision::Refuse(error) => vec![Action::Reply(asked.ticket, Some(error))],
            Decision::Write(to) => {
                debug_assert!(self.progress.permits(&to), "{to}: {:?}", self.progress);
                self.writing = Some((asked.ticket, to.clone()));
                vec![Action::WriteCheckpoint(to)]
            }
        }
    }

    fn on_written(&mut self, result: Result<(), CheckpointError>) -> Actions<B, R> {
        let Some((ticket, to)) = self.writing.take() else {
            return Vec::new();
        };
        if result.is_ok() {
            self.progress.written(to);
            self.failures = 0;
        }
        // A child that died while its checkpoint was written gets no reply; the driver drops it.
        let mut actions = vec![Action::Reply(ticket, result.err())];
        if self.state == State::Pausing && self.progress.is_finished() {
            // The child died over its last checkpoint, which ended the shard all the same.
            actions.extend(self.finish(Outcome::ShardFinished));
        }
        actions
    }
}

/// `first`, doubled with each further time, at most `longest`.
fn doubling(first: Duration, longest: Duration, times: u32) -> Duration {
    first
        .saturating_mul(
            1u32.checked_shl(times.saturating_sub(1))
                .unwrap_or(u32::MAX),
        )
        .min(longest)
}

#[cfg(test)]
mod tests;

//! The keeper of one held lease: every write of the owner goes through it, one after the other.
//!
//! It renews the lease on the renewal thread, writes its checkpoints, and releases it. It alone knows
//! the counter, so no two writes of this worker can race, and neither a slow child nor another lease's
//! hung call can delay a renewal (`leases.md` B.2, I.4 to I.8, I.14).
//!
//! A write whose answer never came is resolved by reading before the next write. A lease that could
//! not be renewed in time is *stale*: nothing more is delivered from it, but renewal is tried on. If
//! the counter turns out untouched, nobody else had it, and work goes on; otherwise it is lost.
//!
//! Every write answers with the whole row, and that is how the keeper learns that the leader has begun
//! to move the lease to another worker (`leases.md` C.7): Java's renewals fail on purpose then, ours go
//! through and see it, as do checkpoints. The keeper goes on renewing until the lease is given up, and
//! gives it up by itself when that takes too long.

mod handle;

pub use handle::{
    KeeperPorts, KeeperSettings, LeaseHandle, LeaseState, Loss, News, NotKept, WriteStyle,
};

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use handle::{Command, lock};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use crate::core::checkpoint::{CheckpointError, CheckpointErrorName};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::tenure::{Lesson, Tenure};
use crate::core::throughput::Throughput;
use crate::core::time::Moment;
use crate::os::time::within;
use crate::ports::{StoreError, Written};

/// Java renews every F/3 - 25 ms; so do we.
fn period(failover: Duration) -> Duration {
    (failover / 3).saturating_sub(Duration::from_millis(25))
}

/// A renewal period has so many moments at which leases are renewed: each lease once in a period, a few
/// at a time.
const BEATS: u32 = 16;

struct Keeper {
    ports: KeeperPorts,
    tenure: Tenure,
    failover: Duration,
    hand_off_timeout: Duration,
    /// When the lease is given up without the child's last checkpoint, once it is known to be moved.
    hand_off_ends: Option<Moment>,
    /// Who gets the lease at its release.
    heir: Arc<OnceLock<WorkerId>>,
    throughput: Arc<Mutex<Throughput>>,
    /// When the throughput is measured again: once in a renewal period, whatever is written then.
    next_measure: Moment,
    /// Whether the last attempt failed, so that each change is logged once.
    troubled: bool,
    inbox: mpsc::Receiver<Command>,
    publish: watch::Sender<LeaseState>,
    publish_news: watch::Sender<Option<News>>,
}

/// How one attempt to write ended.
enum Attempt {
    Applied,
    /// The lease is not ours.
    Lost(Loss),
    /// Nothing is known, or certainly nothing was written; the lease is as it was.
    Failed(StoreError),
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let wake = self.next_wake();
            let sleep = self.ports.clock.sleep_until(wake);
            let go_on = tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                () = sleep => self.on_time().await,
            };
            if !go_on {
                return;
            }
        }
    }

    /// A third of the failover time after the last write; when a renewal failed, soon again. Never
    /// later than the moment at which the lease goes stale.
    fn next_wake(&self) -> Moment {
        let stale_at = self.tenure.stale_at(self.failover);
        let now = self.ports.clock.now();
        if !self.troubled {
            let period = self.period();
            let due = (self.tenure.last_sent() + period).nearest_beat(period / BEATS);
            let next = due.min(stale_at);
            return self.hand_off_ends.map_or(next, |ends| next.min(ends));
        }
        let soon = now + (self.failover / 20).mul_f64(0.5 + self.ports.entropy.unit());
        if stale_at > now {
            soon.min(stale_at)
        } else {
            soon
        }
    }

    const fn lease(&self) -> &Lease {
        self.tenure.lease()
    }

    fn period(&self) -> Duration {
        period(self.failover)
    }

    /// An owner's write with what belongs to it beside its purpose.
    fn in_style(&mut self, update: LeaseUpdate) -> LeaseUpdate {
        let style = &self.ports.style;
        if !style.reports() {
            return style.marked(update);
        }
        let now = self.ports.clock.now();
        if now < self.next_measure {
            return update;
        }
        self.next_measure = now + self.period();
        let kbps = lock(&self.throughput).measure(now);
        update.with_throughput(kbps)
    }

    /// The longest that one call may take (I.8): less than a third of the failover time.
    fn call_limit(&self) -> Duration {
        (self.failover / 3).mul_f64(0.9)
    }

    async fn on_time(&mut self) -> bool {
        if self.ports.clock.now() >= self.tenure.stale_at(self.failover) {
            self.go_stale();
        }
        if self.hand_off_is_overdue()
            && let Some(update) = self.lease().hand_off_finished_by(self.tenure.me())
        {
            return self.force_hand_off(update).await;
        }
        let renewal = self.in_style(self.lease().renewal());
        match self.write(renewal).await {
            Attempt::Applied => self.is_still_mine(),
            Attempt::Lost(loss) => self.lose(loss),
            Attempt::Failed(error) => {
                self.trouble(&error);
                true
            }
        }
    }

    fn hand_off_is_overdue(&self) -> bool {
        self.hand_off_ends
            .is_some_and(|ends| self.ports.clock.now() >= ends)
    }

    /// The child takes too long over its last checkpoint: the next owner waits no more.
    async fn force_hand_off(&mut self, update: LeaseUpdate) -> bool {
        let next = self.lease().owner.clone();
        match self.write(update).await {
            Attempt::Applied => {
                warn!(lease = %self.lease().key, "the child did not end its work on the lease within {} ms; the lease is handed off without it",
                    self.hand_off_timeout.as_millis());
                self.lose(next.map_or(Loss::Changed, Loss::TakenBy))
            }
            Attempt::Lost(loss) => self.lose(loss),
            Attempt::Failed(error) => {
                self.trouble(&error);
                true
            }
        }
    }

    /// Looks at the row that the last write answered with; `false` when it turns out not to be ours.
    fn is_still_mine(&mut self) -> bool {
        match self.tenure.strange_owner() {
            None => true,
            Some(loss) => self.lose(loss),
        }
    }

    fn go_stale(&self) {
        self.publish.send_if_modified(|state| {
            let change = *state != LeaseState::Stale;
            if change {
                warn!(lease = %self.lease().key, "the lease could not be renewed within the failover time; no more records are delivered until it is");
                *state = LeaseState::Stale;
            }
            change
        });
    }

    fn trouble(&mut self, error: &StoreError) {
        if self.troubled {
            debug!(lease = %self.lease().key, "renewal failed again: {error}");
        } else {
            warn!(lease = %self.lease().key, "renewal failed, trying again: {error}");
        }
        self.troubled = true;
    }

    fn lose(&mut self, loss: Loss) -> bool {
        info!(lease = %self.lease().key, "lease lost: {loss}");
        self.publish.send_replace(LeaseState::Lost(loss.clone()));
        self.publish_news.send_replace(Some(News::Lost(loss)));
        // Whoever waits for a reply learns from the closed channel that the lease is not held.
        false
    }

    async fn on_command(&mut self, command: Command) -> bool {
        match command {
            Command::Checkpoint { to, reply } => {
                let (answer, go_on) = self.checkpoint(to).await;
                let _ = reply.send(answer);
                go_on
            }
            Command::Release { reply } => {
                let released = self.release().await;
                if released {
                    self.publish.send_replace(LeaseState::Released);
                }
                let _ = reply.send(released);
                false
            }
            Command::PassTo { next, reply } => self.pass_to(next, reply).await,
        }
    }

    /// The leader of the fleet is this worker and gives the lease to another one.
    async fn pass_to(&mut self, next: WorkerId, reply: oneshot::Sender<Option<Lease>>) -> bool {
        let update = self
            .ports
            .style
            .marked(self.lease().assigned_if_silent_to(&next));
        match self.write(update).await {
            Attempt::Applied => {
                let _ = reply.send(Some(self.lease().clone()));
                self.lose(Loss::TakenBy(next))
            }
            // Whoever asked finds out by the channel that is closed.
            Attempt::Lost(loss) => self.lose(loss),
            Attempt::Failed(error) => {
                self.trouble(&error);
                let _ = reply.send(None);
                true
            }
        }
    }

    async fn checkpoint(
        &mut self,
        to: ExtendedSequenceNumber,
    ) -> (Result<(), CheckpointError>, bool) {
        const TRIES: u32 = 3;
        let mut tried = 0;
        loop {
            tried += 1;
            // What the table is beyond already stays as it is.
            let Some(update) = self.tenure.checkpoint(&to) else {
                return (Ok(()), true);
            };
            let update = self.in_style(update);
            match self.write(update).await {
                Attempt::Applied => return (Ok(()), self.is_still_mine()),
                Attempt::Lost(loss) => {
                    let error = CheckpointError::new(
                        CheckpointErrorName::Shutdown,
                        format!("the lease {} is lost: {loss}", self.lease().key),
                    );
                    return (Err(error), self.lose(loss));
                }
                Attempt::Failed(error) => {
                    let time_left = self.ports.clock.now() + self.period()
                        < self.tenure.stale_at(self.failover);
                    if tried < TRIES && error.is_transient() && time_left {
                        let pause = Duration::from_millis(50 << tried)
                            .mul_f64(0.5 + self.ports.entropy.unit());
                        self.ports
                            .clock
                            .sleep_until(self.ports.clock.now() + pause)
                            .await;
                        continue;
                    }
                    return (Err(as_checkpoint_error(&self.lease().key, &error)), true);
                }
            }
        }
    }

    async fn release(&mut self) -> bool {
        const TRIES: u32 = 3;
        for _ in 0..TRIES {
            let Some(update) = self.tenure.giving_up(self.heir.get()) else {
                return false;
            };
            let update = self.ports.style.marked(update);
            match self.write(update).await {
                Attempt::Applied => {
                    match &self.lease().owner {
                        Some(next) => {
                            info!(lease = %self.lease().key, "lease handed to worker {next}");
                        }
                        None => debug!(lease = %self.lease().key, "lease released"),
                    }
                    return true;
                }
                Attempt::Lost(loss) => {
                    info!(lease = %self.lease().key, "the lease is not held any more: {loss}");
                    return false;
                }
                Attempt::Failed(error) => {
                    warn!(lease = %self.lease().key, "the lease could not be released: {error}");
                }
            }
        }
        false
    }

    /// One conditional write, resolved as far as it can be within the limit of a call and a read.
    async fn write(&mut self, update: LeaseUpdate) -> Attempt {
        debug_assert!(!self.tenure.is_over(), "{update:?} after the end");
        let sent = self.ports.clock.now();
        let call = self.ports.store.update(&update);
        match within(&*self.ports.clock, self.call_limit(), call).await {
            Ok(Ok(Written::Applied(row))) => {
                self.applied(row, sent);
                Attempt::Applied
            }
            // Tried once: an answer that says no is the truth about this write.
            Ok(Ok(Written::Lost(row))) => {
                let lesson = self.tenure.refused(row);
                self.learnt(lesson, String::new())
            }
            Ok(Ok(Written::Unknown(why))) => self.resolve(update, sent, why).await,
            Ok(Err(error)) => Attempt::Failed(error),
            Err(_elapsed) => {
                let why = "DynamoDB did not answer in time".to_owned();
                self.resolve(update, sent, why).await
            }
        }
    }

    fn applied(&mut self, row: Lease, sent: Moment) {
        self.tenure.applied(row, sent);
        self.publish_applied();
    }

    fn publish_applied(&mut self) {
        if self.troubled {
            info!(lease = %self.lease().key, "the lease is renewed again");
            self.troubled = false;
        }
        let until = self.tenure.stale_at(self.failover);
        let state = match self.tenure.handing_off_to().cloned() {
            Some(to) => {
                if self.hand_off_ends.is_none() {
                    info!(lease = %self.lease().key, "the leader moves the lease to worker {to}");
                    self.hand_off_ends = Some(self.ports.clock.now() + self.hand_off_timeout);
                    self.publish_news.send_replace(Some(News::HandingOff));
                }
                LeaseState::HandingOff { until, to }
            }
            None => LeaseState::Held { until },
        };
        self.publish.send_replace(state);
    }

    /// What an answer that was no plain yes means for the write; `why` it did not come.
    fn learnt(&mut self, lesson: Lesson, why: String) -> Attempt {
        let why = match lesson {
            Lesson::Applied => {
                self.publish_applied();
                return Attempt::Applied;
            }
            Lesson::Lost(loss) => return Attempt::Lost(loss),
            Lesson::EarlierOneArrived => "an earlier write arrived late; trying again".to_owned(),
            Lesson::HandOffBegan => "the leader moves the lease; trying again".to_owned(),
            Lesson::InDoubt => why,
        };
        Attempt::Failed(StoreError::Unavailable(why))
    }

    async fn resolve(&mut self, update: LeaseUpdate, sent: Moment, why: String) -> Attempt {
        let read = self.ports.store.get(&self.lease().key);
        match within(&*self.ports.clock, self.call_limit(), read).await {
            Ok(Ok(row)) => {
                let lesson = self.tenure.unanswered(update, sent, row);
                self.learnt(lesson, why)
            }
            Ok(Err(error)) => {
                self.tenure.doubt(update, sent);
                Attempt::Failed(error)
            }
            Err(_elapsed) => {
                self.tenure.doubt(update, sent);
                Attempt::Failed(StoreError::Unavailable(why))
            }
        }
    }
}

fn as_checkpoint_error(key: &LeaseKey, error: &StoreError) -> CheckpointError {
    let name = match error {
        StoreError::Throttled(_) => CheckpointErrorName::Throttling,
        StoreError::TableMissing(_) => CheckpointErrorName::InvalidState,
        StoreError::Denied(_) | StoreError::Unavailable(_) | StoreError::Fatal(_) => {
            CheckpointErrorName::Dependency
        }
    };
    CheckpointError::new(name, format!("checkpoint of lease {key}: {error}"))
}

#[cfg(test)]
mod tests;

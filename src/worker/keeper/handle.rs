//! A held lease, as its consumer and the coordinator see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Keeper, period};
use crate::core::checkpoint::{CheckpointError, CheckpointErrorName};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::{Lease, LeaseUpdate};
use crate::core::sequence::ExtendedSequenceNumber;
pub use crate::core::tenure::Loss;
use crate::core::tenure::Tenure;
use crate::core::throughput::Throughput;
use crate::core::time::Moment;
use crate::os::tasks::{OwnedTask, Spawner};
use crate::ports::{Clock, Entropy, LeaseStore};

/// Whether the lease may be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// Held; new batches may be delivered until this moment.
    Held {
        /// Failover time after the last successful write was *sent* (I.2).
        until: Moment,
    },
    /// Held, but the leader wants it to go to another worker: the child makes its last checkpoint,
    /// then the lease is given up.
    HandingOff {
        /// As for `Held`.
        until: Moment,
        /// Who is next.
        to: WorkerId,
    },
    /// Not renewed in time; nobody is known to have taken it.
    Stale,
    /// Somebody else's, or gone.
    Lost(Loss),
    /// Given up by us.
    Released,
}

/// What the coordinator hears of a held lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The leader moves it to another worker.
    HandingOff,
    /// It is not ours any more.
    Lost(Loss),
}

/// The keeper of a lease ended: the lease is lost, or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody keeps the lease any more")]
pub struct NotKept;

pub(super) enum Command {
    Checkpoint {
        to: ExtendedSequenceNumber,
        reply: oneshot::Sender<Result<(), CheckpointError>>,
    },
    Release {
        reply: oneshot::Sender<bool>,
    },
    PassTo {
        next: WorkerId,
        reply: oneshot::Sender<Option<Lease>>,
    },
}

/// What the configuration says about held leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeeperSettings {
    /// `failoverTimeMillis`.
    pub failover: Duration,
    /// `gracefulLeaseHandoffTimeoutMillis`: how long the child may take for its last checkpoint when
    /// the lease is moved.
    pub hand_off_timeout: Duration,
}

/// What all keepers of a worker write beside what they have to; changes while they work.
#[derive(Debug, Default)]
pub struct WriteStyle {
    reports: AtomicBool,
}

impl WriteStyle {
    /// In a fleet whose workers report their load, owners write the throughput of their leases. In any
    /// other, the daemon leaves its mark, so that its kind can be told from older workers.
    pub fn set_reports(&self, reports: bool) {
        self.reports.store(reports, Ordering::Relaxed);
    }

    /// Whether workers report their load.
    #[must_use]
    pub fn reports(&self) -> bool {
        self.reports.load(Ordering::Relaxed)
    }

    /// The write, with the mark if that is the style.
    #[must_use]
    pub fn marked(&self, update: LeaseUpdate) -> LeaseUpdate {
        if self.reports() {
            update
        } else {
            update.marked()
        }
    }
}

/// What a keeper needs.
#[derive(Clone)]
pub struct KeeperPorts {
    /// The lease table, through clients of the renewal thread.
    pub store: Arc<dyn LeaseStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// The renewal thread.
    pub spawner: Spawner,
    /// How leases are written.
    pub style: Arc<WriteStyle>,
}

/// A held lease, as its consumer and the coordinator see it. Dropping the last handle stops the keeper
/// without releasing the lease.
#[derive(Clone)]
pub struct LeaseHandle {
    key: LeaseKey,
    state: watch::Receiver<LeaseState>,
    /// Beside `state`, so that each channel has one task waiting on it: several on one are woken in
    /// random order, and a simulated fleet could not be replayed.
    news: watch::Receiver<Option<News>>,
    commands: mpsc::Sender<Command>,
    heir: Arc<OnceLock<WorkerId>>,
    throughput: Arc<Mutex<Throughput>>,
    clock: Arc<dyn Clock>,
    _task: Arc<OwnedTask<()>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Checkpoint { .. } => "Checkpoint",
            Self::Release { .. } => "Release",
            Self::PassTo { .. } => "PassTo",
        })
    }
}

impl std::fmt::Debug for LeaseHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseHandle")
            .field("key", &self.key)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl LeaseHandle {
    /// Starts to keep a lease that was just acquired by a conditional write sent at `sent`.
    #[must_use]
    pub fn keep(
        ports: KeeperPorts,
        me: WorkerId,
        lease: Lease,
        sent: Moment,
        settings: KeeperSettings,
    ) -> Self {
        let (commands, inbox) = mpsc::channel(4);
        let (publish, state) = watch::channel(LeaseState::Held {
            until: sent + settings.failover,
        });
        let (publish_news, news) = watch::channel(None);
        let key = lease.key.clone();
        let spawner = ports.spawner.clone();
        let heir = Arc::new(OnceLock::new());
        let clock = Arc::clone(&ports.clock);
        let throughput = Throughput::new(period(settings.failover), lease.throughput_kbps);
        let throughput = Arc::new(Mutex::new(throughput));
        let keeper = Keeper {
            ports,
            tenure: Tenure::begin(me, lease, sent),
            failover: settings.failover,
            hand_off_timeout: settings.hand_off_timeout,
            hand_off_ends: None,
            heir: Arc::clone(&heir),
            throughput: Arc::clone(&throughput),
            next_measure: sent,
            troubled: false,
            inbox,
            publish,
            publish_news,
        };
        Self {
            key,
            state,
            news,
            commands,
            heir,
            throughput,
            clock,
            _task: Arc::new(spawner.spawn(keeper.run())),
        }
    }

    /// The lease's key.
    #[must_use]
    pub fn key(&self) -> &LeaseKey {
        &self.key
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.state.borrow().clone()
    }

    /// A view that can be waited on, by one task.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// Completes when the lease is lost, or being handed off unless that is known already; with `None`
    /// when its keeper ended for another reason. To be waited on by one task. Holding the future does
    /// not hold the lease.
    pub fn news(&self, hand_off_known: bool) -> impl Future<Output = Option<News>> + Send + use<> {
        let mut news = self.news.clone();
        async move {
            let word = news
                .wait_for(|word| match word {
                    Some(News::Lost(_)) => true,
                    Some(News::HandingOff) => !hand_off_known,
                    None => false,
                })
                .await;
            word.ok().and_then(|word| word.clone())
        }
    }

    /// Stores a checkpoint.
    ///
    /// # Errors
    /// With the names that children know (`protocol.md` §8).
    pub async fn checkpoint(&self, to: ExtendedSequenceNumber) -> Result<(), CheckpointError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Checkpoint { to, reply }).await;
        if sent.is_ok()
            && let Ok(result) = answer.await
        {
            return result;
        }
        Err(not_held(&self.key))
    }

    /// Data of records was handed to the child.
    pub fn delivered(&self, bytes: usize) {
        let now = self.clock.now();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        lock(&self.throughput).add(bytes, now);
    }

    /// Who gets the lease when it is released; the first word counts. Nobody named: it becomes free.
    pub fn leave_to(&self, heir: WorkerId) {
        let _ = self.heir.set(heir);
    }

    /// Whether its keeper still renews it, or tries to.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Makes another worker the owner at once, as a leader does with a lease of its own: then it is lost
    /// here. Gives the row, or `None` when that could not be written and the lease is still kept.
    ///
    /// # Errors
    /// When nobody keeps the lease any more.
    pub async fn pass_to(&self, next: WorkerId) -> Result<Option<Lease>, NotKept> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::PassTo { next, reply }).await;
        sent.map_err(|_| NotKept)?;
        answer.await.map_err(|_| NotKept)
    }

    /// Gives the lease up. `false` when that could not be written: then it expires.
    pub async fn release(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Release { reply }).await;
        sent.is_ok() && answer.await.unwrap_or(false)
    }
}

/// Nobody panics while holding it; if somebody did, its figures are still good enough.
pub(super) fn lock(throughput: &Mutex<Throughput>) -> MutexGuard<'_, Throughput> {
    throughput.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_held(key: &LeaseKey) -> CheckpointError {
    CheckpointError::new(
        CheckpointErrorName::Shutdown,
        format!("the lease {key} is not held any more"),
    )
}

//! This worker's part in the election of the 3.x leader: looks at the lock, takes it when it is free,
//! and keeps it alive (`leases.md` C.1).
//!
//! All decisions are in `core::leader_lock`; this is the task that carries its steps out, on the
//! renewal thread, so that nothing delays a heartbeat.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::core::ids::WorkerId;
use crate::core::leader_absence::{Found, LeaderAbsence, Tidings};
use crate::core::leader_lock::{
    LeaderLock, LockItem, LockOutcome, LockSettings, LockStep, LockWrite, RecordVersion,
};
use crate::core::time::Moment;
use crate::os::tasks::{OwnedTask, Spawner};
use crate::os::time::within;
use crate::ports::{Clock, CoordinatorStore, Entropy, Place, StoreError};

/// What the election needs.
#[derive(Clone)]
pub struct LeadershipPorts {
    /// Where the lock is, through clients of the renewal thread.
    pub store: Arc<dyn CoordinatorStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Version numbers.
    pub entropy: Arc<dyn Entropy>,
    /// The renewal thread.
    pub spawner: Spawner,
}

enum Command {
    /// Somebody read the row anyway.
    Saw {
        row: Option<LockItem>,
        asked: Moment,
        answered: Moment,
    },
    /// Look so often.
    LookEvery(Duration, bool),
    /// Give the lock up for now.
    StepDown,
    /// Give the lock up for good.
    Retire(oneshot::Sender<()>),
}

/// The election, as the coordinator sees it. Dropping it leaves the lock to expire.
#[derive(Debug)]
pub struct Leadership {
    view: watch::Receiver<LeaderLock>,
    commands: mpsc::UnboundedSender<Command>,
    _task: OwnedTask<()>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Saw { .. } => "Saw",
            Self::LookEvery(..) => "LookEvery",
            Self::StepDown => "StepDown",
            Self::Retire(_) => "Retire",
        })
    }
}

impl Leadership {
    /// Takes part from now on. `call_limit` is the longest that one call may take.
    #[must_use]
    pub fn start(
        ports: LeadershipPorts,
        me: WorkerId,
        place: Place,
        settings: LockSettings,
        call_limit: Duration,
    ) -> Self {
        let lock = LeaderLock::new(me, settings, ports.clock.now());
        let (publish, view) = watch::channel(lock.clone());
        let (commands, inbox) = mpsc::unbounded_channel();
        let spawner = ports.spawner.clone();
        let runner = Runner {
            place,
            call_limit,
            absence: LeaderAbsence::new(ports.clock.now()),
            ports,
            lock,
            inbox,
            publish,
            troubled: false,
        };
        Self {
            view,
            commands,
            _task: spawner.spawn(runner.run()),
        }
    }

    /// Whether this worker is the leader now.
    #[must_use]
    pub fn is_leader(&self, now: Moment) -> bool {
        self.view.borrow().is_leader(now)
    }

    /// Who is, as far as this worker knows.
    #[must_use]
    pub fn known_leader(&self) -> Option<WorkerId> {
        self.view.borrow().known_leader().cloned()
    }

    /// A view that can be waited on: it tells when the leader changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<LeaderLock> {
        self.view.clone()
    }

    fn tell(&self, command: Command) {
        // The task ends with this handle only.
        let _ = self.commands.send(command);
    }

    /// The row was read anyway, asked for and answered at these moments.
    pub fn saw(&self, row: Option<LockItem>, asked: Moment, answered: Moment) {
        self.tell(Command::Saw {
            row,
            asked,
            answered,
        });
    }

    /// How often to look at the row while somebody else is the leader, and whether to stand by to take its
    /// place at once.
    pub fn look_every(&self, pause: Duration, stands_by: bool) {
        self.tell(Command::LookEvery(pause, stands_by));
    }

    /// Gives the lock up and leaves it to others for a while.
    pub fn step_down(&self) {
        self.tell(Command::StepDown);
    }

    /// Gives the lock up for good (I.36); waits until that is written, or has failed.
    pub async fn retire(&self) {
        let (done, wait) = oneshot::channel();
        self.tell(Command::Retire(done));
        let _ = wait.await;
    }
}

struct Runner {
    ports: LeadershipPorts,
    place: Place,
    call_limit: Duration,
    lock: LeaderLock,
    inbox: mpsc::UnboundedReceiver<Command>,
    publish: watch::Sender<LeaderLock>,
    absence: LeaderAbsence,
    /// Whether the last call failed, so that each change is logged once.
    troubled: bool,
}

impl Runner {
    async fn run(mut self) {
        loop {
            let now = self.ports.clock.now();
            let step = self.lock.next(now, self.fresh());
            let wake = match step {
                LockStep::Look if self.look().await => now,
                LockStep::Look => self.ports.clock.now() + self.call_limit / 8,
                LockStep::Write(write) => {
                    self.write(&write).await;
                    now
                }
                LockStep::WaitUntil(moment) => moment,
                LockStep::Done => return,
            };
            self.tell_changes();
            // Commands are heard between any two calls.
            let sleep = self.ports.clock.sleep_until(wake);
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                () = sleep => {}
            }
            self.tell_changes();
        }
    }

    fn fresh(&self) -> RecordVersion {
        let entropy = &self.ports.entropy;
        RecordVersion::from_random(entropy.next_u64(), entropy.next_u64())
    }

    async fn on_command(&mut self, command: Command) {
        let now = self.ports.clock.now();
        match command {
            Command::Saw {
                row,
                asked,
                answered,
            } => {
                // The row came with a scan, which may be a little behind: good enough to see that it
                // stands still, and not good enough to doubt my own leadership.
                if !self.lock.is_leader(now) {
                    self.lock.saw(row.as_ref(), asked, answered);
                    let tidings = self.absence.saw(row.as_ref(), answered);
                    tell(tidings);
                }
            }
            Command::LookEvery(pause, stands_by) => self.lock.look_every(pause, stands_by, now),
            Command::StepDown => {
                if let Some(write) = self.lock.step_down(now) {
                    self.tell_changes();
                    self.write(&write).await;
                }
            }
            Command::Retire(done) => {
                if let Some(write) = self.lock.retire() {
                    self.tell_changes();
                    match self.send(&write).await {
                        Ok(LockOutcome::Applied) => info!("gave up the leadership"),
                        other => debug!("the leader's lock is left to expire: {other:?}"),
                    }
                }
                let _ = done.send(());
            }
        }
    }

    fn tell_changes(&self) {
        let now = self.ports.clock.now();
        self.publish.send_if_modified(|view| {
            let was = (view.is_leader(now), view.known_leader().cloned());
            let is = (self.lock.is_leader(now), self.lock.known_leader().cloned());
            *view = self.lock.clone();
            if was == is {
                return false;
            }
            match (is.0, &is.1) {
                (true, _) => info!("this worker is the leader now: it assigns leases to workers"),
                (false, Some(leader)) => info!("the leader is worker {leader}"),
                (false, None) => info!("nobody is the leader at the moment"),
            }
            true
        });
    }

    /// Reads the row; `false` when it could not be read.
    async fn look(&mut self) -> bool {
        let asked = self.ports.clock.now();
        let call = self.ports.store.leader(self.place);
        let row = match within(&*self.ports.clock, self.call_limit, call).await {
            Ok(row) => row,
            Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
        };
        let now = self.ports.clock.now();
        match row {
            Ok(row) => {
                self.lock.saw(row.as_ref(), asked, now);
                self.troubled = false;
                tell(self.absence.saw(row.as_ref(), now));
            }
            Err(error) => {
                self.trouble(&error);
                self.lock.could_not_look(now);
                tell(self.absence.could_not_look(error.to_string(), now));
                return false;
            }
        }
        true
    }

    async fn send(&self, write: &LockWrite) -> Result<LockOutcome, StoreError> {
        let call = self.ports.store.write_leader(self.place, write);
        match within(&*self.ports.clock, self.call_limit, call).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Ok(LockOutcome::Unknown),
        }
    }

    async fn write(&mut self, write: &LockWrite) {
        let sent = self.ports.clock.now();
        let outcome = match self.send(write).await {
            Ok(outcome) => {
                self.troubled = false;
                outcome
            }
            Err(error) => {
                self.trouble(&error);
                self.absence.could_not_take(error.to_string());
                LockOutcome::Failed
            }
        };
        let now = self.ports.clock.now();
        self.lock.wrote(write, outcome, sent, now);
        if self.lock.is_leader(now) {
            tell(self.absence.leads(now));
        }
    }

    fn trouble(&mut self, error: &StoreError) {
        if self.troubled {
            debug!("the leader's lock cannot be reached: {error}");
        } else {
            warn!("the leader's lock cannot be reached, trying again: {error}");
        }
        self.troubled = true;
    }
}

/// Tells what has to be told of the leader's absence.
fn tell(tidings: Option<Tidings>) {
    let (lasting, found, failed) = match tidings {
        None => return,
        Some(Tidings::Back) => return info!("there is a leader again"),
        Some(Tidings::Absent {
            lasting,
            found,
            failed,
        }) => (lasting, found, failed),
    };
    let found = match found {
        Found::Nobody => "nobody holds its lock".to_owned(),
        Found::StandsStill(worker) => {
            format!("worker {worker} holds its lock and gives no sign of life")
        }
        Found::Unreadable(cause) => format!("its lock cannot be read: {cause}"),
    };
    let failed = failed.map_or_else(String::new, |cause| {
        format!("; this worker could not take it: {cause}")
    });
    error!(
        "no sign of a leader for {} s: {found}{failed}. Workers keep the leases that they have, but nobody gets those          of lost workers and new shards",
        lasting.as_secs()
    );
}

#[cfg(test)]
#[path = "leadership_tests.rs"]
mod tests;

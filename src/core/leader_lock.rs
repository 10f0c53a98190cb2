//! The leader of KCL 3: one row that says who it is, kept as Java's lock client keeps it
//! (`leases.md` C.1).
//!
//! The row carries a *record version number* that its owner replaces at every heartbeat. Whoever sees
//! the same number for as long as the row's own lease duration, by its own monotonic clock and in two
//! separate reads, may take the lock over. All writes are conditional on the number, so that two
//! workers never take it from each other unseen. Two leaders for a moment do no harm (I.37): every
//! assignment is conditional as well.
//!
//! Java writes a lease duration of 120 s and a heartbeat every 30 s. Every reader honours the duration
//! it finds in the row, Java's too, so ours may be shorter: that is what makes the take-over after a
//! crash of one of our leaders quick.

mod item;

pub use item::{LockChange, LockCondition, LockItem, LockOutcome, LockWrite, RecordVersion};

use std::time::Duration;

use crate::core::ids::WorkerId;
use crate::core::time::Moment;

/// The key of the row.
pub const KEY: &str = "Leader";

/// How long Java's leader holds the lock without a heartbeat.
pub const JAVA_LEASE: Duration = Duration::from_secs(120);

/// How often Java's leader renews the lock, and its followers look at it.
pub const JAVA_HEARTBEAT: Duration = Duration::from_secs(30);

/// How this worker keeps the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockSettings {
    /// What is written as `leaseDuration`. The failover time is a good one when the fleet shall get
    /// over a dead leader in that time; at most [`JAVA_LEASE`].
    pub lease_duration: Duration,
    /// How often the leader renews the lock; at most a third of the duration.
    pub heartbeat: Duration,
    /// How often a follower looks at the row when nothing calls for a look sooner.
    pub look: Duration,
    /// Whether to look at the very moment at which the row may have become stale, too, in order to take the
    /// lock then. Not needed of every follower of a large fleet.
    pub stands_by: bool,
    /// Whether whoever wrote my id into the row before this process is known to be dead (a lock on the
    /// id is held): then the row is taken over at once.
    pub former_self_is_dead: bool,
}

impl LockSettings {
    /// Ours: as quick as leases change hands.
    #[must_use]
    pub fn quick(failover: Duration) -> Self {
        let lease_duration = failover.min(JAVA_LEASE);
        Self {
            lease_duration,
            heartbeat: lease_duration / 3,
            look: lease_duration.min(JAVA_HEARTBEAT),
            stands_by: true,
            former_self_is_dead: false,
        }
    }
}

/// A foreign row as this worker has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    version: RecordVersion,
    since: Moment,
}

/// A write whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Doubt {
    version: RecordVersion,
    sent: Moment,
}

/// Where this worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It does not hold the lock.
    Follower {
        /// The row when last looked at.
        sight: Option<Sight>,
        /// The condition under which it may take the lock, from the last look.
        chance: Option<LockCondition>,
        /// When to look next.
        look_at: Moment,
        /// A number that would prove that the lock is mine after all.
        doubt: Option<Doubt>,
    },
    /// It holds the lock.
    Leader {
        version: RecordVersion,
        /// The lock counts as mine until then: the last write that is known to have happened was
        /// *sent* one lease duration before.
        until: Moment,
        /// When to write again, or to look when a write is in doubt.
        beat_at: Moment,
        /// A heartbeat whose end is not known.
        doubt: Option<Doubt>,
    },
    /// It is stopping and never takes the lock again.
    Retired,
}

/// What to do next about the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockStep {
    /// Nothing before this moment.
    WaitUntil(Moment),
    /// Read the row, strongly consistent, and report with [`LeaderLock::saw`].
    Look,
    /// Write, and report with [`LeaderLock::wrote`].
    Write(LockWrite),
    /// Nothing any more.
    Done,
}

/// This worker's part in the election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderLock {
    me: WorkerId,
    settings: LockSettings,
    standing: Standing,
    /// The owner in the row, for messages.
    known_leader: Option<WorkerId>,
}

impl LeaderLock {
    /// A worker that has not looked yet and does so at once.
    #[must_use]
    pub const fn new(me: WorkerId, settings: LockSettings, now: Moment) -> Self {
        Self {
            me,
            settings,
            standing: Standing::Follower {
                sight: None,
                chance: None,
                look_at: now,
                doubt: None,
            },
            known_leader: None,
        }
    }

    /// Whether this worker is the leader at `now`: it holds the lock by a write that it knows to have
    /// happened, sent less than the lease duration ago.
    #[must_use]
    pub fn is_leader(&self, now: Moment) -> bool {
        matches!(&self.standing, Standing::Leader { until, .. } if now < *until)
    }

    /// Who the row said is the leader when it was last looked at or written.
    #[must_use]
    pub const fn known_leader(&self) -> Option<&WorkerId> {
        self.known_leader.as_ref()
    }

    /// What to do at `now`. `fresh` is a number nobody used before.
    #[must_use]
    pub fn next(&self, now: Moment, fresh: RecordVersion) -> LockStep {
        match &self.standing {
            Standing::Retired => LockStep::Done,
            Standing::Follower {
                chance: Some(condition),
                ..
            } => LockStep::Write(LockWrite {
                condition: condition.clone(),
                change: LockChange::Put(LockItem {
                    owner: self.me.clone(),
                    lease_duration: self.settings.lease_duration,
                    version: fresh,
                    released: false,
                }),
            }),
            Standing::Follower { look_at, .. } if now < *look_at => LockStep::WaitUntil(*look_at),
            Standing::Leader { beat_at, .. } if now < *beat_at => LockStep::WaitUntil(*beat_at),
            Standing::Follower { .. } | Standing::Leader { doubt: Some(_), .. } => LockStep::Look,
            Standing::Leader { version, .. } => LockStep::Write(LockWrite {
                condition: LockCondition::Mine(version.clone(), self.me.clone()),
                change: LockChange::Heartbeat {
                    version: fresh,
                    lease_duration: self.settings.lease_duration,
                },
            }),
        }
    }

    fn lead(&mut self, version: RecordVersion, sent: Moment) {
        self.known_leader = Some(self.me.clone());
        self.standing = Standing::Leader {
            version,
            until: sent + self.settings.lease_duration,
            beat_at: sent + self.settings.heartbeat,
            doubt: None,
        };
    }

    fn follow(&mut self, sight: Option<Sight>, chance: Option<LockCondition>, look_at: Moment) {
        self.standing = Standing::Follower {
            sight,
            chance,
            look_at,
            doubt: None,
        };
    }

    /// Takes in the row. It was asked for at `asked` and came at `answered`: the row is known to have
    /// had this number somewhere in between, so a number counts as first seen at `answered` and as still
    /// there at `asked`.
    pub fn saw(&mut self, row: Option<&LockItem>, asked: Moment, answered: Moment) {
        self.known_leader = row.filter(|row| !row.released).map(|row| row.owner.clone());
        let next_look = answered + self.settings.look;
        let standing = std::mem::replace(&mut self.standing, Standing::Retired);
        let (seen, mine, doubt) = match standing {
            Standing::Retired => return,
            Standing::Follower { sight, doubt, .. } => (sight, None, doubt),
            Standing::Leader {
                version,
                until,
                doubt,
                ..
            } => (None, Some((version, until)), doubt),
        };
        let Some(row) = row else {
            self.follow(None, Some(LockCondition::Absent), next_look);
            return;
        };
        if let Some(doubt) = doubt.filter(|doubt| doubt.version == row.version) {
            self.lead(doubt.version, doubt.sent);
            return;
        }
        if let Some((version, until)) = mine.filter(|(version, _)| *version == row.version) {
            // The heartbeat in doubt did not happen, and nobody else wrote: beat again.
            self.standing = Standing::Leader {
                version,
                until,
                beat_at: answered,
                doubt: None,
            };
            return;
        }
        if row.released {
            self.follow(None, Some(LockCondition::Released), next_look);
            return;
        }
        let sight = seen
            .filter(|sight| sight.version == row.version)
            .unwrap_or_else(|| Sight {
                version: row.version.clone(),
                since: answered,
            });
        let stale_at = sight.since + row.lease_duration;
        let own = self.settings.former_self_is_dead && row.owner == self.me;
        let chance = (own || asked > stale_at).then(|| LockCondition::Version(row.version.clone()));
        // When the number may become stale before the usual look, look just then.
        let just_after = (stale_at + Duration::from_millis(1)).max(answered);
        let look_at = if self.settings.stands_by {
            next_look.min(just_after)
        } else {
            next_look
        };
        self.follow(Some(sight), chance, look_at);
    }

    /// Takes in how a write ended that [`LeaderLock::next`], [`LeaderLock::step_down`] or
    /// [`LeaderLock::retire`] asked for and that was sent at `sent`.
    pub fn wrote(&mut self, write: &LockWrite, outcome: LockOutcome, sent: Moment, now: Moment) {
        if self.standing == Standing::Retired {
            return;
        }
        let Some(version) = write.new_version().cloned() else {
            // Given up. Whatever came of it, others may take it when it is stale.
            return;
        };
        match outcome {
            LockOutcome::Applied => self.lead(version, sent),
            // Somebody else was quicker: see who.
            LockOutcome::Refused => self.follow(None, None, now),
            LockOutcome::Unknown => match &mut self.standing {
                Standing::Leader { doubt, beat_at, .. } => {
                    *beat_at = now;
                    *doubt = Some(Doubt { version, sent });
                }
                Standing::Follower {
                    chance,
                    look_at,
                    doubt,
                    ..
                } => {
                    *chance = None;
                    *look_at = now;
                    *doubt = Some(Doubt { version, sent });
                }
                Standing::Retired => {}
            },
            LockOutcome::Failed => {
                // A little later, so that a service that refuses is not asked without a break.
                let later = now + self.settings.heartbeat / 4;
                match &mut self.standing {
                    Standing::Leader { beat_at, .. } => *beat_at = later,
                    Standing::Follower {
                        chance, look_at, ..
                    } => {
                        *chance = None;
                        *look_at = later;
                    }
                    Standing::Retired => {}
                }
            }
        }
    }

    /// Looks so often from now on while somebody else holds the lock, and stands by or does not.
    pub fn look_every(&mut self, pause: Duration, stands_by: bool, now: Moment) {
        self.settings.look = pause;
        self.settings.stands_by = stands_by;
        if let Standing::Follower { look_at, .. } = &mut self.standing {
            *look_at = (*look_at).min(now + pause);
        }
    }

    /// A look failed at `now`: try again a little later.
    pub fn could_not_look(&mut self, now: Moment) {
        let later = now + self.settings.heartbeat / 4;
        match &mut self.standing {
            Standing::Follower { look_at, .. } => *look_at = later,
            Standing::Leader { beat_at, .. } => *beat_at = later,
            Standing::Retired => {}
        }
    }

    fn release(&mut self) -> Option<LockWrite> {
        match &self.standing {
            Standing::Leader { version, .. } => Some(LockWrite {
                condition: LockCondition::Mine(version.clone(), self.me.clone()),
                change: LockChange::Delete,
            }),
            Standing::Follower { .. } | Standing::Retired => None,
        }
    }

    /// Gives the lock up and leaves it to others for one lease duration: a leader that cannot do its
    /// work is worse than none. The write to send, if the lock is held.
    #[must_use]
    pub fn step_down(&mut self, now: Moment) -> Option<LockWrite> {
        let write = self.release();
        if write.is_some() {
            self.follow(None, None, now + self.settings.lease_duration);
        }
        write
    }

    /// Gives the lock up for good, first thing when stopping (I.36, #1673). The write to send, if the
    /// lock is held.
    #[must_use]
    pub fn retire(&mut self) -> Option<LockWrite> {
        let write = self.release();
        self.standing = Standing::Retired;
        write
    }
}

/// Whether a leader has to give the lock up because its assignment runs get nowhere (I.36, #1669): three
/// of them failed in a row, or none has finished within three intervals.
#[must_use]
pub fn must_step_down(
    failures_in_a_row: u32,
    last_finished_run: Moment,
    now: Moment,
    interval: Duration,
) -> bool {
    failures_in_a_row >= 3 || now.since(last_finished_run) > interval.saturating_mul(3)
}

#[cfg(test)]
#[path = "leader_lock_tests.rs"]
mod tests;

//! The way of a request to the table and of its answer back.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::table::Effect;
use crate::trace::{Answer, Mishap, Op, What};
use crate::world::{Process, Time, World};

/// What becomes of a request.
enum Way {
    /// It arrives, and so does its answer.
    There { to: Time, back: Time },
    /// It arrives; the caller learns nothing, after so long.
    NoAnswer { to: Time, silent_for: Time },
    /// It does not arrive; the caller learns nothing, after so long.
    NoRequest { silent_for: Time },
    /// The service answers with this instead of carrying it out.
    Refused { back: Time, answer: Answer },
}

/// The table as one process reaches it.
#[derive(Clone)]
pub struct SimStore {
    pub(super) world: Arc<World>,
    pub(super) process: Arc<Process>,
    /// How long a caller waits for an answer.
    timeout: Time,
}

impl SimStore {
    pub fn new(world: &Arc<World>, process: &Arc<Process>, timeout: Time) -> Self {
        Self {
            world: Arc::clone(world),
            process: Arc::clone(process),
            timeout,
        }
    }

    /// Sends a request and waits for its answer. What was sent goes its way also when the caller
    /// does not wait any more, or is dead.
    pub async fn request(&self, op: Op) -> Answer {
        let (acts, dies) = self.process.act();
        let answer = acts.then(|| self.send(op));
        if dies {
            self.world.die_of_fate(&self.process);
        }
        match answer {
            Some(answer) => match answer.await {
                Ok(answer) => answer,
                // The process is dead.
                Err(_closed) => pending().await,
            },
            None => pending().await,
        }
    }

    fn send(&self, op: Op) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let call = self.world.table().next_call();
        let sent = What::Sent {
            call,
            op: op.clone(),
        };
        self.world.note_by(&self.process, sent);
        let process = Arc::clone(&self.process);
        let tell = move |world: &Arc<World>, answer: Answer| {
            let told = What::Answered {
                call,
                answer: answer.clone(),
            };
            // A caller that gave up does not hear it.
            if !sender.is_closed() {
                world.note_by(&process, told);
            }
            let _ = sender.send(answer);
        };
        let (world, process) = (&self.world, Arc::clone(&self.process));
        let (way, mishap) = self.way(&op);
        if let Some(mishap) = mishap {
            self.world.note_by(&self.process, What::Mishap(mishap));
        }
        match way {
            Way::There { to, back } => world.after(to, move |world| {
                let (answer, wait) = arrive(world, &process, call, &op);
                world.after_for(&process, back + wait, move |world| tell(world, answer));
            }),
            Way::NoAnswer { to, silent_for } => {
                let caller = Arc::clone(&process);
                world.after(to, move |world| {
                    arrive(world, &process, call, &op);
                });
                world.after_for(&caller, silent_for, move |world| {
                    tell(world, Answer::Unknown)
                });
            }
            Way::NoRequest { silent_for } => {
                world.after_for(&process, silent_for, move |world| {
                    tell(world, Answer::Unknown)
                });
            }
            Way::Refused { back, answer } => {
                world.after_for(&process, back, move |world| tell(world, answer));
            }
        }
        receiver
    }

    /// What becomes of a request, and what is wrong with that.
    fn way(&self, op: &Op) -> (Way, Option<Mishap>) {
        let weather = self.world.weather();
        let weather = &weather.table;
        let mut rng = self.world.rng();
        let to = rng.mostly_low(500, weather.latency);
        let back = rng.mostly_low(500, weather.latency);
        let silent_for = self.timeout;
        if weather.down {
            return (Way::NoRequest { silent_for }, Some(Mishap::TableDown));
        }
        if weather.cut_off.contains(&self.process.number) {
            return (Way::NoRequest { silent_for }, Some(Mishap::CutOff));
        }
        if rng.chance(weather.throttled) {
            let answer = Answer::Throttled;
            return (Way::Refused { back, answer }, Some(Mishap::TableThrottles));
        }
        if rng.chance(weather.unavailable) {
            let answer = Answer::Unavailable;
            let mishap = Mishap::TableUnavailable;
            return (Way::Refused { back, answer }, Some(mishap));
        }
        // A connection that breaks is noticed sooner than one that is silent.
        let silent_for = match rng.below(3) {
            0 => rng.between(to + back, self.timeout.max(to + back)),
            _ => self.timeout,
        };
        if rng.chance(weather.request_lost) {
            return (Way::NoRequest { silent_for }, Some(Mishap::RequestLost));
        }
        if rng.chance(weather.answer_lost) {
            return (Way::NoAnswer { to, silent_for }, Some(Mishap::AnswerLost));
        }
        if rng.chance(weather.late) && is_write(op) {
            let to = rng.between(self.timeout / 2, self.timeout * 5);
            return (Way::NoAnswer { to, silent_for }, Some(Mishap::RequestLate));
        }
        (Way::There { to, back }, None)
    }
}

fn is_write(op: &Op) -> bool {
    if let Op::Legacy(op) = op {
        return !op.is_read();
    }
    !matches!(
        op,
        Op::Scan
            | Op::Get(..)
            | Op::Open(_)
            | Op::Index
            | Op::Query(_)
            | Op::Leader
            | Op::ClientVersion
    )
}

/// The request reaches the table: the answer, and how long it is held back.
fn arrive(world: &Arc<World>, process: &Process, call: u64, op: &Op) -> (Answer, Time) {
    let now = world.now();
    let staleness = world.weather().table.staleness;
    let Effect {
        answer,
        written,
        wait,
        mishap,
    } = world
        .table()
        .carry_out(now, op, staleness, &mut world.rng());
    if let Some(mishap) = mishap {
        world.note_of(process, What::Mishap(mishap));
    }
    match (written, &answer) {
        (Some((before, after)), _) => {
            let applied = What::Applied {
                call,
                before,
                after,
            };
            world.note_of(process, applied);
        }
        (None, Answer::Lost(_) | Answer::Deleted(false) | Answer::Created(false)) => {
            world.note_of(process, What::Refused { call });
        }
        _ => {}
    }
    (answer, wait)
}

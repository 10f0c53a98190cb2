//! The way out: the shard has ended, the lease is lost, or the worker stops.

use super::{Action, Actions, AfterChild, Consumer, Leaving, Outcome, State};

impl<B, R> Consumer<B, R> {
    pub(super) fn leave(&mut self, reason: Leaving) -> Actions<B, R> {
        if reason <= self.leaving || self.state == State::Done {
            return Vec::new();
        }
        self.leaving = reason;
        let lost = reason == Leaving::LeaseLost;
        match &mut self.state {
            State::WaitingForParents | State::Pausing => {
                if lost {
                    self.finish(Outcome::LeaseLost)
                } else {
                    self.release_without_child()
                }
            }
            State::Idle if lost => self.tell_lease_lost(),
            State::Idle => self.request_shutdown(),
            State::AskingAgain { .. } | State::CreatingChildLeases if lost => {
                self.tell_lease_lost()
            }
            State::AskingAgain { .. } => self.end_child(AfterChild::Finish(Outcome::Released)),
            State::Releasing if lost => self.finish(Outcome::LeaseLost),
            State::TellingLeaseLost { released, .. } if lost => {
                *released = true;
                self.after_lease_lost()
            }
            State::EndingChild { next, released } if lost => {
                *released = true;
                if let AfterChild::Restart { .. } = next {
                    *next = AfterChild::Finish(Outcome::LeaseLost);
                }
                Vec::new()
            }
            State::EndingChild { next, released } => match next {
                AfterChild::Restart { .. } => {
                    *next = AfterChild::Finish(Outcome::Released);
                    *released = false;
                    vec![Action::ReleaseLease]
                }
                AfterChild::Finish(_) => Vec::new(),
            },
            // The running action is never interrupted (`protocol.md` §6, §13.1); fetching more is useless.
            State::Initializing | State::Processing => vec![Action::StopFetching],
            _ => Vec::new(),
        }
    }

    pub(super) fn request_shutdown(&mut self) -> Actions<B, R> {
        self.state = State::RequestingShutdown;
        vec![Action::StopFetching, Action::RequestShutdown]
    }

    /// `leaseLost` is also the last message after a graceful stop. The lease is released before it:
    /// the child has had its last checkpoint, and the next worker need not wait for the child to end.
    pub(super) fn tell_lease_lost(&mut self) -> Actions<B, R> {
        let lost = self.leaving == Leaving::LeaseLost;
        self.state = State::TellingLeaseLost {
            outcome: if lost {
                Outcome::LeaseLost
            } else {
                Outcome::Released
            },
            answered: false,
            released: lost,
        };
        let mut actions = vec![Action::StopFetching];
        if !lost {
            actions.push(Action::ReleaseLease);
        }
        actions.push(Action::TellLeaseLost);
        actions
    }

    pub(super) fn after_lease_lost(&mut self) -> Actions<B, R> {
        match &self.state {
            State::TellingLeaseLost {
                outcome,
                answered: true,
                released,
            } => {
                let (outcome, released) = (outcome.clone(), *released);
                self.state = State::EndingChild {
                    next: AfterChild::Finish(outcome),
                    released,
                };
                vec![Action::EndChild]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn end_child(&mut self, next: AfterChild) -> Actions<B, R> {
        let release = next == AfterChild::Finish(Outcome::Released);
        self.state = State::EndingChild {
            next,
            released: !release,
        };
        let mut actions = vec![Action::StopFetching, Action::EndChild];
        if release {
            actions.push(Action::ReleaseLease);
        }
        actions
    }

    pub(super) fn release_without_child(&mut self) -> Actions<B, R> {
        // A checkpoint that is still being written goes first: writes on one lease keep their order.
        self.state = State::Releasing;
        vec![Action::StopFetching, Action::ReleaseLease]
    }

    pub(super) fn on_released(&mut self) -> Actions<B, R> {
        match &mut self.state {
            State::Releasing => self.finish(Outcome::Released),
            State::TellingLeaseLost { released, .. } | State::EndingChild { released, .. } => {
                *released = true;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn finish(&mut self, outcome: Outcome) -> Actions<B, R> {
        self.state = State::Done;
        vec![Action::StopFetching, Action::Finish(outcome)]
    }
}

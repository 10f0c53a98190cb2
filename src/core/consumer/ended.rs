//! The child has ended: as it was told to, or by itself.

use std::time::Duration;

use super::{
    Action, Actions, AfterChild, Consumer, FailurePolicy, LONGEST_PAUSE_AT_SHARD_END, Leaving,
    Outcome, State, Warning, doubling,
};

impl<B, R> Consumer<B, R> {
    pub(super) fn on_child_ended(&mut self, forgiven: bool) -> Actions<B, R> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => Vec::new(),
            State::EndingChild {
                next: AfterChild::Finish(outcome),
                released,
            } => {
                if released {
                    self.finish(outcome)
                } else {
                    self.state = State::Releasing;
                    Vec::new()
                }
            }
            State::EndingChild {
                next: AfterChild::Restart { asked },
                ..
            } => {
                self.state = State::Pausing;
                vec![Action::Wake(doubling(
                    self.task_backoff,
                    LONGEST_PAUSE_AT_SHARD_END,
                    asked,
                ))]
            }
            State::TellingLeaseLost {
                outcome, released, ..
            } => self.end_on_the_way_out("leaseLost", outcome, released, forgiven),
            State::RequestingShutdown => {
                let mut actions = self.failed_while_leaving("shutdownRequested", forgiven);
                if self.state != State::Done {
                    actions.extend(self.leave_without_child());
                }
                actions
            }
            // States without a child keep their course.
            state @ (State::WaitingForParents | State::Pausing | State::Releasing) => {
                self.state = state;
                Vec::new()
            }
            State::Initializing
            | State::Idle
            | State::Processing
            | State::CreatingChildLeases
            | State::EndingShard { .. }
            | State::AskingAgain { .. } => self.on_child_failed(forgiven),
        }
    }

    fn end_on_the_way_out(
        &mut self,
        during: &'static str,
        outcome: Outcome,
        released: bool,
        forgiven: bool,
    ) -> Actions<B, R> {
        let mut actions = self.failed_while_leaving(during, forgiven);
        if self.state == State::Done {
            return actions;
        }
        if released {
            actions.extend(self.finish(outcome));
        } else {
            self.state = State::Releasing;
        }
        actions
    }

    /// The child ended instead of answering one of its last messages: with the restart policy nothing
    /// is lost by it; with Java's the daemon ends. Leaves the state `Done` in the latter case.
    fn failed_while_leaving(&mut self, during: &'static str, forgiven: bool) -> Actions<B, R> {
        if self.policy == FailurePolicy::Exit && !forgiven {
            return self.finish(Outcome::DaemonMustExit);
        }
        self.state = State::Releasing;
        vec![Action::Warn(Warning::EndedWithoutAnswer(during))]
    }

    fn leave_without_child(&mut self) -> Actions<B, R> {
        match self.leaving {
            Leaving::LeaseLost => self.finish(Outcome::LeaseLost),
            Leaving::StopRequested | Leaving::No => self.release_without_child(),
        }
    }

    fn on_child_failed(&mut self, forgiven: bool) -> Actions<B, R> {
        if self.progress.is_finished() {
            // It checkpointed the end and died before its status: the shard is done all the same.
            return self.finish(Outcome::ShardFinished);
        }
        if forgiven {
            return match self.leaving {
                Leaving::No => {
                    self.state = State::Pausing;
                    vec![Action::StopFetching, Action::Wake(Duration::ZERO)]
                }
                _ => self.leave_without_child(),
            };
        }
        self.failures += 1;
        let FailurePolicy::Restart {
            first_pause,
            longest_pause,
            max_failures,
        } = self.policy
        else {
            return self.finish(Outcome::DaemonMustExit);
        };
        if self.leaving != Leaving::No {
            let mut actions = vec![Action::Warn(Warning::EndedWithoutAnswer("its last action"))];
            actions.extend(self.leave_without_child());
            return actions;
        }
        if self.failures >= max_failures {
            return self.finish(Outcome::DaemonMustExit);
        }
        let pause = doubling(first_pause, longest_pause, self.failures);
        self.state = State::Pausing;
        vec![
            Action::StopFetching,
            Action::Warn(Warning::Restarting {
                failures: self.failures,
                pause,
            }),
            Action::Wake(pause),
        ]
    }
}

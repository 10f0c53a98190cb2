//! The clock of a process.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kcl_daemon::core::time::Moment;
use kcl_daemon::ports::{BoxFuture, Clock};

use super::process::Process;
use super::queue::Time;
use super::{World, lock};

/// Tells a process the time.
#[derive(Clone)]
pub struct SimClock {
    world: Arc<World>,
    process: Arc<Process>,
}

impl SimClock {
    pub fn new(world: &Arc<World>, process: &Arc<Process>) -> Self {
        Self {
            world: Arc::clone(world),
            process: Arc::clone(process),
        }
    }

    /// Waits this long.
    pub async fn sleep(&self, time: Time) {
        let until = self.now() + Duration::from_micros(time);
        self.sleep_until(until).await;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::from_origin(Duration::from_micros(self.process.local(self.world.now())))
    }

    fn wall_millis(&self) -> i64 {
        self.world.wall_ms() + self.process.wall_skew_ms()
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        let until = u64::try_from(moment.since_origin().as_micros()).unwrap_or(Time::MAX);
        // Time of the world comes in microseconds; a moment between two of them is the later one.
        let rest = moment.since_origin().subsec_nanos() % 1000;
        Box::pin(Sleep {
            world: Arc::clone(&self.world),
            process: Arc::clone(&self.process),
            until: until.saturating_add(Time::from(rest > 0)),
            sleeper: None,
        })
    }
}

/// Somebody who waits.
#[derive(Default)]
pub struct Sleeper {
    waker: Mutex<Option<Waker>>,
}

impl Sleeper {
    /// Wakes it; whether it still waited.
    pub fn wake(&self) -> bool {
        match lock(&self.waker).take() {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        }
    }
}

struct Sleep {
    world: Arc<World>,
    process: Arc<Process>,
    until: Time,
    sleeper: Option<Arc<Sleeper>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.process.is_dead() {
            return Poll::Pending;
        }
        let now = self.process.local(self.world.now());
        if now >= self.until {
            self.sleeper = None;
            return Poll::Ready(());
        }
        if let Some(sleeper) = &self.sleeper {
            let mut waker = lock(&sleeper.waker);
            if waker.is_some() {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        // Never asked before, or woken too early because the clock had stood still.
        let sleeper = Arc::new(Sleeper {
            waker: Mutex::new(Some(context.waker().clone())),
        });
        self.world
            .wake_after(&self.process, self.until - now, Arc::clone(&sleeper));
        self.sleeper = Some(sleeper);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(sleeper) = &self.sleeper {
            lock(&sleeper.waker).take();
        }
    }
}

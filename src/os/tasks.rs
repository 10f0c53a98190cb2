//! Tasks that have an owner. When the owner is dropped, they end.

use std::future::Future;
use std::io;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::AbortOnDropHandle;

/// A task panicked. That is a bug in this program; the text is what it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task of the daemon failed unexpectedly: {0}")]
pub struct Panicked(pub String);

/// Tasks of one owner. Dropping it aborts all of them.
#[derive(Debug)]
pub struct TaskGroup<T> {
    tasks: JoinSet<T>,
}

impl<T: Send + 'static> TaskGroup<T> {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
        }
    }

    /// Starts a task on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Starts a task on a given runtime.
    pub fn spawn_on(&mut self, work: impl Future<Output = T> + Send + 'static, on: &Spawner) {
        self.tasks.spawn_on(work, &on.handle);
    }

    /// How many tasks are running, or finished and not yet joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is no such task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The result of the next task to finish; `None` when there is none left. Tasks that were
    /// aborted are passed over. May be dropped and called again without losing a result.
    ///
    /// # Errors
    /// [`Panicked`].
    pub async fn join_next(&mut self) -> Option<Result<T, Panicked>> {
        loop {
            match self.tasks.join_next().await? {
                Ok(value) => return Some(Ok(value)),
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Some(Err(panicked(error))),
            }
        }
    }

    /// Aborts all tasks and waits until they have let go of everything.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl<T: Send + 'static> Default for TaskGroup<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn panicked(error: JoinError) -> Panicked {
    let text = match error.try_into_panic() {
        Ok(payload) => match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => match payload.downcast_ref::<&'static str>() {
                Some(text) => (*text).to_owned(),
                None => "a panic without a text".to_owned(),
            },
        },
        Err(error) => error.to_string(),
    };
    Panicked(text)
}

/// One task, aborted when this is dropped.
#[derive(Debug)]
pub struct OwnedTask<T> {
    handle: AbortOnDropHandle<T>,
}

impl<T> OwnedTask<T> {
    /// Whether it is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// [`Panicked`]; also when its runtime was shut down.
    pub async fn join(self) -> Result<T, Panicked> {
        self.handle.await.map_err(panicked)
    }
}

/// A handle to a runtime, to start tasks there.
#[derive(Debug, Clone)]
pub struct Spawner {
    handle: Handle,
}

impl Spawner {
    /// The runtime that this is called on; `None` outside of one.
    #[must_use]
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(|handle| Self { handle })
    }

    /// Starts a task there.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> OwnedTask<T> {
        OwnedTask {
            handle: AbortOnDropHandle::new(self.handle.spawn(work)),
        }
    }

    /// Runs blocking work on the runtime's threads for that. Once it runs it cannot be aborted.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> OwnedTask<T> {
        OwnedTask {
            handle: AbortOnDropHandle::new(self.handle.spawn_blocking(work)),
        }
    }
}

/// A thread of its own with a runtime of its own, for work that nobody may delay: the renewal of
/// leases. Dropping it aborts its tasks and ends the thread.
#[derive(Debug)]
pub struct RuntimeThread {
    spawner: Spawner,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl RuntimeThread {
    /// Starts the thread; `name` is what `ps -L` and a debugger show (15 bytes of it on Linux).
    ///
    /// # Errors
    /// The operating system refuses another thread or what a runtime needs.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let spawner = Spawner {
            handle: runtime.handle().clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Both a message and a dropped sender mean: stop.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            spawner,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// To start tasks on it.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Ends it and waits for the thread. Do not call it where waiting is forbidden.
    pub fn join(mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It ran nothing of ours outside of tasks, so it has no panic to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says when it is dropped.
    struct OnDrop(Option<oneshot::Sender<()>>);

    impl OnDrop {
        fn new() -> (Self, oneshot::Receiver<()>) {
            let (sender, receiver) = oneshot::channel();
            (Self(Some(sender)), receiver)
        }
    }

    impl Drop for OnDrop {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                let _ = sender.send(());
            }
        }
    }

    async fn hold<T>(held: T) {
        std::future::pending::<()>().await;
        drop(held);
    }

    #[tokio::test]
    async fn results_and_panics_are_joined_and_then_nothing() {
        let mut group = TaskGroup::new();
        group.spawn(async { 1 });
        assert_eq!(group.join_next().await, Some(Ok(1)));
        group.spawn(async { panic!("broken {}", 7) });
        assert_eq!(
            group.join_next().await,
            Some(Err(Panicked("broken 7".to_owned())))
        );
        group.spawn(async { std::panic::panic_any("plain") });
        assert_eq!(
            group.join_next().await,
            Some(Err(Panicked("plain".to_owned())))
        );
        assert_eq!(group.join_next().await, None);
        assert!(group.is_empty());
    }

    #[tokio::test]
    async fn dropping_the_group_ends_its_tasks() {
        let (guard, dropped) = OnDrop::new();
        let mut group = TaskGroup::new();
        group.spawn(hold(guard));
        assert_eq!(group.len(), 1);
        drop(group);
        dropped.await.unwrap();
    }

    #[tokio::test]
    async fn shutdown_waits_until_the_tasks_are_gone() {
        let (guard, mut dropped) = OnDrop::new();
        let mut group = TaskGroup::new();
        group.spawn(hold(guard));
        group.shutdown().await;
        assert!(dropped.try_recv().is_ok());
        assert_eq!(group.join_next().await, None);
    }

    #[tokio::test]
    async fn an_owned_task_ends_with_its_owner() {
        let spawner = Spawner::current().unwrap();
        let (guard, dropped) = OnDrop::new();
        drop(spawner.spawn(hold(guard)));
        dropped.await.unwrap();
        assert_eq!(spawner.spawn(async { 3 }).join().await, Ok(3));
        assert_eq!(spawner.spawn_blocking(|| 4).join().await, Ok(4));
    }

    #[test]
    fn there_is_no_spawner_outside_of_a_runtime() {
        assert!(Spawner::current().is_none());
    }

    #[tokio::test]
    async fn a_runtime_thread_runs_tasks_elsewhere_and_ends_when_dropped() {
        let renewals = RuntimeThread::start("renewals").unwrap();
        let name = renewals
            .spawner()
            .spawn(async { thread::current().name().map(str::to_owned) });
        assert_eq!(name.join().await, Ok(Some("renewals".to_owned())));

        let (guard, dropped) = OnDrop::new();
        let held = renewals.spawner().spawn(hold(guard));
        drop(renewals);
        dropped.await.unwrap();
        assert!(held.join().await.is_err());
    }

    #[test]
    fn joining_a_runtime_thread_waits_for_its_end() {
        let renewals = RuntimeThread::start("renewals").unwrap();
        let (guard, mut dropped) = OnDrop::new();
        let held = renewals.spawner().spawn(hold(guard));
        renewals.join();
        assert!(dropped.try_recv().is_ok());
        drop(held);
    }
}

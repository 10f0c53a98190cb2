//! Waits that end.

use std::future::Future;
use std::time::Duration;

use crate::ports::Clock;

/// The time was over first; what was waited for was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not done within {0:?}")]
pub struct Elapsed(pub Duration);

/// Waits for `work`, at most for `limit`.
///
/// # Errors
/// [`Elapsed`]; `work` is dropped then. Work that is ready at the last moment counts as done.
pub async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let over = clock.sleep_until(clock.now() + limit);
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = over => Err(Elapsed(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn the_earlier_one_decides() {
        let clock = SystemClock::new();
        let second = Duration::from_secs(1);
        let nap = |duration| clock.sleep_until(clock.now() + duration);
        assert_eq!(within(&clock, second * 2, nap(second)).await, Ok(()));
        assert_eq!(
            within(&clock, second, nap(second * 2)).await,
            Err(Elapsed(second))
        );
        assert_eq!(within(&clock, Duration::ZERO, async { 5 }).await, Ok(5));
    }
}

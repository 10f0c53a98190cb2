//! Bounds of what is fetched ahead: per shard in batches, records and bytes, and for all shards
//! together in bytes (`retrieval.md` A.5).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::fetch::buffers::Buffers;

/// Bytes per unit of the global budget, so that a permit count fits 32 bits.
const UNIT: usize = 1024;

/// Payload bytes that all shards together may hold.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    all: usize,
    buffers: Buffers,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    permit: Option<OwnedSemaphorePermit>,
    units: Arc<Semaphore>,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let all = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS / 2);
        Self {
            units: Arc::new(Semaphore::new(all)),
            all,
            buffers: Buffers::default(),
        }
    }

    /// What the bytes are kept in.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Takes what is free for an answer of about `bytes`, without waiting: a shard that has nothing
    /// fetched ahead always gets its next page, so that shards whose children hang cannot starve it.
    #[must_use]
    pub fn reserve_now(&self, bytes: usize) -> Share {
        let mut share = Share {
            permit: None,
            units: Arc::clone(&self.units),
        };
        share.take_free(bytes.div_ceil(UNIT).max(1));
        share
    }

    /// Waits until an answer of about `bytes` fits. A single answer larger than everything waits for
    /// everything, so that it can be read at all.
    pub async fn reserve(&self, bytes: usize) -> Share {
        let units = bytes.div_ceil(UNIT).clamp(1, self.all);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Share {
            // The semaphore is never closed; without a permit the share is simply empty.
            permit: Arc::clone(&self.units).acquire_many_owned(units).await.ok(),
            units: Arc::clone(&self.units),
        }
    }
}

impl Share {
    /// Corrects an estimate to what really came: gives the surplus back, or takes what is free of the
    /// missing part without waiting (the bytes are here already).
    pub fn correct(&mut self, bytes: usize) {
        let wanted = bytes.div_ceil(UNIT).max(1);
        let held = self
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted > held {
            self.take_free(wanted - held);
        } else if let Some(permit) = &mut self.permit {
            drop(permit.split(held - wanted));
        }
    }

    /// Gives a part of it away, as much as there is.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let held = self
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let part = bytes.div_ceil(UNIT).min(held);
        Self {
            permit: self.permit.as_mut().and_then(|permit| permit.split(part)),
            units: Arc::clone(&self.units),
        }
    }

    /// Takes as many of these units as are free.
    fn take_free(&mut self, units: usize) {
        let free = units.min(self.units.available_permits());
        let Ok(count) = u32::try_from(free) else {
            return;
        };
        let Ok(more) = Arc::clone(&self.units).try_acquire_many_owned(count) else {
            return;
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }
}

/// Limits of what one shard fetches ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefetch {
    /// `maxPendingProcessRecordsInput`; 0 means one at a time, fetched on demand.
    pub batches: usize,
    /// `maxRecordsCount`.
    pub records: usize,
    /// `maxCacheByteSize`.
    pub bytes: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Queued {
    batches: usize,
    records: usize,
    bytes: usize,
}

/// What one shard has fetched ahead.
#[derive(Debug)]
pub struct Ahead {
    limits: Prefetch,
    queued: Mutex<Queued>,
    changed: Notify,
}

/// One queued batch; leaves the count when dropped.
#[derive(Debug)]
pub struct Place {
    ahead: Arc<Ahead>,
    records: usize,
    bytes: usize,
}

impl Ahead {
    /// Nothing fetched yet.
    #[must_use]
    pub fn new(limits: Prefetch) -> Arc<Self> {
        Arc::new(Self {
            limits,
            queued: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn queued(&self) -> std::sync::MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another page may be fetched.
    fn has_room(&self) -> bool {
        let queued = *self.queued();
        queued.batches == 0
            || (queued.batches < self.limits.batches
                && queued.records < self.limits.records
                && queued.bytes < self.limits.bytes)
    }

    /// Waits until nothing is fetched ahead.
    pub async fn emptied(&self) {
        loop {
            let changed = self.changed.notified();
            if self.queued().batches == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Waits until another page may be fetched.
    pub async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Counts a batch until its place is dropped.
    #[must_use]
    pub fn place(self: &Arc<Self>, records: usize, bytes: usize) -> Place {
        let mut queued = self.queued();
        queued.batches += 1;
        queued.records += records;
        queued.bytes += bytes;
        Place {
            ahead: Arc::clone(self),
            records,
            bytes,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queued = self.ahead.queued();
        queued.batches -= 1;
        queued.records -= self.records;
        queued.bytes -= self.bytes;
        drop(queued);
        self.ahead.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_in_batches_records_and_bytes() {
        let ahead = Ahead::new(Prefetch {
            batches: 2,
            records: 10,
            bytes: 100,
        });
        assert!(ahead.has_room());
        let large = ahead.place(1, 5000);
        assert!(!ahead.has_room(), "bytes");
        drop(large);
        let many = ahead.place(10, 1);
        assert!(!ahead.has_room(), "records");
        drop(many);
        let one = ahead.place(1, 1);
        assert!(ahead.has_room());
        let two = ahead.place(1, 1);
        assert!(!ahead.has_room(), "batches");
        drop((one, two));
        assert!(ahead.has_room());
    }

    #[test]
    fn without_prefetch_one_page_waits_at_most() {
        let ahead = Ahead::new(Prefetch {
            batches: 0,
            records: 10,
            bytes: 100,
        });
        assert!(ahead.has_room());
        let _one = ahead.place(0, 0);
        assert!(!ahead.has_room());
    }

    #[tokio::test]
    async fn the_budget_is_shared_and_corrected() {
        let budget = Budget::new(100 * UNIT);
        let mut first = budget.reserve(80 * UNIT).await;
        assert_eq!(budget.units.available_permits(), 20);
        first.correct(10 * UNIT);
        assert_eq!(budget.units.available_permits(), 90);
        first.correct(50 * UNIT);
        assert_eq!(budget.units.available_permits(), 50);
        // More than there is: it is here already, so nothing waits, and all that is free is taken.
        first.correct(500 * UNIT);
        assert_eq!(budget.units.available_permits(), 0);
        let at_once = budget.reserve_now(10 * UNIT);
        drop((first, at_once));
        assert_eq!(budget.units.available_permits(), 100);
        let mut whole = budget.reserve(10 * UNIT).await;
        let part = whole.split(4 * UNIT);
        drop(whole);
        assert_eq!(budget.units.available_permits(), 96);
        drop(part);
        assert_eq!(budget.units.available_permits(), 100);
        let everything = budget.reserve(usize::MAX).await;
        assert_eq!(budget.units.available_permits(), 0);
        drop(everything);
    }
}

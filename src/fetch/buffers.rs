//! Buffers that lines are encoded into, used again and again.
//!
//! A line of 14 MB in fresh memory costs the kernel thousands of pages to find and clear, which is
//! dearer than encoding it. So buffers come back when the child has answered. Shards share them: many
//! shards are idle at any time, and none of them should hold memory for a rush that is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multilang_protocol::EncodedBatch;

use crate::os::memory::large_buffer;

/// Smaller buffers are not worth keeping: the allocator does well with them.
pub(super) const WORTH_KEEPING: usize = 64 * 1024;
/// Bytes of unused buffers kept at most: a page of 10 MB for each of six shards. They are those that were in
/// use at the busiest moment, so keeping them takes no more memory than that did; giving them up during a
/// rush costs a fault for each of their pages, a third of all lines with four shards and half of this.
const MOST_SPARE: usize = 96 * 1024 * 1024;
/// So many small lines in a row mean that the rush is over.
const QUIET_AFTER: usize = 64;

/// Spare buffers of all shards.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Spare>>);

#[derive(Debug, Default)]
struct Spare {
    /// Last used last.
    buffers: Vec<Vec<u8>>,
    /// Small lines since the last large one.
    small: usize,
}

impl Buffers {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer for a line of about `bytes`.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut spare = self.spare();
        if bytes < WORTH_KEEPING {
            spare.small += 1;
            if spare.small >= QUIET_AFTER {
                spare.buffers = Vec::new();
            }
            return Vec::new();
        }
        spare.small = 0;
        // A much larger one would spend its memory on a line that does not need it.
        let fits = |buffer: &Vec<u8>| (bytes..=bytes * 4).contains(&buffer.capacity());
        if let Some(place) = spare.buffers.iter().rposition(fits) {
            return spare.buffers.remove(place);
        }
        // In place of one that has become too small, so that there are never more than were in use.
        let too_small = |buffer: &Vec<u8>| buffer.capacity() < bytes;
        if let Some(place) = spare.buffers.iter().position(too_small) {
            spare.buffers.remove(place);
        }
        drop(spare);
        // Lines differ a little, and one that has to move needs two places for a moment.
        large_buffer(bytes + bytes / 8)
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Vec<u8>) {
        if buffer.capacity() < WORTH_KEEPING {
            return;
        }
        let mut spare = self.spare();
        spare.buffers.push(buffer);
        while spare.buffers.iter().map(Vec::capacity).sum::<usize>() > MOST_SPARE {
            spare.buffers.remove(0);
        }
    }
}

/// Gives a line's buffer back when dropped, if nobody else holds the line then.
#[derive(Debug)]
pub struct GiveBack {
    line: Option<EncodedBatch>,
    buffers: Buffers,
}

impl GiveBack {
    /// For this line.
    #[must_use]
    pub fn new(line: &EncodedBatch, buffers: &Buffers) -> Self {
        Self {
            line: Some(line.clone()),
            buffers: buffers.clone(),
        }
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some(buffer) = self.line.take().and_then(EncodedBatch::into_buffer) {
            self.buffers.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multilang_protocol::BatchEncoder;

    const MB: usize = 1 << 20;

    fn spare(buffers: &Buffers) -> Vec<usize> {
        buffers.spare().buffers.iter().map(Vec::capacity).collect()
    }

    #[test]
    fn a_buffer_of_the_right_size_comes_back() {
        let buffers = Buffers::default();
        let line = BatchEncoder::with_buffer(buffers.take(MB)).finish(None);
        let address = line.bytes().as_ptr();
        let give_back = GiveBack::new(&line, &buffers);
        drop(line);
        assert!(spare(&buffers).is_empty());
        drop(give_back);
        // A much smaller line does not get it.
        let other = buffers.take(100 * 1024);
        assert_ne!(other.as_ptr(), address);
        let again = buffers.take(MB / 2);
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn a_line_that_is_still_written_keeps_its_buffer() {
        let buffers = Buffers::default();
        let line = BatchEncoder::with_buffer(buffers.take(MB)).finish(None);
        drop(GiveBack::new(&line, &buffers));
        assert!(spare(&buffers).is_empty());
        assert_eq!(line.bytes().last(), Some(&b'\n'));
    }

    #[test]
    fn a_larger_buffer_takes_the_place_of_a_smaller_one() {
        let buffers = Buffers::default();
        for size in [2, 3, 9] {
            buffers.give(Vec::with_capacity(size * MB));
        }
        drop(buffers.take(5 * MB));
        assert_eq!(
            spare(&buffers),
            [2 * MB, 3 * MB],
            "the third was large enough"
        );
        drop(buffers.take(5 * MB));
        assert_eq!(spare(&buffers), [3 * MB]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_let_go_when_it_is_quiet() {
        let buffers = Buffers::default();
        for _ in 0..20 {
            buffers.give(Vec::with_capacity(8 * MB));
        }
        assert_eq!(spare(&buffers), [8 * MB; 12]);
        buffers.give(Vec::with_capacity(100 * MB));
        assert!(spare(&buffers).is_empty(), "one that is larger than all");
        buffers.give(Vec::with_capacity(MB));
        for _ in 0..QUIET_AFTER {
            assert_eq!(spare(&buffers), [MB]);
            drop(buffers.take(0));
        }
        assert!(spare(&buffers).is_empty());
    }
}

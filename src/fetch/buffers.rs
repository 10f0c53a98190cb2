//! Buffers that lines are encoded into, used again and again.
//!
//! A line of 14 MB in fresh memory costs the kernel thousands of pages to find and clear, which is
//! dearer than encoding it. So buffers come back when the child has answered. Shards share them: many
//! shards are idle at any time, and none of them should hold memory for a rush that is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multilang_protocol::EncodedBatch;

/// Smaller buffers are not worth keeping: the allocator does well with them.
const WORTH_KEEPING: usize = 64 * 1024;
/// Bytes of unused buffers kept at most.
const MOST_SPARE: usize = 32 * 1024 * 1024;
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
        match spare.buffers.iter().rposition(fits) {
            Some(place) => spare.buffers.remove(place),
            // Lines differ a little, and one that has to move needs two places for a moment.
            None => Vec::with_capacity(bytes + bytes / 8),
        }
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
        let others = [buffers.take(100 * 1024), buffers.take(3 * MB)];
        assert!(others.iter().all(|other| other.as_ptr() != address));
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
    fn what_is_kept_is_bounded_and_let_go_when_it_is_quiet() {
        let buffers = Buffers::default();
        for _ in 0..20 {
            buffers.give(Vec::with_capacity(8 * MB));
        }
        assert_eq!(spare(&buffers), [8 * MB; 4]);
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

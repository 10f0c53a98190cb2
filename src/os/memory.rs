//! Large pages for large buffers: a hint to the operating system, where it takes one.

/// Smaller buffers are not worth it.
const LARGE_FROM: usize = 4 << 20;
/// What the hint is given in: pages of this size exist everywhere.
const SMALLEST_PAGE: usize = 64 << 10;

/// A buffer of at least so many bytes that is to be filled again and again.
///
/// A line of 15 MB lies on 3,800 pages of 4 KB, more than a processor remembers the places of, so each pass
/// over it looks thousands of them up, in a virtual machine twice. With pages of 2 MB, copying 15 MB into
/// such a buffer took 0.20 s/GB of CPU instead of 0.25 to 0.40, and writing it to a pipe 0.20 instead of
/// 0.19 to 0.44 (`benches/README.md`).
#[must_use]
pub fn large_buffer(bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(bytes);
    if bytes >= LARGE_FROM {
        prefer_large_pages(&mut buffer);
    }
    buffer
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the hint has no safe interface")]
fn prefer_large_pages(buffer: &mut Vec<u8>) {
    use rustix::mm::{Advice, madvise};

    let memory = buffer.spare_capacity_mut();
    let (start, length) = (memory.as_mut_ptr(), memory.len());
    // Whole pages that belong to the buffer alone.
    let before = start.align_offset(SMALLEST_PAGE);
    let Some(inside) = length.checked_sub(before) else {
        return;
    };
    let inside = inside - inside % SMALLEST_PAGE;
    // A kernel without such pages says so; nothing is lost.
    // SAFETY: the range lies within the buffer's own memory, and this advice changes neither what is in it
    // nor whether it can be reached, only by which pages it is backed.
    let _advised = unsafe {
        madvise(
            start.wrapping_add(before).cast(),
            inside,
            Advice::LinuxHugepage,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn prefer_large_pages(_: &mut Vec<u8>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_every_size_can_be_filled() {
        for bytes in [0, 1, LARGE_FROM - 1, LARGE_FROM, (20 << 20) + 12_345] {
            let mut buffer = large_buffer(bytes);
            assert!(buffer.capacity() >= bytes);
            buffer.extend((0..bytes).map(|n| n as u8));
            assert!(buffer.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        }
    }
}

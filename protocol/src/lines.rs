//! Bytes of a pipe → lines, in bounded memory whatever the child prints.

use memchr::memchr2;

/// The cap on a line of a child: 16 MiB, more than any protocol message needs.
pub const DEFAULT_LINE_CAP: usize = 16 * 1024 * 1024;

/// A buffer larger than this is given back after its line, so that one long line does not keep
/// its memory for the life of the child.
const KEEP: usize = 64 * 1024;

/// One line, without its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line, or its first bytes up to the cap.
    pub bytes: &'a [u8],
    /// How many bytes of it were discarded beyond the cap.
    pub truncated: u64,
}

/// Splits what a child prints into lines as Java's reader does: `\n`, `\r` and `\r\n` end a line,
/// and so does the end of the output (protocol.md §2).
///
/// Every byte is looked at once; at most the cap is held.
#[derive(Debug)]
pub struct LineSplitter {
    cap: usize,
    /// The unfinished line, never longer than the cap.
    pending: Vec<u8>,
    truncated: u64,
    /// The last line ended in `\r`: a `\n` that follows belongs to that ending.
    after_cr: bool,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(DEFAULT_LINE_CAP)
    }
}

impl LineSplitter {
    /// A splitter that keeps at most `cap` bytes of a line.
    pub fn new(cap: usize) -> Self {
        LineSplitter {
            cap,
            pending: Vec::new(),
            truncated: 0,
            after_cr: false,
        }
    }

    /// Takes the next bytes of the output and calls `on_line` for each line that they complete.
    /// Chunks may be cut anywhere.
    pub fn feed(&mut self, chunk: &[u8], mut on_line: impl FnMut(Line<'_>)) {
        let mut rest = chunk;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, ending) = rest.split_at(end);
            self.complete(line, &mut on_line);
            rest = match ending {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.keep(rest);
    }

    /// The end of the output: an unterminated last line counts.
    pub fn finish(&mut self, mut on_line: impl FnMut(Line<'_>)) {
        self.after_cr = false;
        if self.pending_bytes() > 0 {
            self.complete(&[], &mut on_line);
        }
    }

    /// Bytes of the line that has not ended yet, the discarded ones included. Lets a reader give
    /// up on a line without end before it ends.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.len() as u64 + self.truncated
    }

    /// Bytes of the unfinished line that are already discarded beyond the cap.
    pub fn pending_truncated(&self) -> u64 {
        self.truncated
    }

    fn complete(&mut self, last_part: &[u8], on_line: &mut impl FnMut(Line<'_>)) {
        if self.pending_bytes() == 0 && last_part.len() <= self.cap {
            // The whole line lies in the chunk: no copy.
            on_line(Line {
                bytes: last_part,
                truncated: 0,
            });
            return;
        }
        self.keep(last_part);
        on_line(Line {
            bytes: &self.pending,
            truncated: self.truncated,
        });
        self.truncated = 0;
        self.pending.clear();
        if self.pending.capacity() > KEEP {
            self.pending = Vec::new();
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = self.cap - self.pending.len();
        let (kept, discarded) = part.split_at(part.len().min(room));
        self.make_room(kept.len());
        self.pending.extend_from_slice(kept);
        self.truncated = self.truncated.saturating_add(discarded.len() as u64);
    }

    /// Doubles the buffer as a `Vec` does, but never beyond the cap.
    fn make_room(&mut self, extra: usize) {
        let needed = self.pending.len() + extra;
        if needed > self.pending.capacity() {
            let target = self.pending.capacity().saturating_mul(2).min(self.cap);
            let target = target.max(needed);
            self.pending.reserve_exact(target - self.pending.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(cap: usize, chunks: &[&[u8]]) -> Vec<(String, u64)> {
        let mut splitter = LineSplitter::new(cap);
        let mut lines = Vec::new();
        let mut on_line = |line: Line<'_>| {
            lines.push((
                String::from_utf8(line.bytes.to_vec()).unwrap(),
                line.truncated,
            ));
        };
        for chunk in chunks {
            splitter.feed(chunk, &mut on_line);
        }
        splitter.finish(&mut on_line);
        lines
    }

    #[test]
    fn endings() {
        let table: [(&[&[u8]], &[&str]); 12] = [
            (&[], &[]),
            (&[b""], &[]),
            (&[b"\n"], &[""]),
            (&[b"\na\n"], &["", "a"]),
            (&[b"a\nb"], &["a", "b"]),
            (&[b"a\r\nb\r\n"], &["a", "b"]),
            (&[b"a\rb\r"], &["a", "b"]),
            (&[b"a\r\rb"], &["a", "", "b"]),
            (&[b"a\n\rb"], &["a", "", "b"]),
            (&[b"a\r", b"\nb"], &["a", "b"]),
            (&[b"a\r", b"", b"\n", b"\n"], &["a", ""]),
            (&[b"a", b"b\rc", b"d"], &["ab", "cd"]),
        ];
        for (chunks, expected) in table {
            let expected: Vec<_> = expected.iter().map(|&line| (line.to_owned(), 0)).collect();
            assert_eq!(split(100, chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn the_rest_of_a_long_line_is_counted_and_the_next_line_is_whole() {
        let expected = vec![("abcd".to_owned(), 3), ("efgh".to_owned(), 0)];
        assert_eq!(split(4, &[b"abcdefg\nefgh\n"]), expected);
        assert_eq!(split(4, &[b"ab", b"cde", b"fg", b"\nef", b"gh"]), expected);
        assert_eq!(split(4, &[b"abcde"]), [("abcd".to_owned(), 1)]);
        assert_eq!(split(0, &[b"ab\n"]), [(String::new(), 2)]);
    }

    #[test]
    fn a_line_of_100_mb_is_held_up_to_the_cap_only() {
        // Not a power of two, so that doubling would overshoot it.
        let cap = DEFAULT_LINE_CAP - 4_000_000;
        let mut splitter = LineSplitter::new(cap);
        let chunk = [b'x'; 64 * 1024];
        for _ in 0..1600 {
            splitter.feed(&chunk, |_| panic!("no line has ended"));
            assert!(splitter.pending.capacity() <= cap);
        }
        let total = 1600 * chunk.len() as u64;
        assert_eq!(splitter.pending_bytes(), total);
        let mut lines = Vec::new();
        splitter.feed(b"\nnext\n", |line| {
            lines.push((line.bytes.len(), line.truncated));
        });
        assert_eq!(lines, [(cap, total - cap as u64), (4, 0)]);
        assert_eq!(splitter.pending.capacity(), 0, "the memory is given back");
    }
}

//! What a child prints, as log lines: one event per line at INFO, target `child`, with shard,
//! process id and stream (`protocol.md` §9, §21 #4, #5).

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::core::ids::ShardId;
use crate::core::time::Moment;

/// So much of a line is shown, bytes.
pub(super) const SHOWN: usize = 8 * 1024;

/// The window of the rate limit.
const WINDOW: Duration = Duration::from_secs(1);

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The log of one child. Knows no clock: whoever calls says what time it is.
#[derive(Debug)]
pub(super) struct ChildLog {
    shard: ShardId,
    pid: u32,
    limiter: Mutex<Limiter>,
}

impl ChildLog {
    /// At most `lines_per_second` lines of both streams together are logged.
    pub(super) fn new(shard: ShardId, pid: u32, lines_per_second: u32) -> Self {
        Self {
            shard,
            pid,
            limiter: Mutex::new(Limiter::new(lines_per_second)),
        }
    }

    /// A line that is no message. `bytes` may be its beginning only; `all` is its whole length.
    pub(super) fn line(&self, stream: Stream, bytes: &[u8], all: u64, now: Moment) {
        if self.admits(now) {
            let (shard, pid, stream) = (&self.shard, self.pid, stream.name());
            tracing::info!(target: "child", %shard, pid, stream, "{}", shown(bytes, all));
        }
    }

    /// A line on STDOUT that seems to be meant as a message, and is none.
    pub(super) fn spoilt_message(&self, bytes: &[u8], now: Moment) {
        if self.admits(now) {
            let (shard, pid, stream) = (&self.shard, self.pid, Stream::Stdout.name());
            let line = shown(bytes, bytes.len() as u64);
            tracing::warn!(
                target: "child", %shard, pid, stream,
                "this line looks like a protocol message and is none, so it has no effect: {line}"
            );
        }
    }

    /// What is said between daemon and child.
    pub(super) fn chatter(&self, what: std::fmt::Arguments<'_>) {
        tracing::debug!(target: "child", shard = %self.shard, pid = self.pid, "{what}");
    }

    /// Something about the child that people may need to know.
    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        tracing::info!(target: "child", shard = %self.shard, pid = self.pid, "{what}");
    }

    /// Something about the child that is not as it should be.
    pub(super) fn warning(&self, what: std::fmt::Arguments<'_>) {
        tracing::warn!(target: "child", shard = %self.shard, pid = self.pid, "{what}");
    }

    /// When lines that were suppressed are to be told with [`ChildLog::flush`], if there are any.
    pub(super) fn flush_due(&self) -> Option<Moment> {
        self.limiter().due()
    }

    /// Says how many lines were suppressed, if that was not said yet.
    pub(super) fn flush(&self) {
        let suppressed = self.limiter().take_suppressed();
        self.tell(suppressed);
    }

    fn admits(&self, now: Moment) -> bool {
        let Admission { admitted, untold } = self.limiter().admit(now);
        self.tell(untold);
        admitted
    }

    fn tell(&self, suppressed: u64) {
        if suppressed > 0 {
            self.warning(format_args!(
                "{suppressed} lines of this child's output were suppressed"
            ));
        }
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts lines per window.
#[derive(Debug)]
struct Limiter {
    most: u32,
    window: Moment,
    admitted: u32,
    suppressed: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Admission {
    admitted: bool,
    /// Lines of the last window to be told about first.
    untold: u64,
}

impl Limiter {
    fn new(most: u32) -> Self {
        Self {
            most,
            window: Moment::default(),
            admitted: 0,
            suppressed: 0,
        }
    }

    fn admit(&mut self, now: Moment) -> Admission {
        let mut untold = 0;
        if now.since(self.window) >= WINDOW {
            untold = self.take_suppressed();
            self.window = now;
            self.admitted = 0;
        }
        let admitted = self.admitted < self.most;
        if admitted {
            self.admitted += 1;
        } else {
            self.suppressed += 1;
        }
        Admission { admitted, untold }
    }

    fn due(&self) -> Option<Moment> {
        (self.suppressed > 0).then_some(self.window + WINDOW)
    }

    fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

/// A line as people can read it: bytes that are no UTF-8 as U+FFFD, control characters escaped so
/// that they cannot move the cursor or forge a log line, a long line cut with a note.
fn shown(bytes: &[u8], all: u64) -> String {
    let beginning = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut text = String::with_capacity(beginning.len());
    for character in String::from_utf8_lossy(beginning).chars() {
        match character {
            '\u{2028}' | '\u{2029}' => text.extend(character.escape_unicode()),
            other if other.is_control() => text.extend(other.escape_default()),
            other => text.push(other),
        }
    }
    let all = all.max(bytes.len() as u64);
    if all > beginning.len() as u64 {
        // Writing to a String cannot fail.
        let _ = write!(text, "… (the first {} of {all} bytes)", beginning.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn lines_are_made_readable_and_harmless() {
        let table: [(&[u8], &str); 6] = [
            (b"plain text", "plain text"),
            ("grün 🙂".as_bytes(), "grün 🙂"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"\x1b[2Jx\x07\0", "\\u{1b}[2Jx\\u{7}\\u{0}"),
            (b"a\tb", "a\\tb"),
            ("a\u{2028}b\u{85}".as_bytes(), "a\\u{2028}b\\u{85}"),
        ];
        for (line, expected) in table {
            assert_eq!(shown(line, line.len() as u64), expected);
        }
    }

    #[test]
    fn long_lines_are_cut_with_a_note() {
        let exact = vec![b'x'; SHOWN];
        assert_eq!(shown(&exact, SHOWN as u64).len(), SHOWN);
        let long = vec![b'x'; SHOWN + 1];
        let text = shown(&long, SHOWN as u64 + 1);
        assert!(
            text.ends_with("x… (the first 8192 of 8193 bytes)"),
            "{text}"
        );
        assert!(shown(b"ab", 100).ends_with("ab… (the first 2 of 100 bytes)"));
    }

    #[test]
    fn the_limiter_counts_per_window_and_tells_once() {
        let mut limiter = Limiter::new(2);
        let mut admit = |millis| limiter.admit(at(millis));
        let yes = |untold| Admission {
            admitted: true,
            untold,
        };
        let no = Admission {
            admitted: false,
            untold: 0,
        };
        assert_eq!(admit(5000), yes(0));
        assert_eq!(admit(5001), yes(0));
        assert_eq!(admit(5002), no);
        assert_eq!(admit(5999), no);
        assert_eq!(admit(6000), yes(2));
        assert_eq!(admit(6001), yes(0));
        assert_eq!(admit(6002), no);
        assert_eq!(limiter.due(), Some(at(7000)));
        assert_eq!(limiter.take_suppressed(), 1);
        assert_eq!((limiter.due(), limiter.take_suppressed()), (None, 0));
    }
}

//! The cheapest child there can be, for benches/compare: reads what comes, says that it is done.
//!
//! It notes in the file that its first argument names, a line per batch:
//! `<nanoseconds of the monotonic clock> <shard> <records> <bytes of the line> <last sequence number>`.
//! Speaks just enough of the protocol; the daemon sends one message at a time, so a message ends where
//! the bytes that are there end with a line feed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use memchr::memmem::Finder;
use rustix::time::{ClockId, clock_gettime};

const NUMBER: &[u8] = br#""sequenceNumber":""#;

fn main() -> io::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: compare-child LEDGER"));
    };
    let mut ledger = OpenOptions::new().append(true).create(true).open(path)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = vec![0; 1 << 20];
    let mut message = Message::default();
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let piece = buffer.get(..read).unwrap_or_default();
        message.take(piece);
        if piece.ends_with(b"\n") {
            let over = std::mem::take(&mut message);
            message.shard = over.answer(&mut ledger, &mut output)?;
        }
    }
}

/// What is known of the message that is coming in.
#[derive(Default)]
struct Message {
    /// From `initialize`.
    shard: String,
    head: Vec<u8>,
    tail: Vec<u8>,
    bytes: usize,
    records: usize,
}

impl Message {
    fn take(&mut self, piece: &[u8]) {
        if self.head.len() < 256 {
            self.head.extend(piece.iter().take(256));
        }
        // A number may lie across two pieces.
        let seam = self.tail.len();
        self.tail.extend(piece.iter().take(NUMBER.len() - 1));
        let across = self.tail.get(seam.saturating_sub(NUMBER.len() - 1)..);
        self.records += count(across.unwrap_or_default()) + count(piece);
        self.tail.truncate(seam);
        let from = piece.len().saturating_sub(1024);
        self.tail.extend(piece.get(from..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(1024));
        self.bytes += piece.len();
    }

    /// Notes what came and answers; gives the shard.
    fn answer(self, ledger: &mut File, output: &mut impl Write) -> io::Result<String> {
        let head = String::from_utf8_lossy(&self.head);
        let action = between(&head, "\"action\":\"", '"').unwrap_or_default();
        let mut shard = self.shard;
        match action {
            "initialize" => {
                shard = between(&head, "\"shardId\":\"", '"')
                    .unwrap_or_default()
                    .to_owned()
            }
            "processRecords" => {
                let now = clock_gettime(ClockId::Monotonic);
                let last = Finder::new(NUMBER).find_iter(&self.tail).last();
                let last = last
                    .and_then(|at| self.tail.get(at + NUMBER.len()..))
                    .unwrap_or_default();
                let last = String::from_utf8_lossy(
                    last.split(|byte| *byte == b'"').next().unwrap_or_default(),
                );
                let (records, bytes) = (self.records, self.bytes);
                let moment = now.tv_sec * 1_000_000_000 + now.tv_nsec;
                ledger
                    .write_all(format!("{moment} {shard} {records} {bytes} {last}\n").as_bytes())?;
            }
            // The end of a shard would want a checkpoint; no figure goes that far.
            _ => {}
        }
        output.write_all(
            format!("{{\"action\":\"status\",\"responseFor\":\"{action}\"}}\n").as_bytes(),
        )?;
        output.flush()?;
        Ok(shard)
    }
}

fn count(piece: &[u8]) -> usize {
    Finder::new(NUMBER).find_iter(piece).count()
}

fn between<'a>(text: &'a str, before: &str, end: char) -> Option<&'a str> {
    text.split_once(before)?.1.split(end).next()
}

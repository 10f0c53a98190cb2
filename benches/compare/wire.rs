//! A proxy in front of Kinesis that notes when records went to the daemon: the beginning of the latency
//! figure of benches/compare.
//!
//! Usage: compare-wire PORT LEDGER
//! Prints the port that it listens on. For each answer with records the ledger gets a line
//! `<nanoseconds of the monotonic clock> <last sequence number>`; the moment is the one before the answer's
//! last bytes are written to the daemon's connection, so that nothing of the way is left out. A program of
//! its own, because threads of a Python process hold each other up for milliseconds.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of the benches, not of the daemon"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use memchr::memmem;
use rustix::time::{ClockId, clock_gettime};

const NUMBER: &[u8] = br#""SequenceNumber":""#;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, ledger] = arguments.as_slice() else {
        return Err(io::Error::other("usage: compare-wire PORT LEDGER"));
    };
    let ledger = OpenOptions::new().append(true).create(true).open(ledger)?;
    let ledger = Arc::new(ledger);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    loop {
        let (client, _) = listener.accept()?;
        let server = TcpStream::connect(format!("127.0.0.1:{port}"))?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        let (requests, upstream) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || forward(&requests, &upstream, |_| None));
        let ledger = Arc::clone(&ledger);
        std::thread::spawn(move || {
            forward(&server, &client, |piece| {
                let number = last_number(piece)?.to_owned();
                let ledger = Arc::clone(&ledger);
                let now = clock_gettime(ClockId::Monotonic);
                let moment = now.tv_sec * 1_000_000_000 + now.tv_nsec;
                Some(Box::new(move || note(&ledger, moment, &number)))
            });
        });
    }
}

/// What is to be done when a piece is on its way.
type Afterwards = Box<dyn FnOnce()>;

/// Passes on what comes; the answers here are small, so each comes in one piece.
fn forward(
    mut from: &TcpStream,
    mut to: &TcpStream,
    mut look: impl FnMut(&[u8]) -> Option<Afterwards>,
) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..read).unwrap_or_default();
        let afterwards = look(piece);
        if to.write_all(piece).is_err() {
            break;
        }
        if let Some(afterwards) = afterwards {
            afterwards();
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn last_number(piece: &[u8]) -> Option<&str> {
    let at = memmem::rfind(piece, NUMBER)? + NUMBER.len();
    let rest = piece.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

fn note(mut ledger: &File, moment: i64, number: &str) {
    // Without its line a batch is not timed; the row sees that enough are.
    let _ = ledger.write_all(format!("{moment} {number}\n").as_bytes());
}

//! The floor under the daemon's CPU time, for benches/compare: reads the same answers of Kinesis from
//! the same emulator and writes as many bytes to the pipe of a child that drops them. Nothing is looked
//! at but the head of an answer and its next iterator, which stands in its first or last kilobyte.
//!
//! Usage: compare-floor PORT STREAM SHARDS RECORDS LIMIT CHILD…
//! Prints: `<CPU seconds> <bytes read> <wall seconds>`, of this process alone.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use memchr::memmem;
use rustix::time::{ClockId, clock_gettime};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, stream, shards, wanted, limit, child @ ..] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: compare-floor PORT STREAM SHARDS RECORDS LIMIT CHILD…",
        ));
    };
    let number = |text: &String| text.parse::<usize>().map_err(io::Error::other);
    let (shards, wanted, limit) = (number(shards)?, number(wanted)?, number(limit)?);
    let [program, rest @ ..] = child else {
        return Err(io::Error::other("no child"));
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of its own, not the daemon"
    )]
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut pipe = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the child has no STDIN"))?;
    rustix::pipe::fcntl_setpipe_size(&pipe, 1 << 20)?;

    let mut service = Service::connect(port)?;
    let mut iterators = Vec::new();
    for shard in 0..shards {
        let body = format!(
            r#"{{"StreamName":"{stream}","ShardId":"shardId-{shard:012}","ShardIteratorType":"TRIM_HORIZON"}}"#
        );
        service.call("GetShardIterator", &body, &mut |_| Ok(()))?;
        iterators.push(service.text("ShardIterator")?);
    }
    let (begin, start) = (cpu(), now());
    let mut bytes = 0;
    // Every shard holds the same number of records.
    for _ in 0..wanted.div_ceil(shards).div_ceil(limit) {
        for iterator in &mut iterators {
            let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":{limit}}}"#);
            bytes += service.call("GetRecords", &body, &mut |piece| pipe.write_all(piece))?;
            pipe.write_all(b"\n")?;
            *iterator = service.text("NextShardIterator")?;
        }
    }
    let (end, stop) = (cpu(), now());
    println!("{:.4} {bytes} {:.4}", end - begin, stop - start);
    drop(pipe);
    child.wait()?;
    Ok(())
}

fn now() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// CPU time of this process, seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A connection to the emulator.
struct Service {
    connection: TcpStream,
    port: String,
    buffer: Vec<u8>,
    /// The first and the last kilobyte of the last answer.
    ends: Vec<u8>,
}

impl Service {
    fn connect(port: &str) -> io::Result<Self> {
        Ok(Self {
            connection: TcpStream::connect(format!("127.0.0.1:{port}"))?,
            port: port.to_owned(),
            buffer: vec![0; 400 << 10],
            ends: Vec::new(),
        })
    }

    /// Calls and hands the body on as it comes; gives its length.
    fn call(
        &mut self,
        operation: &str,
        body: &str,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-amz-json-1.1\r\n\
             X-Amz-Target: Kinesis_20131202.{operation}\r\nX-Amz-Date: 20260101T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=floor/20260101/us-east-1/kinesis/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            "0".repeat(64),
            body.len()
        );
        self.connection.write_all(request.as_bytes())?;
        let mut filled = 0;
        let head = loop {
            let read = self
                .connection
                .read(self.buffer.get_mut(filled..).unwrap_or_default())?;
            if read == 0 {
                return Err(io::Error::other("the emulator closed the connection"));
            }
            filled += read;
            if let Some(end) =
                memmem::find(self.buffer.get(..filled).unwrap_or_default(), b"\r\n\r\n")
            {
                break end + 4;
            }
        };
        let length = self.length(head)?;
        let mut left = length;
        let mut from = head;
        self.ends.clear();
        loop {
            let piece = self.buffer.get(from..filled).unwrap_or_default();
            take(piece)?;
            left -= piece.len();
            self.ends.truncate(1024);
            let first = 1024_usize.saturating_sub(self.ends.len()).min(piece.len());
            self.ends.extend(piece.get(..first).unwrap_or_default());
            let last = piece.len().saturating_sub(1024);
            self.ends.extend(piece.get(last..).unwrap_or_default());
            if left == 0 {
                return Ok(length);
            }
            (from, filled) = (0, self.connection.read(&mut self.buffer)?);
            if filled == 0 {
                return Err(io::Error::other("the answer ends early"));
            }
        }
    }

    fn length(&self, head: usize) -> io::Result<usize> {
        let head =
            String::from_utf8_lossy(self.buffer.get(..head).unwrap_or_default()).to_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(io::Error::other(format!("the emulator says {head}")));
        }
        let length = head
            .split("content-length:")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        length
            .and_then(|length| length.trim().parse().ok())
            .ok_or_else(|| io::Error::other("an answer without a length"))
    }

    /// The text of a member near one of the ends of the last answer.
    fn text(&self, member: &str) -> io::Result<String> {
        let name = format!("\"{member}\":\"");
        memmem::rfind(&self.ends, name.as_bytes())
            .and_then(|at| {
                self.ends
                    .get(at + name.len()..)?
                    .split(|byte| *byte == b'"')
                    .next()
            })
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .ok_or_else(|| io::Error::other(format!("an answer without {member}")))
    }
}

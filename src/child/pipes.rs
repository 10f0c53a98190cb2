//! The three tasks of a child: one writes its STDIN, two read its STDOUT and STDERR. They run from
//! its start to its end and wait for nobody but the child, so that neither side can block the other
//! (`protocol.md` §9, §19 #4).

use std::io;
use std::sync::Arc;

use multilang_protocol::{Line, LineSplitter};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::conversation::{Conversation, Outgoing, Said};
use super::logging::{ChildLog, SHOWN, Stream};
use crate::core::time::Moment;
use crate::ports::Clock;

/// Bytes that are read at once.
const STDOUT_BUFFER: usize = 64 * 1024;
/// The same for STDERR.
const STDERR_BUFFER: usize = 8 * 1024;

/// What is read of a stream after the child's end, bytes. More than a pipe holds, so all that the
/// child has printed; but a descendant that got away and goes on printing cannot delay the end.
const REST: usize = 4 * 1024 * 1024;

/// What the tasks of a child have in common.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) conversation: Arc<Conversation>,
    pub(super) log: Arc<ChildLog>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Writes whole lines until there are no more senders, then closes STDIN.
pub(super) async fn write_stdin(
    mut stdin: pipe::Sender,
    mut lines: mpsc::UnboundedReceiver<Outgoing>,
    with: Surroundings,
) {
    while let Some(line) = lines.recv().await {
        if let Err(error) = stdin.write_all(line.as_ref()).await {
            with.log
                .chatter(format_args!("its STDIN cannot be written to: {error}"));
            with.conversation.stdin_broke();
            return;
        }
    }
}

/// Reads STDOUT: messages go to the conversation, everything else to the log.
pub(super) async fn read_stdout(
    stdout: pipe::Receiver,
    line_cap: usize,
    is_over: watch::Receiver<bool>,
    with: Surroundings,
) {
    let _end = EndOfStream(Stream::Stdout, &with.conversation);
    let mut splitter = LineSplitter::new(line_cap);
    let on_line = |line: Line<'_>| hear(line, &with);
    read(stdout, STDOUT_BUFFER, is_over, &with, |chunk| {
        splitter.feed(chunk, on_line);
        if splitter.pending_truncated() > 0 {
            // It will not become a message any more: no need to wait for its end.
            splitter.finish(on_line);
        }
    })
    .await;
    splitter.finish(on_line);
    with.log.flush();
}

/// Reads STDERR into the log.
pub(super) async fn read_stderr(
    stderr: pipe::Receiver,
    is_over: watch::Receiver<bool>,
    with: Surroundings,
) {
    let _end = EndOfStream(Stream::Stderr, &with.conversation);
    let mut splitter = LineSplitter::new(SHOWN);
    let on_line = |line: Line<'_>| {
        with.log
            .line(Stream::Stderr, line.bytes, length(&line), with.clock.now());
    };
    read(stderr, STDERR_BUFFER, is_over, &with, |chunk| {
        splitter.feed(chunk, on_line)
    })
    .await;
    splitter.finish(on_line);
    with.log.flush();
}

/// However a reading task ends, its stream counts as ended.
struct EndOfStream<'a>(Stream, &'a Conversation);

impl Drop for EndOfStream<'_> {
    fn drop(&mut self) {
        self.1.ended(self.0);
    }
}

fn length(line: &Line<'_>) -> u64 {
    (line.bytes.len() as u64).saturating_add(line.truncated)
}

fn hear(line: Line<'_>, with: &Surroundings) {
    let log = &with.log;
    match with.conversation.hear(line) {
        Said::Noise => log.line(Stream::Stdout, line.bytes, length(&line), with.clock.now()),
        Said::SpoiltMessage => log.spoilt_message(line.bytes, with.clock.now()),
        Said::Message => log.chatter(format_args!("said {}", String::from_utf8_lossy(line.bytes))),
        Said::Ignored(action) => {
            log.chatter(format_args!("said '{action}', which has no effect here"));
        }
        Said::Odd(what) => log.warning(format_args!("{what}; taken as an answer")),
        Said::Nothing => {}
    }
}

/// Hands on what is printed until the stream ends, or the child is over and the pipe is empty.
async fn read(
    pipe: pipe::Receiver,
    buffer: usize,
    mut is_over: watch::Receiver<bool>,
    with: &Surroundings,
    mut take: impl FnMut(&[u8]),
) {
    let mut buffer = vec![0; buffer];
    loop {
        let flush_due = with.log.flush_due();
        tokio::select! {
            biased;
            // An owner that is gone counts as the end, too.
            _ = is_over.wait_for(|over| *over) => break,
            ready = pipe.readable() => {
                let read = ready.and_then(|()| pipe.try_read(&mut buffer));
                match read {
                    Ok(0) => return,
                    Ok(bytes) => take(buffer.get(..bytes).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
            () = until(flush_due, with.clock.as_ref()) => with.log.flush(),
        }
    }
    take_the_rest(&pipe, &mut buffer, take);
}

/// What the child left in the pipe. Read without the runtime, whose idea of "there is nothing to
/// read" may be out of date.
fn take_the_rest(pipe: &pipe::Receiver, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    let mut rest = REST;
    while rest > 0 {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => return,
            Ok(bytes) => {
                take(buffer.get(..bytes).unwrap_or_default());
                rest = rest.saturating_sub(bytes);
            }
            Err(rustix::io::Errno::INTR) => {}
            // Empty, though somebody still holds it open.
            Err(_) => return,
        }
    }
}

/// Completes at this moment; never, if there is none.
pub(super) async fn until(moment: Option<Moment>, clock: &dyn Clock) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

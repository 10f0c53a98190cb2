//! Reading a shard with GetRecords (`retrieval.md` A).
//!
//! The fetcher is a task of its own: it reads ahead within its bounds and hands batches over through
//! a channel, in order, each exactly once. It ends with the shard, or when it is dropped. No error
//! ever skips anything: the position moves only over what was put into the channel.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::core::ids::ShardId;
use crate::core::sequence::{ExtendedSequenceNumber, InitialPosition};
use crate::core::shard_sync::children_of;
use crate::core::stream::{ChildShard, ShardFilter};
use crate::core::time::Moment;
use crate::fetch::budget::{Ahead, Budget, Prefetch, Share};
use crate::fetch::buffers::GiveBack;
use crate::fetch::encode::{Batch, EncodeSettings, Encoded, PageEncoder};
use crate::fetch::pace::{Outcome, Pace, PaceSettings};
use crate::fetch::position::{Anchor, ReadPosition};
use crate::os::tasks::TaskGroup;
use crate::ports::{Clock, Entropy, PageEnd, ShardIterator, Stream, StreamError, StreamErrorKind};

/// What is assumed about the size of an answer before the first came.
const FIRST_GUESS_BYTES: usize = 1 << 20;
/// Pause between looks at a stream that seems to be gone.
const GONE_PAUSE: Duration = Duration::from_secs(5);

/// What the configuration says about reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSettings {
    /// `maxRecords`: the limit of one GetRecords.
    pub max_records: u32,
    /// Idle times.
    pub pace: PaceSettings,
    /// Bounds of reading ahead.
    pub prefetch: Prefetch,
    /// `callProcessRecordsEvenForEmptyRecordList`.
    pub deliver_empty: bool,
    /// The configured initial position; its timestamp is needed for leases at AT_TIMESTAMP.
    pub initial_position: InitialPosition,
}

/// What a fetcher works with.
#[derive(Clone)]
pub struct FetcherPorts {
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// The bytes that all shards share.
    pub budget: Budget,
}

/// What a fetcher hands over.
#[derive(Debug)]
pub enum Fetched {
    /// The next batch.
    Batch(Batch),
    /// The shard has no more records; these are its children.
    ShardEnd(Vec<ChildShard>),
}

/// A running fetcher. Dropping it stops it at once and drops what it fetched.
#[derive(Debug)]
pub struct Fetcher {
    batches: mpsc::UnboundedReceiver<Fetched>,
    _task: TaskGroup<()>,
}

impl Fetcher {
    /// Starts to read a shard behind `checkpoint`.
    #[must_use]
    pub fn start(
        ports: FetcherPorts,
        settings: FetchSettings,
        encode: EncodeSettings,
        shard: ShardId,
        checkpoint: ExtendedSequenceNumber,
        anchor: Anchor,
    ) -> Self {
        // The channel itself is unbounded: `Ahead` bounds what is in it.
        let (sender, batches) = mpsc::unbounded_channel();
        let mut task = TaskGroup::new();
        let polling = Polling {
            position: ReadPosition::new(&checkpoint, settings.initial_position, anchor),
            pace: Pace::new(settings.pace),
            ahead: Ahead::new(settings.prefetch),
            iterator: None,
            guess: FIRST_GUESS_BYTES,
            line_guess: 0,
            trouble: None,
            ports,
            settings,
            encode,
            shard,
            checkpoint,
            sender,
        };
        task.spawn(polling.run());
        Self {
            batches,
            _task: task,
        }
    }

    /// The next batch or the end. Pends for ever when there is nothing more to say. May be dropped
    /// and called again without losing anything.
    pub async fn next(&mut self) -> Fetched {
        match self.batches.recv().await {
            Some(mut fetched) => {
                if let Fetched::Batch(batch) = &mut fetched {
                    batch.leave_queue();
                }
                fetched
            }
            // The fetcher said its last word before.
            None => std::future::pending().await,
        }
    }
}

struct Polling {
    ports: FetcherPorts,
    settings: FetchSettings,
    encode: EncodeSettings,
    shard: ShardId,
    checkpoint: ExtendedSequenceNumber,
    position: ReadPosition,
    pace: Pace,
    ahead: Arc<Ahead>,
    iterator: Option<ShardIterator>,
    /// Bytes of the last answer, as a guess for the next.
    guess: usize,
    /// Bytes of the last line.
    line_guess: usize,
    /// What was last reported, so that each change is logged once.
    trouble: Option<StreamErrorKind>,
    sender: mpsc::UnboundedSender<Fetched>,
}

/// What one turn of the loop led to.
enum Turn {
    GoOn,
    End(Vec<ChildShard>),
}

impl Polling {
    async fn run(mut self) {
        loop {
            self.ahead.room().await;
            if let Some(next) = self.pace.next_read() {
                self.ports.clock.sleep_until(next).await;
            }
            match self.turn().await {
                Turn::GoOn => {}
                Turn::End(children) => {
                    debug!(shard = %self.shard, children = children.len(), "the shard has no more records");
                    let _ = self.sender.send(Fetched::ShardEnd(children));
                    return;
                }
            }
            if self.sender.is_closed() {
                return;
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        let Some(iterator) = self.iterator.clone() else {
            return self.open().await;
        };
        let share = tokio::select! {
            biased;
            () = self.ahead.emptied() => self.ports.budget.reserve_now(self.guess),
            share = self.ports.budget.reserve(self.guess) => share,
        };
        let sent = self.ports.clock.now();
        let buffer = self.ports.budget.buffers().take(self.line_guess);
        let mut encoder = PageEncoder::new(buffer, self.encode, &self.checkpoint);
        let limit = self.settings.max_records;
        let stream = &self.ports.stream;
        let answer = stream
            .read_records(&self.shard, &iterator, limit, &mut encoder)
            .await;
        match answer {
            Ok(end) => {
                let encoded = encoder.finish(end.millis_behind_latest);
                self.on_page(end, encoded, share, sent).await
            }
            Err(error) => self.on_error(error, sent).await,
        }
    }

    /// Gets an iterator. Not counted against the pace of reads, but its failures are.
    async fn open(&mut self) -> Turn {
        let sent = self.ports.clock.now();
        let start = match self.position.iterator_start() {
            Ok(start) => start,
            Err(missing) => {
                self.report(StreamErrorKind::Fatal, &missing.to_string());
                self.end_turn(sent, Outcome::Refused);
                return Turn::GoOn;
            }
        };
        match self.ports.stream.iterator(&self.shard, &start).await {
            Ok(Some(iterator)) => {
                self.iterator = Some(iterator);
                Turn::GoOn
            }
            Ok(None) => self.at_end(Vec::new(), sent).await,
            Err(error) => self.on_error(error, sent).await,
        }
    }

    async fn on_page(
        &mut self,
        page: PageEnd,
        encoded: Encoded,
        mut share: Share,
        sent: Moment,
    ) -> Turn {
        let bytes = encoded.page.bytes;
        share.correct(bytes);
        self.line_guess = encoded.line.bytes().len();
        self.guess = bytes;
        if page.next.is_some() && !page.children.is_empty() {
            // An iterator and children contradict each other (`retrieval.md` A.6); the page is not used.
            self.report(
                StreamErrorKind::Retry,
                "GetRecords answered with an iterator and child shards at once; asking again",
            );
            self.end_turn(sent, Outcome::Failed);
            return Turn::GoOn;
        }
        self.recovered();
        self.position.read(
            encoded.page.first.as_ref(),
            encoded.page.last.as_ref(),
            self.ports.clock.wall_millis(),
            page.millis_behind_latest,
        );
        let full = encoded.page.records >= self.settings.max_records as usize;
        self.hand_over(encoded, page.millis_behind_latest, share);
        self.end_turn(
            sent,
            Outcome::Read {
                bytes,
                behind: page.millis_behind_latest,
                full,
            },
        );
        self.iterator = page.next;
        if self.iterator.is_none() {
            return self.at_end(page.children, sent).await;
        }
        Turn::GoOn
    }

    fn hand_over(&mut self, encoded: Encoded, behind: Option<i64>, share: Share) {
        if encoded.outside_range > 0 {
            info!(shard = %self.shard, records = encoded.outside_range,
                "dropped user records of aggregates that belong to another shard (a reshard; their producer sends them again)");
        }
        if let Some(bad) = &encoded.first_malformed {
            error!(shard = %self.shard, records = encoded.malformed, "user records of an aggregate cannot be read: {bad}");
        }
        if encoded.line.records() == 0 && !self.settings.deliver_empty {
            return;
        }
        let place = self.ahead.place(encoded.page.records, encoded.page.bytes);
        let _ = self.sender.send(Fetched::Batch(Batch {
            _buffer: GiveBack::new(&encoded.line, self.ports.budget.buffers()),
            encoded: encoded.line,
            up_to: encoded.up_to,
            bytes: encoded.bytes,
            millis_behind_latest: behind,
            place: Some(place),
            _share: share,
        }));
    }

    /// There is no next iterator. With children that is the end of the shard; without, the service
    /// is asked whether it really is (`retrieval.md` A.6 [B]).
    async fn at_end(&mut self, children: Vec<ChildShard>, sent: Moment) -> Turn {
        self.iterator = None;
        if !children.is_empty() && children.iter().all(|child| !child.parents.is_empty()) {
            return Turn::End(children);
        }
        match self.ports.stream.list_shards(ShardFilter::All).await {
            Ok(shards) => match shards.iter().find(|shard| shard.id == self.shard) {
                Some(shard) if !shard.closed => {
                    self.report(
                        StreamErrorKind::Retry,
                        "the service gave no next iterator although the shard is open; reading on",
                    );
                    self.end_turn(sent, Outcome::Failed);
                    Turn::GoOn
                }
                None if shards.is_empty() => self.on_gone("no shards are listed", sent).await,
                // Closed, or so old that it is not listed any more.
                _ => Turn::End(children_of(&self.shard, &shards)),
            },
            Err(error) => self.on_error(error, sent).await,
        }
    }

    async fn on_error(&mut self, error: StreamError, sent: Moment) -> Turn {
        let outcome = match error.kind {
            StreamErrorKind::Expired => {
                debug!(shard = %self.shard, "the shard iterator expired; getting a new one");
                self.iterator = None;
                self.end_turn(sent, Outcome::Expired);
                return Turn::GoOn;
            }
            StreamErrorKind::Gone => {
                self.iterator = None;
                return self.on_gone(&error.message, sent).await;
            }
            StreamErrorKind::SlowDown => Outcome::Throttled,
            StreamErrorKind::Retry => Outcome::Failed,
            StreamErrorKind::InvalidPosition => {
                self.iterator = None;
                Outcome::Refused
            }
            StreamErrorKind::Denied | StreamErrorKind::Fatal => Outcome::Refused,
        };
        self.report(error.kind, &error.message);
        self.end_turn(sent, outcome);
        Turn::GoOn
    }

    /// ResourceNotFound: a shard ends only when the stream is there and does not list it any more. A
    /// stream that is gone ends nothing (`decisions.md`: no `shardEnded` on a ResourceNotFound alone).
    async fn on_gone(&mut self, message: &str, sent: Moment) -> Turn {
        let stream_exists = matches!(
            self.ports.stream.describe().await,
            Ok(summary) if summary.readable
        );
        if stream_exists
            && let Ok(shards) = self.ports.stream.list_shards(ShardFilter::All).await
            && !shards.is_empty()
            && shards.iter().all(|shard| shard.id != self.shard)
        {
            warn!(shard = %self.shard, "the stream does not know the shard any more; it ends here");
            return Turn::End(children_of(&self.shard, &shards));
        }
        self.report(
            StreamErrorKind::Gone,
            &format!("{message}; waiting for the stream to be there again"),
        );
        let now = self.ports.clock.now();
        self.ports.clock.sleep_until(now + GONE_PAUSE).await;
        self.end_turn(sent, Outcome::Failed);
        Turn::GoOn
    }

    fn end_turn(&mut self, sent: Moment, outcome: Outcome) {
        let jitter = self.ports.entropy.unit();
        self.pace
            .ended(sent, self.ports.clock.now(), outcome, jitter);
    }

    /// One line per change of state, not per attempt.
    fn report(&mut self, kind: StreamErrorKind, message: &str) {
        if self.trouble == Some(kind) {
            debug!(shard = %self.shard, "{message}");
            return;
        }
        self.trouble = Some(kind);
        match kind {
            StreamErrorKind::InvalidPosition => error!(shard = %self.shard,
                "{message}; the lease's checkpoint {} is not a position of this shard (was the stream created anew?): \
                 delete the lease or set its checkpoint; the shard is not read until then", self.checkpoint),
            StreamErrorKind::Denied | StreamErrorKind::Fatal => {
                error!(shard = %self.shard, "{message}; trying again slowly")
            }
            StreamErrorKind::SlowDown => {
                warn!(shard = %self.shard, "{message}; reading more slowly")
            }
            _ => warn!(shard = %self.shard, "{message}; trying again"),
        }
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            info!(shard = %self.shard, "reading again");
        }
    }
}

//! Reading a shard with GetRecords (`retrieval.md` A).

use crate::core::stream::ChildShard;
use crate::core::time::Moment;
use crate::fetch::budget::Share;
use crate::fetch::encode::Encoded;
use crate::fetch::pace::{Outcome, Pace};
use crate::fetch::reader::{ShardReader, ShardState};
use crate::ports::{PageEnd, ShardIterator, StreamError, StreamErrorKind};

/// What is assumed about the size of an answer before the first came.
const FIRST_GUESS_BYTES: usize = 1 << 20;

/// A shard that is polled.
pub(super) struct Polling {
    reader: ShardReader,
    pace: Pace,
    cursor: Cursor,
    /// Bytes of the last answer, as a guess for the next.
    guess: usize,
}

/// What is known of where to read.
enum Cursor {
    /// An iterator has to be asked for.
    Unknown,
    /// The next page.
    At(ShardIterator),
    /// There is no next page; whether the shard has really ended is to be asked.
    AtEnd,
}

/// What one turn of the loop led to.
enum Turn {
    GoOn,
    End(Vec<ChildShard>),
}

impl Polling {
    pub(super) fn new(reader: ShardReader) -> Self {
        Self {
            pace: Pace::new(reader.settings.pace),
            cursor: Cursor::Unknown,
            guess: FIRST_GUESS_BYTES,
            reader,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.reader.gives_sign();
            self.reader.ahead.room().await;
            if let Some(next) = self.pace.next_read() {
                self.reader.ports.clock.sleep_until(next).await;
            }
            match self.turn().await {
                Turn::GoOn => {}
                Turn::End(children) => return self.reader.tell_end(children),
            }
            if self.reader.sender.is_closed() {
                return;
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        let iterator = match &self.cursor {
            Cursor::At(iterator) => iterator.clone(),
            Cursor::Unknown => return self.open().await,
            Cursor::AtEnd => return self.at_end(Vec::new(), self.reader.now()).await,
        };
        let reader = &self.reader;
        let share = reader.share(self.guess).await;
        let sent = reader.now();
        let mut encoder = reader.encoder();
        let limit = reader.settings.max_records;
        let stream = &reader.ports.stream;
        let answer = stream
            .read_records(&reader.shard, &iterator, limit, &mut encoder)
            .await;
        match answer {
            Ok(end) => {
                let records = encoder.finish(end.millis_behind_latest);
                self.on_page(end, records, share, sent).await
            }
            Err(error) => self.on_error(error, sent).await,
        }
    }

    /// Gets an iterator. Not counted against the pace of reads, but its failures are.
    async fn open(&mut self) -> Turn {
        let reader = &mut self.reader;
        let sent = reader.now();
        let start = match reader.position.iterator_start() {
            Ok(start) => start,
            Err(missing) => {
                reader.report(StreamErrorKind::Fatal, &missing.to_string());
                self.end_turn(sent, Outcome::Refused);
                return Turn::GoOn;
            }
        };
        let asked_at = reader.service_millis();
        let answer = reader.ports.stream.iterator(&reader.shard, &start).await;
        match answer {
            Ok(Some(iterator)) => {
                reader.position.opened(asked_at);
                self.cursor = Cursor::At(iterator);
                Turn::GoOn
            }
            Ok(None) => self.at_end(Vec::new(), sent).await,
            Err(error) => self.on_error(error, sent).await,
        }
    }

    async fn on_page(
        &mut self,
        page: PageEnd,
        records: Encoded,
        mut share: Share,
        sent: Moment,
    ) -> Turn {
        let bytes = records.bytes;
        share.correct(bytes);
        self.guess = bytes;
        let reader = &mut self.reader;
        if page.next.is_some() && !page.children.is_empty() {
            // An iterator and children contradict each other (`retrieval.md` A.6); the page is not used.
            reader.report(
                StreamErrorKind::Retry,
                "GetRecords answered with an iterator and child shards at once; asking again",
            );
            self.end_turn(sent, Outcome::Failed);
            return Turn::GoOn;
        }
        reader.recovered();
        let full = records.records >= reader.settings.max_records as usize;
        let (first, last) = (records.first.clone(), records.last.clone());
        reader.hand_over(records, page.millis_behind_latest, share);
        let served_at = reader.service_millis();
        reader.position.read(
            first.as_ref(),
            last.as_ref(),
            served_at,
            page.millis_behind_latest,
        );
        self.end_turn(
            sent,
            Outcome::Read {
                bytes,
                behind: page.millis_behind_latest,
                full,
            },
        );
        match page.next {
            Some(next) => {
                self.cursor = Cursor::At(next);
                Turn::GoOn
            }
            None => self.at_end(page.children, sent).await,
        }
    }

    /// There is no next iterator. With children that is the end of the shard; without, the service
    /// is asked whether it really is (`retrieval.md` A.6 [B]).
    async fn at_end(&mut self, children: Vec<ChildShard>, sent: Moment) -> Turn {
        self.cursor = Cursor::AtEnd;
        if !children.is_empty() && children.iter().all(|child| !child.parents.is_empty()) {
            return Turn::End(children);
        }
        match self.reader.look_at_shard().await {
            Ok(ShardState::Ended(children)) => Turn::End(children),
            Ok(ShardState::Open) => {
                self.reader.report(
                    StreamErrorKind::Retry,
                    "the service gave no next iterator although the shard is open; reading on",
                );
                self.cursor = Cursor::Unknown;
                self.end_turn(sent, Outcome::Failed);
                Turn::GoOn
            }
            Ok(ShardState::StreamGone(why)) => self.on_gone(&why, sent).await,
            Err(error) => self.on_error(error, sent).await,
        }
    }

    async fn on_error(&mut self, error: StreamError, sent: Moment) -> Turn {
        let outcome = match error.kind {
            StreamErrorKind::Expired => {
                tracing::debug!(shard = %self.reader.shard, "the shard iterator expired; getting a new one");
                self.cursor = Cursor::Unknown;
                self.end_turn(sent, Outcome::Expired);
                return Turn::GoOn;
            }
            StreamErrorKind::Gone => {
                self.cursor = Cursor::Unknown;
                return self.on_gone(&error.message, sent).await;
            }
            StreamErrorKind::SlowDown => Outcome::Throttled,
            StreamErrorKind::Retry | StreamErrorKind::InUse => Outcome::Failed,
            StreamErrorKind::InvalidPosition => {
                self.cursor = Cursor::Unknown;
                Outcome::Refused
            }
            StreamErrorKind::Denied | StreamErrorKind::Fatal => Outcome::Refused,
        };
        self.reader.report(error.kind, &error.message);
        self.end_turn(sent, outcome);
        Turn::GoOn
    }

    async fn on_gone(&mut self, message: &str, sent: Moment) -> Turn {
        if let Some(children) = self.reader.after_not_found(message).await {
            return Turn::End(children);
        }
        self.end_turn(sent, Outcome::Failed);
        Turn::GoOn
    }

    fn end_turn(&mut self, sent: Moment, outcome: Outcome) {
        let (now, jitter) = (self.reader.now(), self.reader.jitter());
        self.pace.ended(sent, now, outcome, jitter);
    }
}

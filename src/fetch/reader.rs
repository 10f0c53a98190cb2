//! What both ways of reading a shard have in common: the position, handing batches over, telling
//! people about trouble, and making sure that a shard is really at its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::core::ids::ShardId;
use crate::core::sequence::ExtendedSequenceNumber;
use crate::core::shard_sync::children_at_end;
use crate::core::stream::{ChildShard, ShardFilter};
use crate::core::time::Moment;
use crate::fetch::budget::{Ahead, Share};
use crate::fetch::buffers::GiveBack;
use crate::fetch::encode::{Batch, EncodeSettings, Encoded, PageEncoder};
use crate::fetch::fetcher::{FetchSettings, Fetched, FetcherPorts, Pulse};
use crate::fetch::position::ReadPosition;
use crate::ports::{StreamError, StreamErrorKind};

/// Pause between looks at a stream that seems to be gone.
const GONE_PAUSE: Duration = Duration::from_secs(5);

/// One shard being read.
pub(super) struct ShardReader {
    pub(super) ports: FetcherPorts,
    pub(super) settings: FetchSettings,
    pub(super) encode: EncodeSettings,
    pub(super) shard: ShardId,
    /// Where the consumer's lease stands: what lies up to here is left out.
    pub(super) checkpoint: ExtendedSequenceNumber,
    pub(super) position: ReadPosition,
    pub(super) ahead: Arc<Ahead>,
    /// Bytes of the last line, as a guess for the next.
    pub(super) line_guess: usize,
    pub(super) sender: mpsc::UnboundedSender<Fetched>,
    pub(super) pulse: Pulse,
    /// What was last reported, so that each change is logged once.
    pub(super) trouble: Option<StreamErrorKind>,
}

/// What a look at the list of shards told about a shard that seems to be at its end.
pub(super) enum ShardState {
    /// It is closed, or so old that it is not listed any more; these are its children.
    Ended(Vec<ChildShard>),
    /// It takes records.
    Open,
    /// There is no stream, or none that can be read.
    StreamGone(String),
}

impl ShardReader {
    pub(super) fn now(&self) -> Moment {
        self.ports.clock.now()
    }

    /// The service's wall clock as far as it is known; never later than it is there.
    pub(super) fn service_millis(&self) -> i64 {
        self.ports.clock.wall_millis() + self.ports.stream.service_clock_ahead()
    }

    /// Something that was waited for is over.
    pub(super) fn gives_sign(&self) {
        self.pulse.beat(self.now());
    }

    pub(super) fn jitter(&self) -> f64 {
        self.ports.entropy.unit()
    }

    /// Waits for a part of the byte budget. A shard that has nothing fetched ahead gets it at once, so
    /// that shards whose children hang cannot starve it.
    pub(super) async fn share(&self, guess: usize) -> Share {
        tokio::select! {
            biased;
            () = self.ahead.emptied() => self.ports.budget.reserve_now(guess),
            share = self.ports.budget.reserve(guess) => share,
        }
    }

    /// For the next page: de-aggregates, filters and encodes it, in messages of at most `maxRecords`
    /// records of the stream.
    pub(super) fn encoder(&self) -> PageEncoder<'_> {
        let most = usize::try_from(self.settings.max_records).unwrap_or(usize::MAX);
        let buffers = self.ports.budget.buffers();
        let buffer = buffers.take(self.line_guess);
        PageEncoder::new(buffer, self.encode, most, &self.checkpoint).with_buffers(buffers)
    }

    /// Puts a page into the channel.
    pub(super) fn hand_over(&mut self, page: Encoded, behind: Option<i64>, mut share: Share) {
        if page.outside_range > 0 {
            info!(shard = %self.shard, records = page.outside_range,
                "dropped user records of aggregates that belong to another shard (a reshard; their producer sends them again)");
        }
        if let Some(bad) = &page.first_malformed {
            error!(shard = %self.shard, records = page.malformed, "user records of an aggregate cannot be read: {bad}");
        }
        for line in page.lines {
            self.line_guess = line.line.bytes().len();
            if line.line.records() == 0 && !self.settings.deliver_empty {
                continue;
            }
            let _ = self.sender.send(Fetched::Batch(Batch {
                place: Some(self.ahead.place(line.page_records, line.page_bytes)),
                _share: share.split(line.page_bytes),
                _buffer: GiveBack::new(&line.line, self.ports.budget.buffers()),
                encoded: line.line,
                up_to: line.up_to,
                bytes: line.bytes,
                millis_behind_latest: behind,
            }));
        }
    }

    /// The last word.
    pub(super) fn tell_end(&self, children: Vec<ChildShard>) {
        debug!(shard = %self.shard, children = children.len(), "the shard has no more records");
        let _ = self.sender.send(Fetched::ShardEnd(children));
    }

    /// Asks ListShards how the shard stands (`retrieval.md` A.6 [B]).
    pub(super) async fn look_at_shard(&self) -> Result<ShardState, StreamError> {
        let shards = self.ports.stream.list_shards(ShardFilter::All).await?;
        Ok(match shards.iter().find(|shard| shard.id == self.shard) {
            Some(shard) if !shard.closed => ShardState::Open,
            None if shards.is_empty() => ShardState::StreamGone("no shards are listed".to_owned()),
            // Closed, or so old that it is not listed any more.
            _ => {
                let children = children_at_end(&self.shard, &shards);
                ShardState::Ended(children.map_err(|inconsistent| StreamError {
                    kind: StreamErrorKind::Retry,
                    message: format!("the shard ended, and {inconsistent}; asking again"),
                })?)
            }
        })
    }

    /// After a ResourceNotFound: a shard ends only when the stream is there and does not list it any
    /// more. A stream that is gone ends nothing (`decisions.md`: no `shardEnded` on a ResourceNotFound
    /// alone); that is waited out here. Gives the children of a shard that has ended.
    pub(super) async fn after_not_found(&mut self, message: &str) -> Option<Vec<ChildShard>> {
        let stream_exists = matches!(
            self.ports.stream.describe().await,
            Ok(summary) if summary.readable
        );
        if stream_exists
            && let Ok(shards) = self.ports.stream.list_shards(ShardFilter::All).await
            && !shards.is_empty()
            && shards.iter().all(|shard| shard.id != self.shard)
            && let Ok(children) = children_at_end(&self.shard, &shards)
        {
            warn!(shard = %self.shard, "the stream does not know the shard any more; it ends here");
            return Some(children);
        }
        self.report(
            StreamErrorKind::Gone,
            &format!("{message}; waiting for the stream to be there again"),
        );
        self.ports.clock.sleep_until(self.now() + GONE_PAUSE).await;
        None
    }

    /// One line per change of state, not per attempt.
    pub(super) fn report(&mut self, kind: StreamErrorKind, message: &str) {
        if self.trouble == Some(kind) {
            debug!(shard = %self.shard, "{message}");
            return;
        }
        self.trouble = Some(kind);
        match kind {
            StreamErrorKind::InvalidPosition => {
                error!(shard = %self.shard, "{message}; {}", self.position.refused())
            }
            StreamErrorKind::Denied | StreamErrorKind::Fatal => {
                error!(shard = %self.shard, "{message}; trying again slowly")
            }
            StreamErrorKind::SlowDown => {
                warn!(shard = %self.shard, "{message}; reading more slowly")
            }
            // What a restart and a lease that changes hands look like.
            StreamErrorKind::InUse => info!(shard = %self.shard, "{message}; trying again"),
            _ => warn!(shard = %self.shard, "{message}; trying again"),
        }
    }

    pub(super) fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            info!(shard = %self.shard, "reading again");
        }
    }
}

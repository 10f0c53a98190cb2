//! The hot path of GetRecords: the SDK makes the call, [`PageScanner`] reads the body while it comes in.
//!
//! The reference is `get_records`, where the SDK reads the answer. Both give the same, and what the
//! scanner does not read in exactly one way is asked for once more and left to the SDK. That costs one
//! of the five reads a second; a service that answers so all the time is therefore not scanned again.

use std::future::Future;
use std::sync::atomic::Ordering;

use aws_sdk_kinesis::operation::get_records::builders::GetRecordsFluentBuilder;
use aws_smithy_async::rt::sleep::AsyncSleep as _;
use http_body_util::BodyExt as _;
use tracing::{debug, warn};

use crate::aws::errors::{self, Call, Cause, root_cause};
use crate::aws::handover::{Answer, Handover};
use crate::aws::kinesis::{KinesisStream, from_output};
use crate::aws::page_scan::{PageScanner, Strange};
use crate::core::ids::ShardId;
use crate::ports::{PageEnd, RecordSink, ShardIterator, StreamError};

/// After so many answers in a row that only the SDK can read, no other is tried with anything else.
const MOST_STRANGE: usize = 3;

/// 10 MiB of data in base64, and as much again for what stands around small records.
const LARGEST_ANSWER: usize = 28 << 20;

/// How one attempt ended that gave no page.
enum Attempt {
    Failed(Cause),
    Strange(Strange),
}

impl KinesisStream {
    /// GetRecords, and once more after a hiccup, as every call. `None`: the answer is for the SDK to
    /// read, which has to ask for it again.
    pub(super) async fn scan_records(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: u32,
        sink: &mut dyn RecordSink,
    ) -> Result<Option<PageEnd>, StreamError> {
        if self.strange.load(Ordering::Relaxed) >= MOST_STRANGE {
            return Ok(None);
        }
        let request = self.records_request(iterator, limit);
        let mut hiccups = 0;
        loop {
            match self.within_limit(scan_once(request.clone(), sink)).await {
                Ok(end) => {
                    self.strange.store(0, Ordering::Relaxed);
                    return Ok(Some(end));
                }
                Err(Attempt::Strange(why)) => {
                    self.note_strange(shard, why);
                    return Ok(None);
                }
                Err(Attempt::Failed(cause)) if cause.is_hiccup() && hiccups == 0 => {
                    debug!("a call is tried once more: {cause:?}");
                    hiccups += 1;
                }
                Err(Attempt::Failed(cause)) => {
                    let call = Call {
                        service: "kinesis",
                        operation: "GetRecords",
                        subject: &self.on_shard(shard),
                    };
                    return Err(errors::stream_error(call, &cause));
                }
            }
        }
    }

    /// The SDK's limit ends with the head of the answer; this one holds for its body too.
    async fn within_limit(
        &self,
        attempt: impl Future<Output = Result<PageEnd, Attempt>>,
    ) -> Result<PageEnd, Attempt> {
        let Some((limit, sleep)) = &self.limit else {
            return attempt.await;
        };
        tokio::select! {
            biased;
            result = attempt => result,
            () = sleep.sleep(*limit) => Err(Attempt::Failed(Cause::TimedOut(format!(
                "the answer took longer than {limit:?}"
            )))),
        }
    }

    fn note_strange(&self, shard: &ShardId, why: Strange) {
        let before = self.strange.fetch_add(1, Ordering::Relaxed);
        debug!(shard = %shard, "an answer to GetRecords is asked for again, for the SDK to read: {why}");
        if before + 1 == MOST_STRANGE {
            warn!(shard = %shard, "{MOST_STRANGE} answers to GetRecords in a row were unusual JSON (the last: {why}); \
                they are read in a slower way from now on");
        }
    }
}

async fn scan_once(
    request: GetRecordsFluentBuilder,
    sink: &mut dyn RecordSink,
) -> Result<PageEnd, Attempt> {
    let handover = Handover::default();
    let sent = request
        .customize()
        .interceptor(handover.clone())
        .send()
        .await;
    let output = sent.map_err(|error| Attempt::Failed(Cause::of(&error)))?;
    let Some(Answer { mut body, length }) = handover.take() else {
        // Not JSON, so the SDK has read it.
        let unreadable = |_| Attempt::Strange(Strange::UNUSABLE);
        return Ok(from_output(output).map_err(unreadable)?.pour_into(sink));
    };
    sink.restart();
    // The service's own limit, so that no header can ask for more.
    sink.expect(length.unwrap_or(0).min(LARGEST_ANSWER));
    let mut scanner = PageScanner::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Attempt::Failed(Cause::Garbled(root_cause(&*error))))?;
        if let Ok(piece) = frame.into_data() {
            scanner.feed(&piece, sink).map_err(Attempt::Strange)?;
        }
    }
    let rest = scanner.finish().map_err(Attempt::Strange)?;
    Ok(rest.end)
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;

//! The stream: does it exist, may it be read, who else reads it.

use std::future::Future;

use super::{NO_CREDENTIALS, limited, throttled};
use crate::aws::probe::{ConsumerRef, Probe, StreamFacts};
use crate::check::judge;
use crate::check::report::{Outcome, Step};
use crate::config::DaemonConfig;
use crate::config::retrieval_mode::RetrievalMode;
use crate::core::ids::ShardId;
use crate::core::stream::{IteratorStart, Shard, ShardFilter};
use crate::ports::{Clock, StreamError, StreamErrorKind};

use Outcome::{Failure, NotVerified, Ok as Fine, Warning};

pub(super) struct Kinesis<'a> {
    pub(super) config: &'a DaemonConfig,
    pub(super) probe: &'a Probe,
    pub(super) clock: &'a dyn Clock,
}

#[derive(Default)]
pub(super) struct StreamFindings {
    pub(super) steps: Vec<Step>,
    pub(super) facts: Option<StreamFacts>,
    pub(super) shards: Option<Vec<Shard>>,
    pub(super) consumer_described: bool,
}

impl StreamFindings {
    pub(super) fn without_credentials() -> Self {
        Self {
            steps: vec![Step::new(
                "stream, kinesis:DescribeStreamSummary, kinesis:ListShards, kinesis:GetShardIterator, kinesis:GetRecords",
                NotVerified,
                NO_CREDENTIALS,
            )],
            ..Self::default()
        }
    }

    pub(super) fn open_shards(&self) -> Option<u32> {
        let listed = self.shards.as_ref().map(|shards| {
            let open = shards.iter().filter(|shard| !shard.closed).count();
            u32::try_from(open).unwrap_or(u32::MAX)
        });
        listed.or_else(|| self.facts.as_ref().map(|facts| facts.open_shards))
    }
}

impl Kinesis<'_> {
    pub(super) async fn run(&self) -> StreamFindings {
        let stream = &*self.probe.stream;
        let (described, listed) = tokio::join!(
            stream_call(
                self.clock,
                "DescribeStreamSummary",
                self.probe.stream_facts()
            ),
            stream_call(
                self.clock,
                "ListShards",
                stream.list_shards(ShardFilter::All)
            )
        );
        let mut findings = StreamFindings::default();
        match described {
            Ok(facts) => {
                findings.steps.push(judge::stream(&facts));
                let allowed = Step::new("kinesis:DescribeStreamSummary", Fine, "allowed");
                findings.steps.push(allowed);
                findings.facts = Some(facts);
            }
            // The daemon gets on without it (`decisions.md`: policies made for Java suffice).
            Err(error) if error.kind == StreamErrorKind::Denied && listed.is_ok() => {
                findings.steps.push(Step::new(
                    "kinesis:DescribeStreamSummary",
                    Warning,
                    format!("{}; the daemon starts without it", error.message),
                ));
            }
            Err(error) if error.kind == StreamErrorKind::Gone => {
                findings
                    .steps
                    .push(Step::new("stream", Failure, error.message));
            }
            Err(error) => findings.steps.push(failed_stream(
                "kinesis:DescribeStreamSummary",
                &error,
                Failure,
            )),
        }
        match listed {
            Ok(shards) => {
                findings.steps.push(judge::shards(&shards));
                findings.shards = Some(shards);
            }
            Err(error) => {
                findings
                    .steps
                    .push(failed_stream("kinesis:ListShards", &error, Failure));
            }
        }
        let open = findings
            .shards
            .iter()
            .flatten()
            .find(|shard| !shard.closed)
            .map(|shard| shard.id.clone());
        let (read, fanout) = tokio::join!(
            self.read(open.as_ref(), findings.facts.as_ref()),
            self.fanout(findings.facts.as_ref())
        );
        findings.steps.extend(read);
        findings.consumer_described = fanout.1;
        findings.steps.extend(fanout.0);
        findings
    }

    /// Reads one record of one shard, from its beginning, as that is where records are.
    async fn read(&self, shard: Option<&ShardId>, facts: Option<&StreamFacts>) -> Vec<Step> {
        const ITERATOR: &str = "kinesis:GetShardIterator";
        const RECORDS: &str = "kinesis:GetRecords";
        if self.config.retrieval.choice.mode != RetrievalMode::Polling {
            return Vec::new();
        }
        let not_tried = |name: &str, why: &str| Step::new(name, NotVerified, why);
        let Some(shard) = shard else {
            let why = "no open shard is known to try it on";
            return vec![not_tried(ITERATOR, why), not_tried(RECORDS, why)];
        };
        let stream = &*self.probe.stream;
        let start = IteratorStart::TrimHorizon;
        let iterator = match stream_call(
            self.clock,
            "GetShardIterator",
            stream.iterator(shard, &start),
        )
        .await
        {
            Ok(Some(iterator)) => iterator,
            Ok(None) => {
                let why = format!("shard {shard} gave no iterator");
                return vec![not_tried(ITERATOR, &why), not_tried(RECORDS, &why)];
            }
            Err(error) => {
                return vec![
                    failed_stream(ITERATOR, &error, Failure),
                    not_tried(RECORDS, "it needs a shard iterator"),
                ];
            }
        };
        let mut steps = vec![Step::new(ITERATOR, Fine, "allowed")];
        let is_encrypted = facts.is_some_and(|facts| facts.kms_key.is_some());
        match stream_call(
            self.clock,
            "GetRecords",
            stream.get_records(shard, &iterator, 1),
        )
        .await
        {
            Ok(page) => {
                let message = match page.records.len() {
                    0 => format!("allowed; shard {shard} has no record at its beginning"),
                    _ => format!("allowed; a record of shard {shard} was read"),
                };
                steps.push(Step::new(RECORDS, Fine, message));
                if is_encrypted {
                    steps.push(if page.records.is_empty() {
                        not_tried("kms:Decrypt", "there was no record to decrypt")
                    } else {
                        Step::new("kms:Decrypt", Fine, "allowed")
                    });
                }
            }
            Err(error) => steps.push(failed_stream(RECORDS, &error, Failure)),
        }
        steps
    }

    /// The consumers of the stream, and the one that fan-out uses; whether the latter was described.
    async fn fanout(&self, facts: Option<&StreamFacts>) -> (Vec<Step>, bool) {
        let mut steps = Vec::new();
        if let Some(facts) = facts {
            let listed = self.probe.consumers(&facts.arn);
            match stream_call(self.clock, "ListStreamConsumers", listed).await {
                Ok(consumers) => steps.push(judge::consumers(&consumers)),
                Err(error) => steps.push(Step::new(
                    "fan-out consumers",
                    NotVerified,
                    format!("{}; only this check asks for them", error.message),
                )),
            }
        }
        let choice = &self.config.retrieval.choice;
        if choice.mode != RetrievalMode::Fanout {
            return (steps, false);
        }
        let fanout = &self.config.retrieval.fanout;
        let (which, name) = match (&fanout.consumer_arn, facts) {
            (Some(arn), _) => (ConsumerRef::Arn(arn.clone()), arn),
            (None, Some(facts)) => (
                ConsumerRef::Name {
                    stream: facts.arn.clone(),
                    name: fanout.consumer_name.clone(),
                },
                &fanout.consumer_name,
            ),
            (None, None) => {
                let why = "the stream's ARN is not known";
                steps.push(Step::new("fan-out consumer", NotVerified, why));
                return (steps, false);
            }
        };
        let described = self.probe.consumer(&which);
        match stream_call(self.clock, "DescribeStreamConsumer", described).await {
            Ok(found) => {
                let by_arn = fanout.consumer_arn.is_some();
                steps.push(judge::consumer(name, found.as_ref(), by_arn));
                let allowed = Step::new("kinesis:DescribeStreamConsumer", Fine, "allowed");
                steps.push(allowed);
                (steps, true)
            }
            Err(error) => {
                let step = failed_stream("kinesis:DescribeStreamConsumer", &error, Failure);
                steps.push(step);
                (steps, true)
            }
        }
    }
}

fn failed_stream(name: &str, error: &StreamError, worst: Outcome) -> Step {
    match error.kind {
        StreamErrorKind::SlowDown => throttled(name, &error.message),
        _ => Step::new(name, worst, error.message.clone()),
    }
}

/// A failed call to Kinesis, the time limit included.
async fn stream_call<T>(
    clock: &dyn Clock,
    what: &str,
    work: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, StreamError> {
    limited(clock, what, work).await.unwrap_or_else(|message| {
        Err(StreamError {
            kind: StreamErrorKind::Retry,
            message,
        })
    })
}

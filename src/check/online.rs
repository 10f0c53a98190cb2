//! Asking the services. Every step ends within [`STEP_LIMIT`], and none hides another: what cannot be
//! looked at because of an earlier failure is `not verified` and says why.

use std::future::Future;
use std::time::Duration;

use crate::aws::probe::dates::Dates;
use crate::aws::probe::{ConsumerRef, Probe, StreamFacts};
use crate::check::calls::{self, Size};
use crate::check::judge;
use crate::check::permissions::{self, Identity};
use crate::check::policy::{self, For, Scope};
use crate::check::report::{Outcome, Step};
use crate::config::DaemonConfig;
use crate::config::retrieval_mode::RetrievalMode;
use crate::core::ids::{LeaseKey, ShardId};
use crate::core::stream::{IteratorStart, Shard, ShardFilter};
use crate::os::time::within;
use crate::ports::{Clock, StoreError, StreamError, StreamErrorKind, TableScan};

use Outcome::{Failure, NotVerified, Ok as Fine, Warning};

/// The longest that one step may take.
pub const STEP_LIMIT: Duration = Duration::from_secs(10);

/// A key that no lease has, for a GetItem that finds nothing.
const NO_LEASE: &str = "kcl-daemon-check";

/// What the services are asked through.
pub struct Asking<'a> {
    /// The configuration.
    pub config: &'a DaemonConfig,
    /// Kinesis and DynamoDB.
    pub probe: &'a Probe,
    /// The credentials, and who they are.
    pub identities: Vec<Identity>,
    /// What the answers say of the time.
    pub dates: &'a Dates,
    /// Time limits.
    pub clock: &'a dyn Clock,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The steps, in the order to show them.
    pub steps: Vec<Step>,
    /// Open shards, workers that own leases, and the table's size, as far as they could be seen.
    pub size: Size,
}

/// Runs all steps. `size` is what is said or assumed of the application's size.
pub async fn run(asking: Asking<'_>, size: Size) -> Found {
    let Asking {
        config,
        probe,
        identities,
        dates,
        clock,
    } = asking;
    let kinesis = Kinesis {
        config,
        probe,
        clock,
    };
    let dynamodb = Dynamodb { probe, clock };
    let ((mut steps, callers), stream, table) = tokio::join!(
        permissions::identify(identities, clock),
        kinesis.run(),
        dynamodb.run()
    );
    let mut size = size;
    if let (false, Some(shards)) = (size.shards_known, stream.open_shards()) {
        (size.shards, size.shards_known) = (shards, true);
    }
    if let (false, Some(scan)) = (size.workers_known, &table.scan)
        && !scan.leases.is_empty()
    {
        let owners = judge::owners(&scan.leases).max(1);
        (size.workers, size.workers_known) = (owners, true);
    }
    if let Some(scan) = table.scan.as_ref().filter(|scan| !scan.leases.is_empty()) {
        size.table_bytes = Some(scan.bytes);
    }
    let expected = calls::expected(config, size);

    let mut scope = Scope::of(config);
    if let Some(facts) = &stream.facts {
        scope.stream_account = facts.arn.split(':').nth(4).map(str::to_owned);
        scope.kinesis_region = facts.arn.split(':').nth(3).map(str::to_owned);
    }
    if let Some(caller) = permissions::caller_for(&callers, For::DynamoDb) {
        scope.table_account = Some(caller.account.clone());
    }
    let scope = Scope {
        dynamodb_region: scope
            .dynamodb_region
            .or_else(|| scope.kinesis_region.clone()),
        ..scope
    };
    let wanted = policy::build(config, &scope);
    let simulated = permissions::simulate(
        &callers,
        &wanted,
        &permissions::Tried {
            table_exists: table.exists,
            index_queried: table.index_queried,
            fanout_described: stream.consumer_described,
        },
        clock,
    )
    .await;

    let shards = stream.shards.clone();
    steps.extend(stream.steps);
    steps.extend(table.finish(probe.store.table(), shards.as_deref(), &expected));
    steps.extend(simulated);
    steps.push(judge::clocks(&dates.skews()));
    Found { steps, size }
}

/// Waits for a step; `Err` is the sentence of one that took too long.
pub(super) async fn limited<T>(
    clock: &dyn Clock,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    within(clock, STEP_LIMIT, work)
        .await
        .map_err(|_elapsed| format!("{what} did not end within {} s", STEP_LIMIT.as_secs()))
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

/// A failed call to DynamoDB, the time limit included.
async fn store_call<T>(
    clock: &dyn Clock,
    what: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    limited(clock, what, work)
        .await
        .unwrap_or_else(|message| Err(StoreError::Unavailable(message)))
}

// -------------------------------------------------------------------------------------------- Kinesis

struct Kinesis<'a> {
    config: &'a DaemonConfig,
    probe: &'a Probe,
    clock: &'a dyn Clock,
}

#[derive(Default)]
struct StreamFindings {
    steps: Vec<Step>,
    facts: Option<StreamFacts>,
    shards: Option<Vec<Shard>>,
    consumer_described: bool,
}

impl StreamFindings {
    fn open_shards(&self) -> Option<u32> {
        let listed = self.shards.as_ref().map(|shards| {
            let open = shards.iter().filter(|shard| !shard.closed).count();
            u32::try_from(open).unwrap_or(u32::MAX)
        });
        listed.or_else(|| self.facts.as_ref().map(|facts| facts.open_shards))
    }
}

impl Kinesis<'_> {
    async fn run(&self) -> StreamFindings {
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
            // Who is throttled is allowed.
            Err(error) if error.kind == StreamErrorKind::SlowDown => steps.push(Step::new(
                RECORDS,
                Fine,
                format!("allowed, but throttled by other readers: {}", error.message),
            )),
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
        if choice.chosen != RetrievalMode::Fanout {
            return (steps, false);
        }
        let fanout = &self.config.retrieval.fanout;
        let wanted = choice.mode == RetrievalMode::Fanout;
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
                steps.push(judge::consumer(
                    name,
                    found.as_ref(),
                    fanout.consumer_arn.is_some(),
                    wanted,
                ));
                let allowed = Step::new("kinesis:DescribeStreamConsumer", Fine, "allowed");
                steps.push(allowed);
                (steps, true)
            }
            Err(error) => {
                let worst = if wanted { Failure } else { Warning };
                steps.push(failed_stream(
                    "kinesis:DescribeStreamConsumer",
                    &error,
                    worst,
                ));
                (steps, true)
            }
        }
    }
}

fn failed_stream(name: &str, error: &StreamError, worst: Outcome) -> Step {
    Step::new(name, worst, error.message.clone())
}

// ------------------------------------------------------------------------------------------- DynamoDB

struct Dynamodb<'a> {
    probe: &'a Probe,
    clock: &'a dyn Clock,
}

struct TableFindings {
    described: Result<Option<crate::aws::probe::TableFacts>, StoreError>,
    steps: Vec<Step>,
    scan: Option<TableScan>,
    exists: bool,
    index_queried: bool,
}

impl Dynamodb<'_> {
    async fn run(&self) -> TableFindings {
        let store = &*self.probe.store;
        let no_lease = LeaseKey::new(NO_LEASE);
        let (described, legacy, scanned, got) = tokio::join!(
            store_call(self.clock, "DescribeTable", self.probe.table_facts()),
            store_call(
                self.clock,
                "DescribeTable",
                store.legacy_coordinator_table()
            ),
            store_call(self.clock, "Scan", store.scan()),
            store_call(self.clock, "GetItem", store.get(&no_lease)),
        );
        let missing = |error: &StoreError| matches!(error, StoreError::TableMissing(_));
        let mut steps = Vec::new();
        if let Ok(Some(_)) | Ok(None) = &described {
            steps.push(Step::new("dynamodb:DescribeTable", Fine, "allowed"));
        }
        // On a table that is not there, reads are put to the simulator as the writes are.
        let scan = match scanned {
            Ok(scan) => {
                steps.push(Step::new("dynamodb:Scan", Fine, "allowed"));
                Some(scan)
            }
            Err(error) if missing(&error) => None,
            Err(error) => {
                steps.push(failed_store("dynamodb:Scan", &error));
                None
            }
        };
        match got {
            Ok(_) => steps.push(Step::new("dynamodb:GetItem", Fine, "allowed")),
            Err(error) if missing(&error) => {}
            Err(error) => steps.push(failed_store("dynamodb:GetItem", &error)),
        }
        let index = described
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .is_some_and(|facts| {
                facts
                    .indexes
                    .iter()
                    .any(|index| index.name == policy::INDEX)
            });
        if index {
            let query = self.probe.query_index(policy::INDEX, NO_LEASE);
            steps.push(match store_call(self.clock, "Query", query).await {
                Ok(()) => Step::new("dynamodb:Query", Fine, "allowed on the index"),
                Err(error) => Step::new(
                    "dynamodb:Query",
                    Warning,
                    format!("{error}; only the 3.x mode needs it"),
                ),
            });
        }
        match legacy {
            Ok(found) => steps.push(judge::legacy_table(found.as_deref())),
            Err(error) => steps.push(failed_store("KCL 3.0 to 3.4 tables", &error)),
        }
        TableFindings {
            exists: !matches!(described, Ok(None)),
            described,
            steps,
            scan,
            index_queried: index,
        }
    }
}

impl TableFindings {
    fn finish(self, table: &str, shards: Option<&[Shard]>, expected: &calls::Calls) -> Vec<Step> {
        let mut steps = match &self.described {
            Ok(facts) => judge::table(table, facts.as_ref(), expected),
            Err(error) => vec![failed_store("dynamodb:DescribeTable", error)],
        };
        if let Some(scan) = &self.scan {
            steps.extend(judge::rows(table, scan, shards));
        }
        steps.extend(self.steps);
        steps
    }
}

fn failed_store(name: &str, error: &StoreError) -> Step {
    match error {
        StoreError::Throttled(message) => {
            Step::new(name, Warning, format!("allowed, but throttled: {message}"))
        }
        other => Step::new(name, Failure, other.to_string()),
    }
}

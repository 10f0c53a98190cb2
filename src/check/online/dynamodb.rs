//! The lease table: its shape, what is in it, may it be read.

use std::future::Future;

use super::{NO_CREDENTIALS, limited, throttled};
use crate::aws::probe::{Probe, TableFacts};
use crate::check::report::{Outcome, Step};
use crate::check::{calls, judge, policy};
use crate::core::ids::LeaseKey;
use crate::core::stream::Shard;
use crate::ports::{Clock, StoreError, TableScan};

use Outcome::{Failure, NotVerified, Ok as Fine, Warning};

/// A key that no lease has, for a GetItem that finds nothing.
const NO_LEASE: &str = "kcl-daemon-check";

pub(super) struct Dynamodb<'a> {
    pub(super) probe: &'a Probe,
    pub(super) clock: &'a dyn Clock,
}

pub(super) struct TableFindings {
    /// `None` when it was not asked for.
    described: Option<Result<Option<TableFacts>, StoreError>>,
    pub(super) steps: Vec<Step>,
    pub(super) scan: Option<TableScan>,
    pub(super) exists: bool,
    pub(super) index_queried: bool,
}

impl Dynamodb<'_> {
    pub(super) async fn run(&self) -> TableFindings {
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
        if described.is_ok() {
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
            described: Some(described),
            steps,
            scan,
            index_queried: index,
        }
    }
}

impl TableFindings {
    pub(super) fn without_credentials() -> Self {
        Self {
            described: None,
            steps: vec![Step::new(
                "lease table, dynamodb:DescribeTable",
                NotVerified,
                NO_CREDENTIALS,
            )],
            scan: None,
            exists: false,
            index_queried: false,
        }
    }

    pub(super) fn finish(
        self,
        table: &str,
        shards: Option<&[Shard]>,
        expected: &calls::Calls,
    ) -> Vec<Step> {
        let mut steps = match &self.described {
            None => Vec::new(),
            Some(Ok(facts)) => judge::table(table, facts.as_ref(), expected),
            Some(Err(error)) => vec![failed_store("dynamodb:DescribeTable", error)],
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
        StoreError::Throttled(message) => throttled(name, message),
        other => Step::new(name, Failure, other.to_string()),
    }
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

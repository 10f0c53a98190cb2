//! Asking the services. Every step ends within [`STEP_LIMIT`], and none hides another: what cannot be
//! looked at because of an earlier failure is `not verified` and says why.

mod dynamodb;
mod kinesis;

use std::future::Future;
use std::time::Duration;

use crate::aws::probe::Probe;
use crate::aws::probe::dates::Dates;
use crate::check::calls::{self, Size};
use crate::check::judge;
use crate::check::permissions::{self, Identity};
use crate::check::policy::{self, For, Scope};
use crate::check::report::{Outcome, Step};
use crate::config::DaemonConfig;
use crate::os::time::within;
use crate::ports::Clock;

use dynamodb::{Dynamodb, TableFindings};
use kinesis::{Kinesis, StreamFindings};

/// The longest that one step may take.
pub const STEP_LIMIT: Duration = Duration::from_secs(10);

/// Why nothing was asked.
const NO_CREDENTIALS: &str = "there are no credentials";

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
    let (mut steps, callers) = permissions::identify(identities, clock).await;
    let lacks = |service| permissions::lacks_credentials(&callers, service);
    let (stream, table) = tokio::join!(
        async {
            if lacks(For::Kinesis) {
                StreamFindings::without_credentials()
            } else {
                kinesis.run().await
            }
        },
        async {
            if lacks(For::DynamoDb) {
                TableFindings::without_credentials()
            } else {
                dynamodb.run().await
            }
        }
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

/// Who is throttled is allowed.
fn throttled(name: &str, message: &str) -> Step {
    Step::new(
        name,
        Outcome::Warning,
        format!("allowed, but throttled: {message}"),
    )
}

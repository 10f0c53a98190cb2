//! What happens before a worker takes its first lease: the table, whose fleet it is, the first leases.
//!
//! Java waits 65 to 105 s here on a new application (`leases.md` G.1, G.5). None of that waiting is
//! needed: creating leases is conditional, so any number of workers may do it at once.

use std::time::Duration;

use tracing::{info, warn};

use crate::core::ids::LeaseKey;
use crate::core::lease::Lease;
use crate::core::sequence::InitialPosition;
use crate::core::shard_sync::{Inconsistent, initial_filter, initial_leases, missing_leases};
use crate::core::stream::ShardFilter;
use crate::fetch::Retrieval;
use crate::ports::{
    Clock, Created, Entropy, ForeignItem, LeaseStore, StoreError, Stream, StreamError,
    StreamErrorKind, TableScan,
};

/// Why a worker cannot start, or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The stream does not exist.
    #[error("{0}")]
    Stream(String),
    /// The consumer of enhanced fan-out cannot be had.
    #[error("{0}")]
    Consumer(String),
    /// The lease table cannot be used.
    #[error("{0}")]
    Table(String),
    /// A KCL 3.x fleet coordinates itself in these tables; this version does not take part in that.
    #[error(
        "the lease table '{table}' belongs to a KCL 3.x fleet: it contains {item}; this version of kcl-daemon works \
         with the 2.x algorithm only and takes no lease here (use another applicationName, or roll the fleet back to 2.x)"
    )]
    NewerFleet {
        /// The lease table.
        table: String,
        /// What was seen.
        item: String,
    },
}

/// The longest pause between two attempts to start.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Retries what a later moment may heal, with one line per cause; anything else ends the start.
pub struct Patience<'a> {
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
    pause: Duration,
    last: Option<String>,
}

impl<'a> Patience<'a> {
    /// A fresh one, whose first pause is this long (`schedulerInitializationBackoffTimeMillis`).
    #[must_use]
    pub fn new(clock: &'a dyn Clock, entropy: &'a dyn Entropy, first_pause: Duration) -> Self {
        Self {
            clock,
            entropy,
            pause: first_pause.clamp(Duration::from_millis(10), LONGEST_PAUSE),
            last: None,
        }
    }

    async fn wait(&mut self, what: &str, cause: String) {
        if self.last.as_ref() != Some(&cause) {
            warn!("{what}: {cause}; trying again");
            self.last = Some(cause);
        }
        let pause = self.pause.mul_f64(0.5 + 0.5 * self.entropy.unit());
        self.clock.sleep_until(self.clock.now() + pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Sees that the stream is there, and waits while it is being created.
///
/// # Errors
/// A stream that does not exist, or that may not be read.
pub async fn check_stream(
    stream: &dyn Stream,
    mut patience: Patience<'_>,
) -> Result<(), StartError> {
    loop {
        match stream.describe().await {
            Ok(summary) if summary.readable => return Ok(()),
            Ok(summary) if summary.status == "DELETING" => {
                return Err(StartError::Stream(format!(
                    "the stream '{}' is being deleted",
                    stream.name()
                )));
            }
            Ok(summary) => {
                let cause = format!("the stream '{}' is {}", stream.name(), summary.status);
                patience.wait("waiting for the stream", cause).await;
            }
            // Policies that were made for polling with Java may lack DescribeStreamSummary; ListShards is
            // what is really needed.
            Err(error) if error.kind == StreamErrorKind::Denied => {
                return match stream.list_shards(ShardFilter::AtLatest).await {
                    Ok(_) => Ok(()),
                    Err(_) => Err(StartError::Stream(error.message)),
                };
            }
            Err(error) if is_final(&error) => return Err(StartError::Stream(error.message)),
            Err(error) => {
                patience
                    .wait("cannot describe the stream", error.message)
                    .await;
            }
        }
    }
}

/// With enhanced fan-out: sees that the consumer is registered, so that a missing permission is told
/// before the first lease is taken. Throttling and limits are waited out, as people can raise them.
///
/// # Errors
/// A consumer that may not be described or registered.
pub async fn check_consumer(
    retrieval: &Retrieval,
    mut patience: Patience<'_>,
) -> Result<(), StartError> {
    let Retrieval::FanOut(registration) = retrieval else {
        return Ok(());
    };
    loop {
        match registration.arn().await {
            Ok(_) => return Ok(()),
            Err(error) if is_final(&error) || error.kind == StreamErrorKind::Denied => {
                return Err(StartError::Consumer(format!(
                    "{}; write retrievalMode = POLLING to read without a registered consumer",
                    error.message
                )));
            }
            Err(error) => {
                patience
                    .wait(
                        "cannot register the consumer for enhanced fan-out",
                        error.message,
                    )
                    .await;
            }
        }
    }
}

fn is_final(error: &StreamError) -> bool {
    matches!(
        error.kind,
        StreamErrorKind::Gone | StreamErrorKind::Fatal | StreamErrorKind::InvalidPosition
    )
}

/// Creates the table when it is missing and refuses the tables of a KCL 3.x fleet.
///
/// # Errors
/// A table that cannot be created or used, or that belongs to a 3.x fleet.
pub async fn open_table(
    store: &dyn LeaseStore,
    mut patience: Patience<'_>,
) -> Result<TableScan, StartError> {
    loop {
        match try_open(store).await {
            Ok(Ok(scan)) => return Ok(scan),
            Ok(Err(newer)) => return Err(newer),
            Err(error) if error.is_transient() => {
                let what = format!("cannot use the lease table '{}'", store.table());
                patience.wait(&what, error.to_string()).await;
            }
            Err(error) => return Err(StartError::Table(error.to_string())),
        }
    }
}

async fn try_open(store: &dyn LeaseStore) -> Result<Result<TableScan, StartError>, StoreError> {
    let created = store.ensure_table().await?;
    if created {
        info!("created the lease table '{}'", store.table());
        return Ok(Ok(TableScan::default()));
    }
    if let Some(legacy) = store.legacy_coordinator_table().await? {
        return Ok(Err(StartError::NewerFleet {
            table: store.table().to_owned(),
            item: format!("the table '{legacy}' beside it"),
        }));
    }
    let scan = store.scan().await?;
    Ok(match refuse_foreign(store.table(), &scan.foreign) {
        None => Ok(scan),
        Some(newer) => Err(newer),
    })
}

/// The error for a table with items of the 3.x coordination in it (`leases.md` A.7, D.4).
#[must_use]
pub fn refuse_foreign(table: &str, foreign: &[ForeignItem]) -> Option<StartError> {
    foreign.first().map(|item| StartError::NewerFleet {
        table: table.to_owned(),
        item: format!("the item '{}' ({})", item.key, item.kind),
    })
}

/// Why a sync did not create what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The shards could not be listed.
    #[error("cannot list the shards: {0}")]
    List(#[from] StreamError),
    /// The list cannot be true.
    #[error("the list of shards is not used: {0}")]
    Inconsistent(#[from] Inconsistent),
    /// A lease could not be created.
    #[error("cannot create leases: {0}")]
    Store(#[from] StoreError),
}

/// Creates the leases that are missing; gives how many were new.
///
/// # Errors
/// [`SyncError`]; what was created until then stays, and the next sync goes on.
pub async fn sync(
    stream: &dyn Stream,
    store: &dyn LeaseStore,
    leases: &[Lease],
    position: InitialPosition,
    ignore_unexpected_children: bool,
) -> Result<usize, SyncError> {
    let missing = if leases.is_empty() {
        let shards = stream.list_shards(initial_filter(position)).await?;
        initial_leases(&shards, position)?
    } else {
        let shards = stream.list_shards(ShardFilter::All).await?;
        missing_leases(&shards, leases, position, ignore_unexpected_children)?
    };
    let mut created = 0;
    for lease in &missing {
        if store.create(lease).await? == Created::New {
            info!(
                "created the lease of shard {} at {}",
                lease.key, lease.checkpoint
            );
            created += 1;
        }
    }
    Ok(created)
}

/// Looks up hash ranges that rows of KCL 1.x lack (`leases.md` E.3 step 2).
///
/// # Errors
/// [`SyncError`].
pub async fn fill_hash_ranges(
    stream: &dyn Stream,
    store: &dyn LeaseStore,
    leases: &[Lease],
    unknown: &[LeaseKey],
) -> Result<(), SyncError> {
    let shards = stream.list_shards(ShardFilter::All).await?;
    for lease in leases.iter().filter(|lease| unknown.contains(&lease.key)) {
        let id = lease.shard_id();
        if let Some(shard) = shards.iter().find(|shard| shard.id == id) {
            store
                .update(&lease.with_hash_range(shard.hash_range))
                .await?;
        }
    }
    Ok(())
}

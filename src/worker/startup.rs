//! What happens before a worker takes its first lease: the stream, patience, the first leases. The
//! table and whose fleet it is are in `joining.rs`.
//!
//! Java waits 65 to 105 s here on a new application (`leases.md` G.1, G.5). None of that waiting is
//! needed: creating leases is conditional, so any number of workers may do it at once.

use std::time::Duration;

use tracing::{info, warn};

use crate::core::ids::LeaseKey;
use crate::core::lease::Lease;
use crate::core::sequence::{InitialPosition, Position};
use crate::core::shard_sync::{
    Inconsistent, ancestors, initial_filter, initial_leases, missing_leases, rest_of_initial_leases,
};
use crate::core::stream::{Shard, ShardFilter};
use crate::fetch::Retrieval;
use crate::ports::{
    Clock, Created, Entropy, LeaseStore, StoreError, Stream, StreamError, StreamErrorKind,
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
    /// The configuration does not fit the fleet.
    #[error("{0}")]
    Refused(String),
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

    pub(super) async fn wait(&mut self, what: &str, cause: String) {
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
    let (shards, missing) = if leases.is_empty() {
        let shards = stream.list_shards(initial_filter(position)).await?;
        let initial = initial_leases(&shards, position)?;
        (shards, initial)
    } else if let Some(rest) = rest_of_initial(stream, leases, position).await? {
        (Vec::new(), rest)
    } else {
        let shards = stream.list_shards(ShardFilter::All).await?;
        let missing = missing_leases(&shards, leases, position, ignore_unexpected_children)?;
        (shards, missing)
    };
    let mut created = 0;
    for lease in &missing {
        if comes_with_its_parents(store, &shards, lease).await? {
            continue;
        }
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

/// Whether a lease would begin at LATEST although an ancestor has one: such a shard comes at the end of its
/// parents, from its beginning (I.25). The table may have been read a moment before another worker, or an
/// earlier try whose answer was lost, made the lease of the shard that was split since.
async fn comes_with_its_parents(
    store: &dyn LeaseStore,
    shards: &[Shard],
    lease: &Lease,
) -> Result<bool, StoreError> {
    if lease.checkpoint.position != Position::Latest {
        return Ok(false);
    }
    for ancestor in ancestors(&lease.shard_id(), shards) {
        if store.get(&LeaseKey::of_shard(&ancestor)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an initial sync left to do. At LATEST it cannot be told what the shards were that it saw.
async fn rest_of_initial(
    stream: &dyn Stream,
    leases: &[Lease],
    position: InitialPosition,
) -> Result<Option<Vec<Lease>>, SyncError> {
    if position == InitialPosition::Latest {
        return Ok(None);
    }
    let shards = stream.list_shards(initial_filter(position)).await?;
    let initial = initial_leases(&shards, position)?;
    Ok(rest_of_initial_leases(&initial, leases))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::hash_range::HashRange;
    use crate::core::ids::ShardId;
    use crate::core::sequence::SequenceNumber;
    use crate::worker::testing::{Listed, MemoryStore, owned};

    fn shard(id: &str, parents: &[&str], range: (u128, u128), closed: bool) -> Shard {
        Shard {
            id: ShardId::new(id),
            parents: parents.iter().map(ShardId::new).collect(),
            hash_range: HashRange {
                start: range.0,
                end: range.1,
            },
            starting_sequence: SequenceNumber::parse("1").unwrap(),
            closed,
        }
    }

    #[tokio::test]
    async fn a_scan_that_is_behind_does_not_begin_a_tracked_shard_at_latest() {
        // c came of b while another worker filled the table, and d of c.
        let shards = [
            shard("a", &[], (0, 9), false),
            shard("b", &[], (10, u128::MAX), true),
            shard("c", &["b"], (10, u128::MAX), true),
            shard("d", &["c"], (10, u128::MAX), false),
        ];
        // rows at the scan, rows that are there; what is there after the sync
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &[], &["a", "d"]),
            (&[], &["a"], &["a", "d"]),
            (&["a"], &["a"], &["a", "d"]),
            (&["a"], &["a", "b"], &["a", "b"]),
            (&["a"], &["a", "c"], &["a", "c"]),
            (&[], &["b"], &["a", "b"]),
        ];
        for (scanned, there, after) in cases {
            let store = MemoryStore::with(there.iter().map(|id| owned(id, "other")));
            let leases: Vec<Lease> = scanned.iter().map(|id| owned(id, "other")).collect();
            let stream = Listed(shards.to_vec());
            let created = sync(&stream, &store, &leases, InitialPosition::Latest, false).await;
            assert_eq!(
                created,
                Ok(after.len() - there.len()),
                "{scanned:?} {there:?}"
            );
            let rows: Vec<String> = store.rows().keys().map(ToString::to_string).collect();
            assert_eq!(rows, *after, "{scanned:?} {there:?}");
        }
    }
}

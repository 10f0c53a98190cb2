//! What every test of this target begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::support::{
    Aws, Daemon, Host, Ledger, Load, Properties, Recorder, Sandbox, Services, TableWatch, until,
};

#[allow(unused_imports, reason = "the checker uses them")]
pub use super::words::{EPOCH_MS, Kind, MS, S, Stillness, Time};

/// The stream of all tests.
pub const STREAM: &str = "stream";
/// The application, and so the lease table, of all tests.
pub const APPLICATION: &str = "app";
/// Waiting for something that takes a moment: generous, as the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

/// The services with one stream, and clients of them.
pub struct World {
    pub aws: Aws,
    pub services: Services,
    // Last: at its end nothing of the others may be left.
    pub sandbox: Sandbox,
}

impl World {
    /// Embedded services with a stream of so many shards.
    pub fn new(name: &str, shards: u32) -> Self {
        Self::with(name, shards, &[])
    }

    /// The same, with more arguments for `kcl-daemon local serve`.
    pub fn with(name: &str, shards: u32, arguments: &[&str]) -> Self {
        let sandbox = Sandbox::new(name);
        let services = Services::with(&sandbox, &[(STREAM, shards)], 0, arguments);
        let aws = Aws::at(&services.endpoints());
        Self {
            aws,
            services,
            sandbox,
        }
    }

    /// A recorder with the sandbox's ledger.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(&self.sandbox)
    }

    /// Properties with a failover time in milliseconds.
    pub fn properties(&self, recorder: &Recorder, failover: u64) -> Properties {
        self.services
            .properties(APPLICATION, STREAM, &recorder.command())
            .failover_millis(failover)
    }

    /// Properties for enhanced fan-out, as a file without any polling key means it.
    pub fn fan_out(&self, recorder: &Recorder, failover: u64) -> Properties {
        self.properties(recorder, failover)
            .without("retrievalMode")
            .without("idleTimeBetweenReadsInMillis")
    }

    /// A daemon on the first host.
    pub fn start(&self, properties: &Properties) -> Daemon {
        Daemon::start(&self.sandbox, properties, &[])
    }

    /// A daemon on a host of its own, with the host's name as worker id.
    pub fn start_on(&self, host: &str, properties: &Properties) -> Daemon {
        let host_of: Host<'_> = self.sandbox.host(host);
        Daemon::start(host_of, &properties.clone().set("workerId", host), &[])
    }

    /// Ten records a second into each of so many equal parts of the hash space.
    pub fn load(&self, places: u32) -> Load {
        Load::start(&self.services.endpoints(), STREAM, places)
    }

    /// A watch on the lease table.
    pub fn watch(&self) -> TableWatch {
        TableWatch::start(&self.services.endpoints(), APPLICATION)
    }

    /// How many unfinished leases each worker has.
    pub fn owners(&self) -> BTreeMap<String, usize> {
        self.aws.owners(APPLICATION)
    }

    /// Waits until the unfinished leases are shared in these numbers; gives how long it took.
    #[track_caller]
    pub fn wait_shares(&self, mut shares: Vec<usize>, timeout: Duration) -> Duration {
        shares.sort_unstable();
        until(
            &format!("the leases are shared as {shares:?}"),
            timeout,
            || {
                let owners = self.owners();
                let mut now: Vec<usize> = owners.values().copied().collect();
                now.sort_unstable();
                now == shares && !owners.contains_key("")
            },
        )
    }

    /// Shards whose leases a worker has.
    pub fn shards_of(&self, worker: &str) -> BTreeSet<String> {
        let rows = self.aws.scan_leases(APPLICATION);
        rows.into_iter()
            .filter(|row| row.owner.as_deref() == Some(worker))
            .map(|row| row.key)
            .collect()
    }

    /// Sees that no lease has an owner.
    #[track_caller]
    pub fn assert_released(&self) {
        let rows = self.aws.scan_leases(APPLICATION);
        assert!(!rows.is_empty(), "there are leases");
        let held: Vec<_> = rows.iter().filter(|row| row.owner.is_some()).collect();
        assert!(held.is_empty(), "leases are still owned: {held:#?}");
    }
}

/// The worker id that a daemon logs at its start.
#[track_caller]
pub fn worker_id(daemon: &Daemon) -> String {
    let line = daemon.wait_log("Using workerId: ", SOON);
    line.rsplit_once("Using workerId: ")
        .expect("it is in the line")
        .1
        .trim()
        .to_owned()
}

/// Waits until all these records are processed.
#[track_caller]
pub fn wait_processed<S: AsRef<str>>(recorder: &Recorder, ids: &[S], timeout: Duration) -> Ledger {
    let start = std::time::Instant::now();
    loop {
        let ledger = recorder.ledger();
        if ledger.has_processed(ids) {
            return ledger;
        }
        if start.elapsed() >= timeout {
            eprintln!("{}", ledger.outline());
            ledger.assert_nothing_lost(ids);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until each of so many shards got `batches` more batches with records than it has now.
#[track_caller]
pub fn wait_flow(recorder: &Recorder, shards: usize, batches: usize) {
    let before = counts(&recorder.ledger());
    until("all shards flow", SOON, || {
        let now = counts(&recorder.ledger());
        let flowing = now
            .iter()
            .filter(|(shard, count)| **count >= before.get(*shard).unwrap_or(&0) + batches)
            .count();
        flowing >= shards
    });
}

fn counts(ledger: &Ledger) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in ledger.of("done") {
        *counts.entry(event.shard.clone()).or_default() += 1;
    }
    counts
}

/// The slowest of these shards from a moment to its next record.
#[track_caller]
pub fn slowest_to_flow(
    recorder: &Recorder,
    shards: &BTreeSet<String>,
    after: i64,
    timeout: Duration,
) -> Duration {
    assert!(!shards.is_empty(), "the fault hits some shards");
    until("the shards flow again", timeout, || {
        let ledger = recorder.ledger();
        shards
            .iter()
            .all(|shard| ledger.next_delivery(shard, after).is_some())
    });
    let ledger = recorder.ledger();
    shards
        .iter()
        .filter_map(|shard| ledger.next_delivery(shard, after))
        .max()
        .expect("they flow")
}

/// Prints a figure for the records.
pub fn figure(what: &str, value: Duration) {
    println!("FIGURE: {what}: {:.2} s", value.as_secs_f64());
}

/// Prints a figure and sees that it is not above `limit`.
#[track_caller]
pub fn at_most(what: &str, value: Duration, limit: Duration) {
    figure(what, value);
    assert!(value <= limit, "{what}: {value:?}, allowed are {limit:?}");
}

/// Seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

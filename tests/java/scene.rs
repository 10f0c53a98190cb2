//! Emulators that neither we nor Java wrote, and workers of both kinds on one lease table.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;

use super::jars::Version;
use super::peer::{Java, JavaDaemon};
use super::peers::Peer;
use super::support::aws::LeaseRow;
use super::support::{
    Aws, Daemon, Endpoints, Ledger, Load, Properties, Recorder, Sandbox, Services, eventually,
    until,
};

/// The stream.
pub const STREAM: &str = "orders";
/// The application, and so the lease table.
pub const APPLICATION: &str = "orders-consumer";
/// What a JVM on a busy machine may take.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// `failoverTimeMillis`: short, as Java looks at the table every two of them.
pub const FAILOVER: u64 = 4000;

/// Which Kinesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinesis {
    /// ferrokinesis: for everything but reshards.
    Ferrokinesis,
    /// kinesis-local: tells ChildShards, which Java needs.
    NpmLocal,
    /// `kcl-daemon local serve`: tells them by enhanced fan-out too, where those of others do not, or not
    /// as the service does.
    Own,
}

/// A running Kinesis.
#[allow(dead_code, reason = "it runs until it is dropped")]
enum Server {
    Others(Peer),
    Own(Services),
}

/// One stream, one lease table.
pub struct Scene {
    pub aws: Aws,
    pub endpoints: Endpoints,
    pub recorder: Recorder,
    class_path: String,
    _kinesis: Server,
    _dynamodb: Peer,
    // Last: at its end nothing of the others may be left.
    pub sandbox: Sandbox,
}

impl Scene {
    /// A scene for this Java; `None` after a line that says what the machine lacks.
    pub fn new(name: &str, java: Version, kinesis: Kinesis, shards: i32) -> Option<Self> {
        let class_path = java.class_path()?;
        let sandbox = Sandbox::new(name);
        let kinesis = match kinesis {
            Kinesis::Ferrokinesis => Server::Others(Peer::ferrokinesis(&sandbox, &[])?),
            Kinesis::NpmLocal => Server::Others(Peer::kinesis_local(&sandbox)?),
            Kinesis::Own => Server::Own(Services::embedded(&sandbox, &[])),
        };
        let dynamodb = Peer::dynoxide(&sandbox)?;
        let endpoints = Endpoints {
            kinesis: match &kinesis {
                Server::Others(peer) => peer.endpoint().to_owned(),
                Server::Own(services) => services.kinesis_endpoint().to_owned(),
            },
            dynamodb: dynamodb.endpoint().to_owned(),
        };
        let aws = Aws::at(&endpoints);
        aws.create_stream(STREAM, shards);
        Some(Self {
            aws,
            endpoints,
            recorder: Recorder::new(&sandbox),
            class_path,
            _kinesis: kinesis,
            _dynamodb: dynamodb,
            sandbox,
        })
    }

    /// Properties that both kinds read alike.
    pub fn properties(&self) -> Properties {
        Properties::new(
            &self.endpoints,
            APPLICATION,
            STREAM,
            &self.recorder.command(),
        )
        .failover_millis(FAILOVER)
        // Java sleeps so long after a shard sync.
        .set("shardSyncIntervalMillis", 1000)
        .set("parentShardPollIntervalMillis", 1000)
        .set("shutdownGraceMillis", 8000)
        .environment("AWS_REGION", "us-east-1")
        .environment("PATH", &std::env::var("PATH").unwrap_or_default())
    }

    /// A Java worker.
    pub fn java(&self, worker: &str, properties: &Properties) -> JavaDaemon {
        self.java_of(&Java::published(&self.class_path), worker, properties)
    }

    /// A Java worker of another version.
    pub fn java_of(&self, java: &Java, worker: &str, properties: &Properties) -> JavaDaemon {
        JavaDaemon::start(&self.sandbox, java, worker, properties)
    }

    /// One of ours, on a host of its own.
    pub fn ours(&self, worker: &str, properties: &Properties) -> Daemon {
        let properties = properties.clone().set("workerId", worker);
        Daemon::start(self.sandbox.host(worker), &properties, &[])
    }

    /// Ten records a second into each of so many parts of the hash space.
    pub fn load(&self, places: u32) -> Load {
        Load::start(&self.endpoints, STREAM, places)
    }

    /// The leases as they are.
    pub fn leases(&self) -> BTreeMap<String, LeaseRow> {
        self.aws.leases(APPLICATION)
    }

    /// Owners of unfinished leases with their numbers.
    pub fn owners(&self) -> BTreeMap<String, usize> {
        self.aws.owners(APPLICATION)
    }

    /// Who holds the leader lock.
    pub fn leader(&self) -> Option<String> {
        let items = self.aws.scan_items(APPLICATION);
        let lock = items
            .iter()
            .find(|item| text(item, "leaseKey").as_deref() == Some("Leader"))?;
        text(lock, "ownerName")
    }

    /// Waits until this worker holds the leader lock.
    #[track_caller]
    pub fn wait_leader(&self, worker: &str) {
        until(&format!("{worker} leads"), PATIENCE, || {
            self.leader().as_deref() == Some(worker)
        });
    }

    /// Keys of items that are no leases.
    pub fn foreign_keys(&self) -> Vec<String> {
        let items = self.aws.scan_items(APPLICATION);
        items
            .iter()
            .filter(|item| !item.contains_key("leaseCounter"))
            .filter_map(|item| text(item, "leaseKey"))
            .collect()
    }

    /// Waits until no hand-off is under way.
    #[track_caller]
    pub fn wait_settled(&self) {
        until("no hand-off is under way", PATIENCE, || {
            self.leases()
                .values()
                .all(|row| !row.item.contains_key("checkpointOwner"))
        });
    }

    /// Waits until the unfinished leases are held by just these workers, each with at least one.
    #[track_caller]
    pub fn wait_owners(&self, workers: &[&str]) -> Duration {
        until(
            &format!("the leases are held by {workers:?}"),
            PATIENCE,
            || {
                let owners = self.owners();
                owners.len() == workers.len()
                    && workers.iter().all(|worker| owners.contains_key(*worker))
            },
        )
    }

    /// Waits until every record reached a processor. A batch whose checkpoint was written just before a
    /// kill is not answered any more, and not delivered again: answers are not asked for.
    #[track_caller]
    pub fn assert_all_delivered(&self, ids: &[String]) -> Ledger {
        eventually("every record is delivered", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(300));
            let ledger = self.recorder.ledger();
            let delivered = ledger.delivered();
            let all = ids.iter().all(|id| delivered.contains(id.as_str()));
            all.then_some(ledger)
        })
    }

    /// Waits until each of so many shards got another batch.
    #[track_caller]
    pub fn wait_flow(&self, shards: usize) {
        let counts = |ledger: &Ledger| {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for event in ledger.of("done") {
                *counts.entry(event.shard.clone()).or_default() += 1;
            }
            counts
        };
        let before = counts(&self.recorder.ledger());
        let start = Instant::now();
        until("all shards flow", PATIENCE, || {
            let now = counts(&self.recorder.ledger());
            now.iter()
                .filter(|(shard, count)| **count > before.get(*shard).copied().unwrap_or(0))
                .count()
                >= shards
        });
        println!(
            "FIGURE: all {shards} shards flow after {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
}

fn text(item: &HashMap<String, AttributeValue>, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}

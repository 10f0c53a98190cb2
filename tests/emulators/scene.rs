//! One daemon's surroundings on servers of others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::support::{
    Aws, Daemon, Endpoints, LeaseRow, Ledger, Properties, Put, Recorder, Sandbox, until,
};

/// How long something may take on a busy machine and a slow server.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The application, and so the lease table.
pub const APPLICATION: &str = "orders-consumer";
/// The stream.
pub const STREAM: &str = "orders";

/// A stream, clients, and a processor that writes a ledger.
pub struct Scene<'a> {
    /// Where files go.
    pub sandbox: &'a Sandbox,
    /// The servers.
    pub endpoints: Endpoints,
    /// Clients for them.
    pub aws: Aws,
    /// The processor.
    pub recorder: Recorder,
}

impl<'a> Scene<'a> {
    /// With a new stream of so many shards.
    pub fn new(sandbox: &'a Sandbox, kinesis: &str, dynamodb: &str, shards: i32) -> Self {
        let aws = Aws::new(kinesis, dynamodb);
        aws.create_stream(STREAM, shards);
        Self {
            sandbox,
            endpoints: Endpoints {
                kinesis: kinesis.to_owned(),
                dynamodb: dynamodb.to_owned(),
            },
            aws,
            recorder: Recorder::new(sandbox),
        }
    }

    /// Properties for this scene. Finished leases are kept, so that they can be looked at.
    pub fn properties(&self) -> Properties {
        Properties::new(
            &self.endpoints,
            APPLICATION,
            STREAM,
            &self.recorder.command(),
        )
        .set("cleanupLeasesUponShardCompletion", false)
    }

    /// A daemon with these properties.
    pub fn daemon(&self, properties: &Properties) -> Daemon {
        Daemon::start(
            self.sandbox,
            properties,
            &["--log", "info,kcl_daemon::fetch=debug"],
        )
    }

    /// Waits until all these records were processed; gives the ledger.
    #[track_caller]
    pub fn processed(&self, puts: &[Put]) -> Ledger {
        let start = std::time::Instant::now();
        loop {
            // Not more often: a ledger may have tens of thousands of records.
            std::thread::sleep(Duration::from_millis(300));
            let ledger = self.recorder.ledger();
            let processed = ledger.processed();
            let missing = puts
                .iter()
                .filter(|put| !processed.contains(put.id.as_str()))
                .count();
            if missing == 0 {
                return ledger;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{missing} of {} records are not processed after {PATIENCE:?}:\n{}",
                puts.len(),
                ledger.outline()
            );
        }
    }

    /// Waits until a lease is finished; gives its row.
    #[track_caller]
    pub fn finished(&self, shard: &str) -> LeaseRow {
        let at_end = || {
            self.leases()
                .get(shard)
                .is_some_and(|row| row.checkpoint == "SHARD_END")
        };
        until(
            &format!("the lease of {shard} is at SHARD_END"),
            PATIENCE,
            at_end,
        );
        self.leases().remove(shard).expect("it was there")
    }

    /// The lease table.
    pub fn leases(&self) -> BTreeMap<String, LeaseRow> {
        self.aws.leases(APPLICATION)
    }
}

/// Sees that each record was delivered by the shard that took it.
#[track_caller]
pub fn assert_right_shards(ledger: &Ledger, puts: &[Put]) {
    let shards: BTreeMap<&str, &str> = puts
        .iter()
        .map(|put| (put.id.as_str(), put.shard.as_str()))
        .collect();
    for event in ledger.of("processRecords") {
        for record in &event.records {
            if let Some(shard) = shards.get(record.id()) {
                assert_eq!(*shard, event.shard, "the shard of {}", record.id());
            }
        }
    }
}

/// Sees that a shard was begun only after `shardEnded` of a parent had been answered and checkpointed.
#[track_caller]
pub fn assert_after(ledger: &Ledger, parent: &str, child: &str) {
    let place = |event: &str, shard: &str| {
        ledger
            .events
            .iter()
            .position(|e| e.event == event && e.shard == shard)
    };
    let ended = place("shardEnded", parent);
    let begun = place("initialize", child);
    assert!(
        ended.is_some(),
        "{parent} was never told that it ended:\n{}",
        ledger.outline()
    );
    assert!(
        begun.is_some(),
        "{child} never began:\n{}",
        ledger.outline()
    );
    let stored = ledger
        .events
        .iter()
        .skip(ended.unwrap_or(0))
        .position(|e| e.event == "checkpoint" && e.shard == parent && e.error.is_none());
    let stored = stored.map(|offset| offset + ended.unwrap_or(0));
    assert!(
        stored.is_some() && stored < begun,
        "{child} began before {parent} had ended:\n{}",
        ledger.outline()
    );
}

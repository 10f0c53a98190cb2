//! Real processes before the checker of the simulation: each daemon reaches DynamoDB through an endpoint
//! that writes down what it asks and what it is told, its processors keep their ledger, and both become a
//! [`Trace`], which the functions of `tests/sim/checker` judge.
//!
//! | file | part |
//! |---|---|
//! | `recording.rs` | requests and answers as events |
//! | `rows.rs` | DynamoDB's JSON as leases and updates |
//! | `ledger.rs` | what processors wrote down as events |
//! | `tests.rs` | a kill, a rolling restart with a reshard |
//!
//! Writes are recorded one after the other, so their order is that of the table. What is not recorded:
//! writes whose condition failed, and items that are no leases. So these invariants cannot be judged:
//! I.5 to I.8 (refusals, and retries after them), I.9 and I.31 (the world says when it ends), I.13, I.20,
//! I.29 (nobody spoils rows and lists here), I.36, I.38 (the leader's items), and G.6. All others are.

mod ledger;
mod recording;
mod rows;
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kcl_daemon::core::lease::Change;

use super::checker::{Rules, Violation, judge};
use super::support::{Daemon, Ledger, Properties, Put};
use super::trace::{Op, ShardTruth, Trace, What};
use super::world::{STREAM, Time, World};
use recording::Recording;

/// What can be judged of what is recorded here.
const JUDGED: &[&str] = &[
    "I.1", "I.2", "I.3", "I.4", "I.10", "I.11", "I.12", "I.14", "I.15", "I.16", "I.17", "I.18",
    "I.19", "I.21", "I.22", "I.23", "I.24", "I.25", "I.26", "I.27", "I.28", "I.32", "I.33", "I.34",
    "I.35",
];

fn micros(time: Duration) -> Time {
    Time::try_from(time.as_micros()).unwrap_or(Time::MAX)
}

/// The fleet under judgement.
pub struct Judged<'a> {
    world: &'a World,
    recording: Arc<Recording>,
    failover: Duration,
    /// Whether a leader assigns the leases.
    assigned: bool,
}

impl<'a> Judged<'a> {
    /// Begins to record.
    pub fn new(world: &'a World, failover: Duration, assigned: bool) -> Self {
        Self {
            world,
            recording: Recording::new(world.services.dynamodb_endpoint()),
            failover,
            assigned,
        }
    }

    /// A daemon with a worker id, under record.
    pub fn start(&self, worker: &str, properties: &Properties) -> Daemon {
        let (process, endpoint) = self.recording.process(worker);
        let millis = u64::try_from(self.failover.as_millis()).unwrap_or(u64::MAX);
        let properties = properties
            .clone()
            .set("dynamoDBEndpoint", endpoint)
            .failover_millis(millis);
        let daemon = self.world.start_on(worker, &properties);
        self.recording.has_pid(process, daemon.pid());
        daemon
    }

    /// Kills a daemon.
    pub fn kill(&self, daemon: &mut Daemon) {
        let process = self.recording.of_pid(daemon.pid());
        daemon.kill9();
        if let Some(process) = process {
            self.recording.note(None, What::Killed { process });
        }
    }

    /// Judges everything that happened, with all records that were put; and sees that the same with a gap
    /// in it is found out.
    pub fn expect_sound(&self, ledger: &Ledger, puts: &[Put]) {
        let (trace, violations) = self.judge(ledger, puts);
        println!(
            "FIGURE: {} events of real processes judged by {} invariants",
            trace.events.len(),
            JUDGED.len()
        );
        if let Some(first) = violations.first() {
            let around = match &first.key {
                Some(key) => trace.about(key, first.index, 60),
                None => trace.around(first.index, 40, 5),
            };
            panic!(
                "{} violations, the first: {first:?}\n{around}",
                violations.len()
            );
        }
        // What was not recorded would break nothing.
        let breaks = |forget: &str, invariant: &str| {
            let mut gap = ledger.clone();
            let mut left = 3;
            gap.events.retain(|event| {
                let counts = event.event == forget
                    && (forget != "processRecords" || !event.records.is_empty());
                left -= i32::from(counts);
                !counts || left != 0
            });
            let (_, violations) = self.judge(&gap, puts);
            let found: BTreeSet<&str> = violations.iter().map(|v| v.invariant).collect();
            assert!(
                found.contains(invariant),
                "the third {forget} is taken out of the ledger, and only {found:?} notice"
            );
        };
        breaks("processRecords", "I.18");
        breaks("initialize", "I.17");
        let writes = |wanted: fn(&Change) -> bool| {
            let of_kind = |what: &What| matches!(what, What::Sent { op: Op::Update(update), .. } if wanted(&update.change));
            trace.events.iter().any(|event| of_kind(&event.what))
        };
        assert!(writes(|change| matches!(
            change,
            Change::Take { .. } | Change::Renew
        )));
        assert!(writes(|change| matches!(change, Change::Checkpoint(_))));
    }

    fn judge(&self, ledger: &Ledger, puts: &[Put]) -> (Trace, Vec<Violation>) {
        let trace = self.trace(ledger, puts);
        let rules = Rules {
            failover: micros(self.failover),
            max_steals: 1,
            assigned: self.assigned,
            hand_off_timeout: micros(Duration::from_secs(30)),
            assignment_interval: micros(self.failover * 2),
            retention_ms: 24 * 3_600_000,
            grace: None,
            judges_models: false,
            initial_timestamp_ms: None,
        };
        let mut violations = judge(&trace, rules);
        violations.retain(|violation| JUDGED.contains(&violation.invariant));
        (trace, violations)
    }

    fn trace(&self, ledger: &Ledger, puts: &[Put]) -> Trace {
        let mut events = ledger::shards_and_records(&self.shards(), puts);
        events.extend(self.recording.events());
        events.extend(ledger::events(ledger, &self.recording));
        ledger::add_reshards(&mut events, &self.shards());
        // What happened in the same microsecond stays in the order in which it was written down.
        events.sort_by_key(|event| event.at);
        Trace {
            processes: self.recording.processes(),
            events,
        }
    }

    fn shards(&self) -> Vec<ShardTruth> {
        let shards = self.world.aws.list_shards(STREAM);
        shards.iter().map(rows::shard).collect()
    }
}

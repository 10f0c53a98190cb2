//! What a quiet fleet's coordination costs: calls to the lease table per lease and hour, beside the
//! formulae for Java (`leases.md` H.1). `benches/README.md` has the table, and how to make it anew.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_daemon::core::lease::Change;
use kcl_daemon::core::migration::client_version::Configured;
use kcl_daemon::worker::joining::Wanted;

use crate::scenario::{Plan, run};
use crate::trace::{Op, Trace, What};
use crate::world::{S, Time};

/// When everything has settled and counting begins.
const FROM: Time = 180 * S;
/// How long is counted in the tests.
const QUICK: Time = 180 * S;
/// And for the table.
const LONG: Time = 600 * S;

/// Java's renewals of a lease in a minute: one each F/3 - 25 ms.
fn java_renewals(failover: Duration) -> f64 {
    60_000.0 / (failover.as_secs_f64() * 1000.0 / 3.0 - 25.0)
}

/// A fleet to count.
#[derive(Debug, Clone, Copy)]
struct Fleet {
    workers: usize,
    leases: usize,
    /// With a leader (3X); else the 2.x algorithm (PHASE1).
    leader: bool,
    /// `failoverTimeMillis`.
    failover: Duration,
    /// Every shard has new records at each read, and every batch is checkpointed; else there are none.
    busy: bool,
}

impl Fleet {
    fn name(self) -> String {
        format!(
            "{} {}, {} x {}",
            if self.leader { "3X" } else { "2.x" },
            if self.busy { "busy" } else { "idle" },
            self.workers,
            self.leases
        )
    }

    fn plan(self, length: Time) -> Plan {
        let mut plan = Plan::quiet(7, self.workers, self.leases);
        plan.wanted = Wanted::Explicit(if self.leader {
            Configured::V3x
        } else {
            Configured::Phase1
        });
        plan.failover = self.failover;
        plan.measures_load = true;
        plan.calm_at = FROM + length;
        plan.record_every = if self.busy {
            // Two a second and shard: each read finds some.
            S / 2 / self.leases as u64
        } else {
            1_000_000 * S
        };
        plan
    }
}

/// Calls of a whole fleet, by kind, in a minute.
#[derive(Debug, Clone, Default, PartialEq)]
struct Calls {
    by_kind: BTreeMap<&'static str, f64>,
}

const KINDS: [&str; 9] = [
    "renewals",
    "checkpoints",
    "scans",
    "queries",
    "lease reads",
    "lock reads",
    "lock writes",
    "metrics",
    "others",
];

impl Calls {
    fn of(kind: &'static str, count: f64) -> Self {
        Self {
            by_kind: BTreeMap::from([(kind, count)]),
        }
    }

    fn get(&self, kind: &str) -> f64 {
        self.by_kind.get(kind).copied().unwrap_or_default()
    }

    fn and(mut self, other: Self) -> Self {
        for (kind, count) in other.by_kind {
            *self.by_kind.entry(kind).or_default() += count;
        }
        self
    }

    fn total(&self) -> f64 {
        self.by_kind.values().sum()
    }

    /// What DynamoDB charges on demand, in units of an eventually consistent read of 4 KB or less. A
    /// write of 1 KB costs ten of them, a strong read two.
    fn price(&self, table_bytes: usize) -> f64 {
        let scan = (table_bytes as f64 / 4096.0).ceil();
        self.by_kind
            .iter()
            .map(|(kind, count)| {
                count
                    * match *kind {
                        "renewals" | "checkpoints" | "metrics" | "lock writes" | "others" => 10.0,
                        "lease reads" | "lock reads" => 2.0,
                        "scans" => scan,
                        _ => 1.0,
                    }
            })
            .sum()
    }
}

/// What a fleet of ours did.
fn counted(trace: &Trace, length: Time) -> Calls {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for event in &trace.events {
        if event.at < FROM || event.at >= FROM + length {
            continue;
        }
        let What::Sent { op, .. } = &event.what else {
            continue;
        };
        let kind = match op {
            Op::Update(update) => match update.change {
                Change::Renew => "renewals",
                Change::Checkpoint(_) => "checkpoints",
                _ => "others",
            },
            Op::Scan => "scans",
            Op::Query(_) => "queries",
            Op::Get(..) => "lease reads",
            Op::Leader => "lock reads",
            Op::WriteLeader(_) => "lock writes",
            Op::PutMetrics(_) | Op::DeleteMetrics(_) => "metrics",
            // Not charged: DescribeTable.
            Op::Open(_) | Op::Index => "descriptions",
            Op::Create(_)
            | Op::Delete(_)
            | Op::CreateIndex
            | Op::ClientVersion
            | Op::WriteClientVersion(_)
            | Op::Legacy(_) => "others",
        };
        *counts.entry(kind).or_default() += 1;
    }
    let minutes = length as f64 / (60 * S) as f64;
    Calls {
        by_kind: counts
            .into_iter()
            .map(|(kind, count)| (kind, count as f64 / minutes))
            .collect(),
    }
}

/// What such a fleet of Java's does (`leases.md` H.1), with as many checkpoints as ours made.
fn javas(fleet: Fleet, plan: &Plan, checkpoints: f64) -> Calls {
    let (leases, workers) = (fleet.leases as f64, fleet.workers as f64);
    let calls = Calls::of("renewals", java_renewals(plan.failover) * leases)
        .and(Calls::of("checkpoints", checkpoints));
    if fleet.leader {
        calls
            .and(Calls::of("scans", 3.5))
            .and(Calls::of("queries", 6.0 * workers))
            .and(Calls::of("lock reads", 4.0 * (workers - 1.0)))
            .and(Calls::of("lock writes", 2.0))
            .and(Calls::of("metrics", 2.0 * workers))
    } else {
        calls.and(Calls::of("scans", 3.2 * workers + 0.5))
    }
}

struct Bill {
    fleet: Fleet,
    ours: Calls,
    javas: Calls,
    table_bytes: usize,
}

impl Bill {
    fn of(fleet: Fleet, length: Time) -> Self {
        let plan = fleet.plan(length);
        let mut ours = counted(&run(&plan), length);
        ours.by_kind.remove("descriptions");
        let items = if fleet.leader { fleet.workers + 2 } else { 0 };
        Self {
            fleet,
            javas: javas(fleet, &plan, ours.get("checkpoints")),
            ours,
            table_bytes: 400 * (fleet.leases + items),
        }
    }

    fn prices(&self) -> (f64, f64) {
        let bytes = self.table_bytes;
        (self.ours.price(bytes), self.javas.price(bytes))
    }

    /// One row of the table.
    fn row(&self) -> String {
        let per_lease_hour = 60.0 / self.fleet.leases as f64;
        let mut row = format!("| {} |", self.fleet.name());
        for kind in KINDS {
            let (ours, javas) = (self.ours.get(kind), self.javas.get(kind));
            row += &if ours == 0.0 && javas == 0.0 {
                " – |".to_owned()
            } else {
                let (ours, javas) = (ours * per_lease_hour, javas * per_lease_hour);
                format!(" {ours:.0} / {javas:.0} |")
            };
        }
        let (ours, javas) = self.prices();
        row + &format!(
            " **{:.0} / {:.0}** | {:.2} |",
            self.ours.total() * per_lease_hour,
            self.javas.total() * per_lease_hour,
            ours / javas
        )
    }
}

fn fleet(leader: bool, busy: bool, workers: usize, leases: usize) -> Fleet {
    Fleet {
        workers,
        leases,
        leader,
        failover: Duration::from_secs(10),
        busy,
    }
}

/// A checkpoint counts as a renewal (`leases.md` H.2), so that whoever checkpoints often renews nothing;
/// and nobody renews more often than Java does.
#[test]
fn renewals_are_javas_at_most_and_saved_where_checkpoints_are_made() {
    for leader in [true, false] {
        for workers in [1, 3] {
            let idle = Bill::of(fleet(leader, false, workers, 4), QUICK);
            let busy = Bill::of(fleet(leader, true, workers, 4), QUICK);
            let name = idle.fleet.name();
            assert!(
                idle.ours.get("renewals") <= idle.javas.get("renewals") * 1.02,
                "{name}: {:?}",
                idle.ours
            );
            assert!(
                busy.ours.get("checkpoints") > 60.0,
                "{name}: {:?}",
                busy.ours
            );
            assert!(
                busy.ours.get("renewals") < busy.javas.get("renewals") * 0.05,
                "{name}: {:?}",
                busy.ours
            );
            let (ours, javas) = busy.prices();
            assert!(ours < javas, "{name}: {ours} {javas}");
        }
    }
}

/// What is paid for speed is bounded: looks at the table by one read unit a second and worker
/// (`decisions.md`), nothing is read lease by lease, and the sum stays near Java's even where nothing can
/// be saved.
#[test]
fn an_idle_fleet_costs_little_more_than_javas() {
    for (leader, workers, leases, most) in [
        (false, 1, 4, 1.02),
        (false, 3, 30, 1.1),
        (true, 1, 4, 1.5),
        (true, 3, 30, 1.15),
    ] {
        let bill = Bill::of(fleet(leader, false, workers, leases), QUICK);
        let name = bill.fleet.name();
        let (ours, javas) = bill.prices();
        assert!(
            ours <= javas * most,
            "{name}: {:.2} of Java's price: {:?}",
            ours / javas,
            bill.ours
        );
        // An eventually consistent read unit is 8 KB.
        let units = (bill.table_bytes as f64 / 8192.0).max(0.5);
        let most = 61.0 * workers as f64 / units.max(1.0);
        assert!(bill.ours.get("scans") <= most, "{name}: {:?}", bill.ours);
        for (kind, most) in [
            ("lease reads", 0.5),
            ("lock reads", 16.0 + 2.5 * workers as f64),
        ] {
            assert!(bill.ours.get(kind) <= most, "{name}: {:?}", bill.ours);
        }
    }
}

/// Where a table is so large that looks at it are further apart than the failover time, the leases are not
/// read one by one between them.
#[test]
fn leases_of_workers_that_live_are_not_read_one_by_one() {
    for leader in [false, true] {
        let mut fleet = fleet(leader, false, 2, 80);
        fleet.failover = Duration::from_secs(3);
        let bill = Bill::of(fleet, 60 * S);
        assert!(bill.ours.get("lease reads") < 1.0, "{:?}", bill.ours);
    }
}

/// Prints the table of `benches/README.md`.
#[test]
#[ignore = "takes a minute; makes the table of benches/README.md"]
fn cost_table() {
    println!("| fleet | {} | all | price |", KINDS.join(" | "));
    println!("|---|{}", "---|".repeat(KINDS.len() + 2));
    for leader in [false, true] {
        for busy in [false, true] {
            for (workers, leases) in [(1, 4), (3, 4), (20, 4), (1, 200), (3, 200), (20, 200)] {
                println!(
                    "{}",
                    Bill::of(fleet(leader, busy, workers, leases), LONG).row()
                );
            }
        }
    }
}

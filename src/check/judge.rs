//! From what a service said to a step: ok, warning, failure.

use std::collections::BTreeSet;

use crate::aws::probe::dates::Skew;
use crate::aws::probe::{ConsumerFacts, IndexFacts, StreamFacts, TableFacts};
use crate::check::calls::{Calls, units_per_second};
use crate::check::policy::INDEX;
use crate::check::report::{Outcome, Step};
use crate::core::lease::Lease;
use crate::core::stream::Shard;
use crate::ports::TableScan;

use Outcome::{Failure, NotVerified, Ok as Fine, Warning};

/// From here on a skew is worth a warning, milliseconds: KCL 3 takes a worker whose figures are older
/// for gone (`leases.md` I.41).
const NOTABLE_SKEW: i64 = 60_000;
/// From here on signatures are refused, milliseconds.
const REFUSED_SKEW: i64 = 300_000;

/// The stream as DescribeStreamSummary describes it.
#[must_use]
pub fn stream(facts: &StreamFacts) -> Step {
    let mut parts = vec![
        facts.status.clone(),
        plural(facts.open_shards, "open shard"),
    ];
    if let Some(mode) = &facts.mode {
        parts.push(mode.to_ascii_lowercase().replace('_', "-"));
    }
    parts.push(format!("keeps records for {} h", facts.retention_hours));
    parts.push(match &facts.kms_key {
        Some(key) => format!("encrypted with the KMS key {key}"),
        None => "not encrypted".to_owned(),
    });
    if let Some(consumers) = facts.consumers {
        parts.push(plural(consumers, "fan-out consumer"));
    }
    let described = format!("{}: {}", facts.arn, parts.join(", "));
    let (outcome, more) = match facts.status.as_str() {
        "ACTIVE" | "UPDATING" => (Fine, ""),
        "DELETING" => (
            Failure,
            "; it is being deleted, so the daemon does not start",
        ),
        _ => (Warning, "; the daemon waits until it is ACTIVE"),
    };
    Step::new("stream", outcome, format!("{described}{more}"))
}

/// All shards.
#[must_use]
pub fn shards(shards: &[Shard]) -> Step {
    let open = shards.iter().filter(|shard| !shard.closed).count();
    let (outcome, more) = if open == 0 {
        (Warning, "; a stream without open shards gives no records")
    } else {
        (Fine, "")
    };
    Step::new(
        "kinesis:ListShards",
        outcome,
        format!("{open} open of {} in all{more}", shards.len()),
    )
}

/// The registered fan-out consumers of the stream.
#[must_use]
pub fn consumers(consumers: &[ConsumerFacts]) -> Step {
    let names: Vec<String> = consumers
        .iter()
        .map(|consumer| format!("{} ({})", consumer.name, consumer.status))
        .collect();
    let message = if names.is_empty() {
        "none is registered".to_owned()
    } else {
        format!("{}; each costs money per shard and hour", names.join(", "))
    };
    Step::new("fan-out consumers", Fine, message)
}

/// The consumer that fan-out uses. `by_arn` is whether the file names it by its ARN.
#[must_use]
pub fn consumer(name: &str, facts: Option<&ConsumerFacts>, by_arn: bool) -> Step {
    let step = |outcome: Outcome, message: String| Step::new("fan-out consumer", outcome, message);
    match facts {
        Some(consumer) if consumer.status == "ACTIVE" => {
            step(Fine, format!("{name} is ACTIVE ({})", consumer.arn))
        }
        Some(consumer) => step(
            Warning,
            format!(
                "{name} is {}; the daemon waits until it is ACTIVE",
                consumer.status
            ),
        ),
        None if by_arn => step(
            Failure,
            format!(
                "{name} of fanoutConfig.consumerArn does not exist; register it, or name it by fanoutConfig.consumerName"
            ),
        ),
        None => step(
            Fine,
            format!(
                "{name} is not registered: it would be at the start, and from then on costs money"
            ),
        ),
    }
}

/// The lease table as DescribeTable describes it.
#[must_use]
pub fn table(name: &str, facts: Option<&TableFacts>, calls: &Calls) -> Vec<Step> {
    let step = |outcome, message: String| Step::new("lease table", outcome, message);
    let Some(facts) = facts else {
        return vec![step(
            Fine,
            format!(
                "{name} does not exist: it would be created (partition key leaseKey, String; on-demand)"
            ),
        )];
    };
    let key: Vec<String> = facts
        .key
        .iter()
        .map(|part| format!("{} {} {}", part.name, part.kind, part.role))
        .collect();
    let is_lease_key = matches!(facts.key.as_slice(), [part] if part.name == "leaseKey"
        && part.role == "HASH" && (part.kind == "S" || part.kind.is_empty()));
    if !is_lease_key {
        return vec![step(
            Failure,
            format!(
                "{name} exists and is no lease table: its key is ({}) and not (leaseKey S HASH); name another with \
                 tableName or applicationName",
                key.join(", ")
            ),
        )];
    }
    let billing = match facts.provisioned {
        None => "on-demand".to_owned(),
        Some((read, write)) => format!("provisioned ({read} read, {write} write units)"),
    };
    let protection = if facts.deletion_protection {
        ", protected from deletion"
    } else {
        ""
    };
    let described = format!("{name} is {}, {billing}{protection}", facts.status);
    let mut steps = vec![match facts.status.as_str() {
        "ACTIVE" | "UPDATING" => step(Fine, described),
        "ARCHIVED" | "ARCHIVING" | "DELETING" | "INACCESSIBLE_ENCRYPTION_CREDENTIALS" => {
            step(Failure, format!("{described}; it cannot be used"))
        }
        _ => step(Warning, format!("{described}; the daemon waits for it")),
    }];
    steps.extend(capacity(facts, calls));
    steps.push(index(
        facts.indexes.iter().find(|index| index.name == INDEX),
    ));
    steps
}

fn capacity(facts: &TableFacts, calls: &Calls) -> Option<Step> {
    let (read, write) = facts.provisioned?;
    let (needed_read, needed_write) = units_per_second(calls);
    let needed = format!(
        "{needed_read:.1} read and {needed_write:.1} write units a second are needed, checkpoints not counted; {read} \
         and {write} are provisioned"
    );
    // Capacities fit a double exactly.
    let enough = needed_read <= read as f64 && needed_write <= write as f64;
    Some(if enough {
        Step::new("lease table capacity", Fine, needed)
    } else {
        Step::new(
            "lease table capacity",
            Warning,
            format!(
                "{needed}: leases will be lost to throttling; raise it, or make the table on-demand"
            ),
        )
    })
}

fn index(found: Option<&IndexFacts>) -> Step {
    let (outcome, message) = match found {
        None => (
            Fine,
            format!("there is no index {INDEX}; only the 3.x mode would need it"),
        ),
        Some(index) => {
            let names: Vec<&str> = index.key.iter().map(|part| part.name.as_str()).collect();
            if names == ["leaseOwner", "leaseKey"] {
                (Fine, format!("{INDEX} is {}", index.status))
            } else {
                (
                    Warning,
                    format!(
                        "{INDEX} has the key ({}) and not (leaseOwner, leaseKey): the 3.x mode cannot use it",
                        names.join(", ")
                    ),
                )
            }
        }
    };
    Step::new("lease table index", outcome, message)
}

/// What is in the lease table. `shards` are those of the stream, if they could be listed.
#[must_use]
pub fn rows(table: &str, scan: &TableScan, shards: Option<&[Shard]>) -> Vec<Step> {
    let step = |outcome, message: String| Step::new("lease table rows", outcome, message);
    let owners = owners(&scan.leases);
    let leases = scan.leases.len();
    let mut steps = vec![step(
        Fine,
        match leases {
            0 => "no leases yet".to_owned(),
            _ => format!(
                "{} of {}",
                plural(u32::try_from(leases).unwrap_or(u32::MAX), "lease"),
                match owners {
                    0 => "nobody".to_owned(),
                    n => plural(n, "worker"),
                }
            ),
        },
    )];
    if let Some(item) = scan.foreign.first() {
        steps.push(step(
            Fine,
            format!(
                "{table} belongs to a KCL 3.x fleet: it contains the item '{}' ({}) and {} more; the daemon takes part \
                 in it, unless clientVersionConfig = CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
                item.key,
                item.kind,
                scan.foreign.len() - 1
            ),
        ));
    }
    if let Some(row) = scan.unreadable.first() {
        steps.push(step(
            Warning,
            format!(
                "{} cannot be read and would be left alone; the first is '{}': {}",
                plural(
                    u32::try_from(scan.unreadable.len()).unwrap_or(u32::MAX),
                    "row"
                ),
                row.key,
                row.reason
            ),
        ));
    }
    let is_of_stream = |lease: &Lease| {
        shards.is_none_or(|shards| shards.iter().any(|shard| shard.id == lease.shard_id()))
    };
    if leases > 0 && !scan.leases.iter().any(is_of_stream) {
        steps.push(step(
            Warning,
            "none of the leases is of a shard of this stream: the table is of another stream, or the stream was deleted \
             and created anew"
                .to_owned(),
        ));
    }
    steps
}

/// How many workers own leases.
#[must_use]
pub fn owners(leases: &[Lease]) -> u32 {
    let owners: BTreeSet<_> = leases.iter().filter_map(|l| l.owner.as_ref()).collect();
    u32::try_from(owners.len()).unwrap_or(u32::MAX)
}

/// The coordinator table of KCL 3.0 to 3.4.
#[must_use]
pub fn legacy_table(found: Option<&str>) -> Step {
    match found {
        None => Step::new(
            "KCL 3.0 to 3.4 tables",
            Fine,
            "there is no coordinator table",
        ),
        Some(name) => Step::new(
            "KCL 3.0 to 3.4 tables",
            Fine,
            format!(
                "the table {name} exists, so a fleet of KCL 3.0 to 3.4 works or worked here; the daemon keeps to its \
                 tables (migrateAllEntitiesToLeaseTable moves what is in them into the lease table)"
            ),
        ),
    }
}

/// The clocks of the services.
#[must_use]
pub fn clocks(skews: &[Skew]) -> Step {
    let step = |outcome, message: String| Step::new("clock", outcome, message);
    let Some(worst) = skews.iter().max_by_key(|skew| skew.millis.unsigned_abs()) else {
        return step(NotVerified, "no service answered with a date".to_owned());
    };
    let amount = worst.millis.abs();
    if amount < NOTABLE_SKEW {
        return step(
            Fine,
            format!(
                "this host and the services differ by {} s at most",
                (amount + 999) / 1000
            ),
        );
    }
    let side = if worst.millis > 0 {
        "behind"
    } else {
        "ahead of"
    };
    let difference = format!(
        "this host's clock is {} s {side} that of {}",
        amount / 1000,
        worst.host
    );
    if amount >= REFUSED_SKEW {
        return step(
            Failure,
            format!(
                "{difference}: AWS refuses signatures that are 5 minutes off (InvalidSignatureException, \
                 RequestExpired), and credentials seem to expire at the wrong time; set the clock by NTP"
            ),
        );
    }
    step(
        Warning,
        format!(
            "{difference}: at 5 minutes AWS refuses the signatures, and from 60 s on workers of KCL 3 take each other \
             for gone; set the clock by NTP"
        ),
    )
}

/// `1 shard`, `2 shards`.
fn plural(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;

//! How many calls to expect per hour (`leases.md` B.4 and H, `retrieval.md` A.4 and B.2), once
//! everything runs and the shards are read up to their tips. Starts, reshards and failures come on top.

use std::time::Duration;

use crate::config::DaemonConfig;
use crate::config::retrieval_mode::RetrievalMode;
use crate::core::assignment::view::scan_interval;

/// A row of the lease table with its names, bytes (`leases.md` H says 0.4 to 0.6 KB).
const ROW_BYTES: usize = 512;
/// What one read unit reads, eventually consistent.
const BYTES_PER_UNIT: usize = 8192;
/// One page of Scan.
const PAGE_BYTES: usize = 1 << 20;
/// Reads of one shard a second that the service allows to all its readers.
const READS_PER_SECOND: f64 = 5.0;
/// Java's allowance in its periods.
const EPSILON: Duration = Duration::from_millis(25);
/// The shortest time between two reads of a shard.
const SHORTEST_IDLE: Duration = Duration::from_millis(200);
/// A subscription ends after five minutes.
const SUBSCRIPTIONS_PER_HOUR: f64 = 12.0;
/// The shortest failover time that the daemon uses.
const SHORTEST_FAILOVER: Duration = Duration::from_millis(300);

/// How large the application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Open shards.
    pub shards: u32,
    /// Workers.
    pub workers: u32,
    /// Whether `shards` was found out or said, rather than assumed.
    pub shards_known: bool,
    /// Whether `workers` was found out or said, rather than assumed.
    pub workers_known: bool,
    /// Size of the lease table, if it was looked at.
    pub table_bytes: Option<usize>,
}

/// One sort of call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallLine {
    /// `DynamoDB` or `Kinesis`.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
    /// Calls per hour, all workers together.
    pub per_hour: f64,
    /// Request units per hour (`write` or `read`), if the service counts any.
    pub units: Option<(&'static str, f64)>,
    /// What they are for, and how the number comes about.
    pub why: String,
}

/// Expected calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Calls {
    /// What it is computed for.
    pub size: Size,
    /// The calls.
    pub lines: Vec<CallLine>,
    /// What comes on top, or is near a limit.
    pub notes: Vec<String>,
}

fn per_hour(period: Duration) -> f64 {
    3600.0 / period.as_secs_f64().max(0.001)
}

/// The calls of all workers together in an hour.
#[must_use]
pub fn expected(config: &DaemonConfig, size: Size) -> Calls {
    let (shards, workers) = (f64::from(size.shards), f64::from(size.workers));
    let failover = config.leases.failover_time.max(SHORTEST_FAILOVER);
    let mut notes = Vec::new();

    let renewal = (failover / 3).saturating_sub(EPSILON);
    let renewals = shards * per_hour(renewal);
    let bytes = size
        .table_bytes
        .unwrap_or_else(|| ROW_BYTES.saturating_mul(usize::try_from(size.shards).unwrap_or(0)));
    let scan = scan_interval(failover, size.workers > 1, bytes);
    let scans = workers * per_hour(scan);
    let (pages, units) = (
        bytes.div_ceil(PAGE_BYTES).max(1),
        bytes.div_ceil(BYTES_PER_UNIT).max(1),
    );
    let mut lines = vec![
        CallLine {
            service: "DynamoDB",
            operation: "UpdateItem",
            per_hour: renewals,
            units: Some(("write", renewals)),
            why: format!("each lease is renewed every {}", shown(renewal)),
        },
        CallLine {
            service: "DynamoDB",
            operation: "Scan",
            per_hour: scans * count(pages),
            units: Some(("read", scans * count(units))),
            why: format!(
                "each worker looks at the table ({} KiB) every {}{}",
                bytes.div_ceil(1024).max(1),
                shown(scan),
                if size.workers > 1 {
                    ", as there are others"
                } else {
                    ", as it is alone"
                }
            ),
        },
    ];
    match config.retrieval.choice.mode {
        RetrievalMode::Polling => {
            let polling = &config.retrieval.polling;
            let idle = polling
                .idle_time_between_reads
                .max(SHORTEST_IDLE)
                .max(polling.reduced_tps_threshold.unwrap_or_default());
            let each = per_hour(idle);
            lines.push(CallLine {
                service: "Kinesis",
                operation: "GetRecords",
                per_hour: shards * each,
                units: None,
                why: format!(
                    "each shard is read every {} at its tip, and up to 5 times a second behind it",
                    shown(idle)
                ),
            });
            if each / 3600.0 > READS_PER_SECOND / 2.0 {
                notes.push(format!(
                    "reading every {} takes {:.0} % of the 5 reads a second that a shard gives to all its readers \
                     (idleTimeBetweenReadsInMillis)",
                    shown(idle),
                    100.0 * each / 3600.0 / READS_PER_SECOND
                ));
            }
        }
        RetrievalMode::Fanout => lines.push(CallLine {
            service: "Kinesis",
            operation: "SubscribeToShard",
            per_hour: shards * SUBSCRIPTIONS_PER_HOUR,
            units: None,
            why: "a subscription of a shard lasts five minutes".to_owned(),
        }),
    }
    notes.push(
        "on top: one UpdateItem for each checkpoint of a child; ListShards, GetShardIterator and DescribeTable only \
         at the start and after a reshard"
            .to_owned(),
    );
    Calls { size, lines, notes }
}

/// Request units a second that the lease table has to give: read, write.
#[must_use]
pub fn units_per_second(calls: &Calls) -> (f64, f64) {
    let sum = |kind: &str| -> f64 {
        calls
            .lines
            .iter()
            .filter_map(|line| line.units)
            .filter(|(unit, _)| *unit == kind)
            .map(|(_, units)| units / 3600.0)
            .sum()
    };
    (sum("read"), sum("write"))
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

fn shown(period: Duration) -> String {
    if period < Duration::from_secs(1) {
        format!("{} ms", period.as_millis())
    } else {
        let text = format!("{:.2}", period.as_secs_f64());
        format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::with;

    fn size(shards: u32, workers: u32) -> Size {
        Size {
            shards,
            workers,
            shards_known: true,
            workers_known: true,
            table_bytes: None,
        }
    }

    fn of(lines: &str, shards: u32, workers: u32) -> Vec<(&'static str, i64)> {
        expected(&with(lines), size(shards, workers))
            .lines
            .iter()
            .map(|line| (line.operation, line.per_hour.round() as i64))
            .collect()
    }

    #[test]
    fn the_formulae() {
        for (lines, shards, workers, expected) in [
            // 3600 / 3.30833; 3600 / 20.05; 3600 / 1.5.
            (
                "",
                1,
                1,
                [("UpdateItem", 1088), ("Scan", 180), ("GetRecords", 2400)],
            ),
            // Two workers scan every 0.18 F.
            (
                "",
                4,
                2,
                [("UpdateItem", 4353), ("Scan", 4000), ("GetRecords", 9600)],
            ),
            (
                "failoverTimeMillis = 30000\nidleTimeBetweenReadsInMillis = 200",
                1,
                1,
                [("UpdateItem", 361), ("Scan", 60), ("GetRecords", 18000)],
            ),
            (
                "",
                0,
                1,
                [("UpdateItem", 0), ("Scan", 180), ("GetRecords", 0)],
            ),
        ] {
            assert_eq!(
                of(lines, shards, workers),
                expected,
                "{lines:?} {shards} {workers}"
            );
        }
    }

    #[test]
    fn scans_of_a_big_table_are_stretched_and_paged() {
        let calls = expected(
            &with(""),
            Size {
                table_bytes: Some(3 << 20),
                ..size(6000, 2)
            },
        );
        let scan = &calls.lines[1];
        // Never less often than alone: every 20.05 s, three pages, 384 units, two workers.
        assert_eq!(
            scan.per_hour.round(),
            (2.0 * 3.0 * 3600.0_f64 / 20.05).round()
        );
        let (read, write) = units_per_second(&calls);
        assert_eq!(read.round(), (2.0 * 384.0_f64 / 20.05).round());
        assert_eq!(write.round(), (6000.0_f64 / 3.308_333).round());
    }

    #[test]
    fn reading_near_the_limit_is_noted() {
        let near = |lines: &str| {
            expected(&with(lines), size(1, 1))
                .notes
                .iter()
                .any(|note| note.contains("5 reads a second"))
        };
        assert!(near("idleTimeBetweenReadsInMillis = 250"));
        assert!(!near(""));
    }

    #[test]
    fn no_setting_gives_an_absurd_number() {
        for lines in [
            "failoverTimeMillis = 100",
            "failoverTimeMillis = 9223372036854775807",
            "idleTimeBetweenReadsInMillis = 9223372036854775807",
        ] {
            for line in expected(&with(lines), size(u32::MAX, u32::MAX)).lines {
                assert!(
                    line.per_hour.is_finite() && line.per_hour >= 0.0,
                    "{lines}: {line:?}"
                );
            }
        }
    }
}

//! What a worker of KCL 3 says about its load, and who counts as active (`leases.md` A.6, C.4, C.10).
//!
//! Each worker writes one item every 30 s; the leader gives leases to workers whose item is valid and
//! fresh. The times in it are wall-clock seconds of the writer, so a clock that is off by more than a
//! minute makes its worker invisible (I.41).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::core::ema::{Ema, six_decimals};
use crate::core::ids::WorkerId;
use crate::core::time::WallTime;

/// The short name of CPU utilisation, percent.
pub const CPU: &str = "C";

/// The short name of assigned throughput; only the leader computes it, it is never stored.
pub const THROUGHPUT: &str = "T";

/// What this daemon supports, as the `sup` attribute says it: 1 is the single-table layout of 3.5.
pub const SUPPORT_CODE: i64 = 1;

/// A measurement that could not be made.
pub const NO_SAMPLE: f64 = -1.0;

/// `workerMetricsReporterFreqInMillis`, its default.
pub const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// How many values an item keeps per metric (`noOfPersistedMetricsPerWorkerMetrics`), its default.
pub const DEFAULT_HISTORY: usize = 10;

/// The metrics item of one worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerMetricStats {
    /// Whose it is; the key of the item.
    pub worker: WorkerId,
    /// `lut`: when it was written, epoch seconds.
    pub last_update: Option<i64>,
    /// `sts`: values by metric, oldest first; [`NO_SAMPLE`] where none could be had.
    pub stats: BTreeMap<String, Vec<f64>>,
    /// `opr`: by metric, first the most that the worker should reach.
    pub operating_range: BTreeMap<String, Vec<i64>>,
    /// `sup`: the newest feature that the worker's version supports; absent before 3.5.
    pub support_code: Option<i64>,
    /// `slu`: when `support_code` was written, epoch seconds. A version that does not know `sup`
    /// leaves an old one behind, so it counts only while this is fresh.
    pub support_updated: Option<i64>,
    /// `kclDaemonUpdated`: the `lut` of the last write of a kcl-daemon, see
    /// [`WorkerMetricStats::is_ours`].
    pub ours_updated: Option<i64>,
}

impl WorkerMetricStats {
    /// The item of a worker of ours, as written now. Empty maps mean that its load is judged by the
    /// throughput of its leases.
    #[must_use]
    pub fn written_by(
        worker: WorkerId,
        now: WallTime,
        stats: BTreeMap<String, Vec<f64>>,
        operating_range: BTreeMap<String, Vec<i64>>,
    ) -> Self {
        Self {
            worker,
            last_update: Some(now.seconds()),
            stats,
            operating_range,
            support_code: Some(SUPPORT_CODE),
            support_updated: Some(now.seconds()),
            ours_updated: Some(now.seconds()),
        }
    }

    /// Whether a kcl-daemon wrote the item as it is. All versions of KCL look attributes up by the names
    /// they know and update the item attribute by attribute, so the mark survives and harms nobody; and
    /// whoever else writes to the item leaves it behind with the time of an earlier write.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.last_update.is_some() && self.ours_updated == self.last_update
    }

    /// Whether the worker measures nothing itself, so that the throughput of its leases is its load.
    #[must_use]
    pub fn is_in_throughput_mode(&self) -> bool {
        self.stats.is_empty() && self.operating_range.is_empty()
    }

    /// Whether the leader can use the item at all: a time of writing, and for each metric a limit other
    /// than 0. Limits without any metric are refused; Java would take that worker for an idle one.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.last_update.is_some()
            && (self.is_in_throughput_mode()
                || !self.stats.is_empty()
                    && self
                        .stats
                        .keys()
                        .all(|metric| self.operating_range.contains_key(metric))
                    && self
                        .operating_range
                        .values()
                        .all(|range| range.first().is_some_and(|limit| *limit != 0)))
    }

    /// Whether the newest value of any metric is missing: then the worker gets no more leases.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.stats
            .values()
            .any(|values| values.last() == Some(&NO_SAMPLE))
    }

    /// Whether the item was written within two report intervals, as the *reader* has them configured.
    #[must_use]
    pub fn is_fresh(&self, now: WallTime, report_interval: Duration) -> bool {
        self.last_update.is_some_and(|written| {
            !now.is_past(
                WallTime::from_seconds(written),
                report_interval.saturating_mul(2),
            )
        })
    }

    /// Whether the worker may be given leases, as long as it reports.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.is_valid() && !self.is_failing()
    }

    /// Whether the worker may be given leases, by the time in its item.
    #[must_use]
    pub fn is_active(&self, now: WallTime, report_interval: Duration) -> bool {
        self.is_able() && self.is_fresh(now, report_interval)
    }

    /// Whether the item is so old that a leader deletes it (`staleWorkerMetricsEntryCleanupDuration`).
    #[must_use]
    pub fn is_stale(&self, now: WallTime, clean_up_after: Duration) -> bool {
        self.last_update
            .is_none_or(|written| now.is_past(WallTime::from_seconds(written), clean_up_after))
    }

    /// What the worker's version supports, as far as it can be believed: 0 when the item does not say
    /// so or has not said so for three report intervals.
    #[must_use]
    pub fn support(&self, now: WallTime, report_interval: Duration) -> i64 {
        match (self.support_code, self.support_updated) {
            (Some(code), Some(written))
                if !now.is_past(
                    WallTime::from_seconds(written),
                    report_interval.saturating_mul(3),
                ) =>
            {
                code
            }
            _ => 0,
        }
    }

    /// The smoothed value of a metric, samples that failed left out; `None` when the worker does not
    /// have the metric. `alpha` is `workerMetricsEMAAlpha`.
    #[must_use]
    pub fn value(&self, metric: &str, alpha: f64) -> Option<f64> {
        self.stats.get(metric).map(|values| smoothed(values, alpha))
    }
}

/// Whether a host whose clock is so far from that of AWS, milliseconds, should be told: half of what makes
/// its worker invisible to a leader (I.41).
#[must_use]
pub fn is_notably_off(millis: i64, report_interval: Duration) -> bool {
    Duration::from_millis(millis.unsigned_abs()) > report_interval
}

/// The moving average of stored values, 0 when there are none.
#[must_use]
pub fn smoothed(values: &[f64], alpha: f64) -> f64 {
    let mut average = Ema::new(alpha);
    for value in values.iter().filter(|value| **value != NO_SAMPLE) {
        average.add(*value);
    }
    average.value().unwrap_or(0.0)
}

/// One metric of this worker on its way into the item: samples between two reports become one value.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricHistory {
    sum: f64,
    samples: u32,
    reported: VecDeque<f64>,
    keep: usize,
}

impl MetricHistory {
    /// A history that keeps `keep` reports, at least one.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self {
            sum: 0.0,
            samples: 0,
            reported: VecDeque::new(),
            keep: keep.max(1),
        }
    }

    /// Takes in a sample; what is no number is left out.
    pub fn sample(&mut self, value: f64) {
        if value.is_finite() {
            self.sum += value;
            self.samples = self.samples.saturating_add(1);
        }
    }

    /// Ends a report interval: the values to store, oldest first, the newest being the mean of the
    /// samples since the last report or [`NO_SAMPLE`].
    pub fn report(&mut self) -> Vec<f64> {
        let value = if self.samples == 0 {
            NO_SAMPLE
        } else {
            six_decimals(self.sum / f64::from(self.samples))
        };
        (self.sum, self.samples) = (0.0, 0);
        self.reported.push_back(value);
        while self.reported.len() > self.keep {
            self.reported.pop_front();
        }
        self.reported.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = DEFAULT_REPORT_INTERVAL;

    fn now() -> WallTime {
        WallTime::from_millis(1_000_000_500)
    }

    fn item(stats: &[(&str, &[f64])], ranges: &[(&str, &[i64])]) -> WorkerMetricStats {
        WorkerMetricStats::written_by(
            WorkerId::new("w"),
            now(),
            stats
                .iter()
                .map(|(name, values)| ((*name).to_owned(), values.to_vec()))
                .collect(),
            ranges
                .iter()
                .map(|(name, values)| ((*name).to_owned(), values.to_vec()))
                .collect(),
        )
    }

    #[test]
    fn what_the_leader_can_use() {
        // stats, ranges, valid, failing
        type Case<'a> = (
            &'a [(&'a str, &'a [f64])],
            &'a [(&'a str, &'a [i64])],
            bool,
            bool,
        );
        let cases: &[Case<'_>] = &[
            (&[], &[], true, false),
            (&[("C", &[5.0])], &[("C", &[100])], true, false),
            (&[("C", &[])], &[("C", &[100])], true, false),
            (&[("C", &[5.0, -1.0])], &[("C", &[100])], true, true),
            (&[("C", &[-1.0, 5.0])], &[("C", &[100])], true, false),
            (
                &[("C", &[5.0]), ("M", &[-1.0])],
                &[("C", &[100]), ("M", &[80])],
                true,
                true,
            ),
            (&[("C", &[5.0])], &[], false, false),
            (&[("C", &[5.0])], &[("M", &[100])], false, false),
            (&[("C", &[5.0])], &[("C", &[0])], false, false),
            (&[("C", &[5.0])], &[("C", &[])], false, false),
            (&[], &[("C", &[100])], false, false),
        ];
        for (stats, ranges, valid, failing) in cases {
            let item = item(stats, ranges);
            assert_eq!(item.is_valid(), *valid, "{item:?}");
            assert_eq!(item.is_failing(), *failing, "{item:?}");
            assert_eq!(item.is_active(now(), INTERVAL), *valid && !*failing);
        }
        let timeless = WorkerMetricStats {
            last_update: None,
            ..item(&[], &[])
        };
        assert!(!timeless.is_valid());
        assert!(!timeless.is_fresh(now(), INTERVAL));
        assert!(timeless.is_stale(now(), INTERVAL));
    }

    #[test]
    fn ages_are_counted_from_whole_seconds() {
        let mut item = item(&[], &[]);
        // seconds ago, fresh (60 s), supports (90 s), stale (a day)
        let cases = [
            (-3600, true, 1, false),
            (0, true, 1, false),
            // Half a second is lost by the writer's rounding: 59.5 s and 60.5 s.
            (59, true, 1, false),
            (60, false, 1, false),
            (89, false, 1, false),
            (90, false, 0, false),
            (86_399, false, 0, false),
            (86_400, false, 0, true),
        ];
        for (ago, fresh, support, stale) in cases {
            item.last_update = Some(now().seconds() - ago);
            item.support_updated = item.last_update;
            assert_eq!(item.is_fresh(now(), INTERVAL), fresh, "{ago}");
            assert_eq!(item.support(now(), INTERVAL), support, "{ago}");
            assert_eq!(
                item.is_stale(now(), Duration::from_secs(86_400)),
                stale,
                "{ago}"
            );
        }
        item.support_updated = None;
        assert_eq!(item.support(now(), INTERVAL), 0);
        item.support_updated = Some(now().seconds());
        item.support_code = None;
        assert_eq!(item.support(now(), INTERVAL), 0);
    }

    #[test]
    fn clocks_that_are_off_are_told_before_they_matter() {
        let cases = [
            (0, false),
            (29_000, false),
            (31_000, true),
            (-31_000, true),
            (i64::MIN, true),
        ];
        for (millis, off) in cases {
            assert_eq!(is_notably_off(millis, INTERVAL), off, "{millis}");
        }
    }

    #[test]
    fn the_mark_is_worth_what_was_written_with_it() {
        let mut item = item(&[], &[]);
        assert!(item.is_ours());
        // Java went on under the same worker id.
        item.last_update = Some(now().seconds() + 30);
        assert!(!item.is_ours());
        item.ours_updated = None;
        assert!(!item.is_ours());
        item.last_update = None;
        assert!(!item.is_ours());
    }

    #[test]
    fn values_are_smoothed_without_the_failed_ones() {
        let item = item(
            &[("C", &[8.0, -1.0, 4.0]), ("M", &[]), ("N", &[-1.0])],
            &[("C", &[100]), ("M", &[100]), ("N", &[100])],
        );
        assert_eq!(item.value("C", 0.5), Some(6.0));
        assert_eq!(item.value("M", 0.5), Some(0.0));
        assert_eq!(item.value("N", 0.5), Some(0.0));
        assert_eq!(item.value("T", 0.5), None);
    }

    #[test]
    fn samples_become_reports() {
        let mut history = MetricHistory::new(3);
        assert_eq!(history.report(), [NO_SAMPLE]);
        for sample in [1.0, 2.0, 2.0, f64::NAN] {
            history.sample(sample);
        }
        assert_eq!(history.report(), [NO_SAMPLE, 1.666_667]);
        assert_eq!(history.report(), [NO_SAMPLE, 1.666_667, NO_SAMPLE]);
        history.sample(7.0);
        assert_eq!(history.report(), [1.666_667, NO_SAMPLE, 7.0]);
    }
}

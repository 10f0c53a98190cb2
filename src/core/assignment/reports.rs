//! Who reports, by the clock of whoever looks as well as by the times in the metrics items (`leases.md`
//! I.41).
//!
//! Java compares the time that a worker wrote into its item with the clock of the leader: one of the two
//! clocks being off by two report intervals makes a living worker look dead, and by a little less makes it come
//! and go, with leases moved each time. An item that was seen to change within two report intervals was
//! written by somebody alive, whatever the clocks say.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::ids::WorkerId;
use crate::core::time::{Moment, WallTime};
use crate::core::worker_stats::WorkerMetricStats;

/// What one worker has seen of the others' metrics items.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    seen: HashMap<WorkerId, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    last_update: Option<i64>,
    /// When it was seen to differ from the look before.
    changed: Option<Moment>,
}

impl Reports {
    /// Takes in all items, of both metrics tables while there are two, as read at `at`.
    pub fn record(&mut self, items: &[WorkerMetricStats], at: Moment) {
        let before = std::mem::take(&mut self.seen);
        for item in items {
            let known = before.get(&item.worker);
            let last_update = match self.seen.get(&item.worker) {
                Some(other) => item.last_update.max(other.last_update),
                None => item.last_update,
            };
            let changed = match known {
                // An eventual read may show an older item again.
                Some(known) if last_update > known.last_update => Some(at),
                Some(known) => known.changed,
                None => None,
            };
            let last_update = last_update.max(known.and_then(|known| known.last_update));
            let seen = Seen {
                last_update,
                changed,
            };
            self.seen.insert(item.worker.clone(), seen);
        }
    }

    /// Whether the worker reports: its item is fresh by the time in it, or was seen to change within two
    /// report intervals.
    #[must_use]
    pub fn is_fresh(
        &self,
        item: &WorkerMetricStats,
        now: Moment,
        wall: WallTime,
        interval: Duration,
    ) -> bool {
        let changed = || self.seen.get(&item.worker).and_then(|seen| seen.changed);
        item.is_fresh(wall, interval)
            || changed().is_some_and(|changed| now.since(changed) <= interval.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn item(written: i64) -> WorkerMetricStats {
        let wall = WallTime::from_seconds(written);
        WorkerMetricStats::written_by(WorkerId::new("w"), wall, BTreeMap::new(), BTreeMap::new())
    }

    /// Looks as (second, times in the items); whether the last item is fresh so many seconds later.
    #[test]
    fn a_worker_whose_item_changes_reports_whatever_its_clock_says() {
        let now = 1_000_000;
        let (hour_ago, later) = (now - 3600, now - 3600 + 30);
        type Case<'a> = (&'a [(u64, &'a [i64])], u64, bool);
        let cases: &[Case<'_>] = &[
            (&[(0, &[now])], 0, true),
            // Its clock is slow, or it died an hour ago: the first look cannot tell.
            (&[(0, &[hour_ago])], 0, false),
            (&[(0, &[hour_ago]), (30, &[hour_ago])], 0, false),
            (&[(0, &[hour_ago]), (30, &[later])], 0, true),
            (&[(0, &[hour_ago]), (30, &[later])], 60, true),
            (&[(0, &[hour_ago]), (30, &[later])], 61, false),
            (
                &[(0, &[hour_ago]), (30, &[later]), (60, &[later])],
                40,
                false,
            ),
            // An older item shown again is no sign of life, nor is the newer one after it.
            (
                &[(0, &[later]), (30, &[hour_ago]), (60, &[later])],
                0,
                false,
            ),
            // One item in each table.
            (
                &[(0, &[hour_ago, later]), (30, &[later, hour_ago])],
                0,
                false,
            ),
            (
                &[(0, &[hour_ago, hour_ago]), (30, &[later, hour_ago])],
                0,
                true,
            ),
            // Deleted meanwhile: nothing is known of the new one.
            (&[(0, &[hour_ago]), (30, &[]), (60, &[later])], 0, false),
        ];
        for (looks, after, fresh) in cases {
            let mut reports = Reports::default();
            let mut last = (0, item(0));
            for (second, times) in *looks {
                let items: Vec<_> = times.iter().map(|time| item(*time)).collect();
                let at = Moment::from_origin(Duration::from_secs(*second));
                reports.record(&items, at);
                if let Some(newest) = items.into_iter().max_by_key(|item| item.last_update) {
                    last = (*second, newest);
                }
            }
            let at = Moment::from_origin(Duration::from_secs(last.0 + after));
            let is = reports.is_fresh(&last.1, at, WallTime::from_seconds(now), INTERVAL);
            assert_eq!(is, *fresh, "{looks:?} {after}");
        }
    }
}

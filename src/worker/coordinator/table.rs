//! Looking at the lease table: whole scans, and single leases at the moment they would expire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, warn};

use super::assigned::BEHIND;
use super::{Coordinator, Done};
use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::Lease;
use crate::core::time::Moment;
use crate::os::time::within;
use crate::ports::{StoreError, TableScan};

/// Whether leases came, went, or changed their owner between two scans.
fn has_changed(before: &[Lease], now: &[Lease]) -> bool {
    let owners = |leases: &[Lease]| -> BTreeMap<LeaseKey, Option<WorkerId>> {
        leases
            .iter()
            .map(|lease| (lease.key.clone(), lease.owner.clone()))
            .collect()
    };
    owners(before) != owners(now)
}

impl Coordinator {
    pub(super) fn start_scan(&mut self) {
        self.scanning = true;
        self.scan_wanted = false;
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover.max(Duration::from_secs(2));
        let metrics = self
            .conduct
            .legacy_metrics
            .then(|| Arc::clone(&self.ports.report.store));
        self.beside.spawn(async move {
            let asked = clock.now();
            let scan = match within(&*clock, limit, store.scan()).await {
                Ok(result) => result,
                Err(_elapsed) => Err(StoreError::Unavailable(format!(
                    "the scan of the lease table '{}' did not end within {} s",
                    store.table(),
                    limit.as_secs()
                ))),
            };
            let legacy = match metrics {
                Some(metrics) if scan.is_ok() => {
                    match within(&*clock, limit, metrics.list_legacy()).await {
                        Ok(Ok(legacy)) => legacy,
                        failed => {
                            debug!("the table of metrics cannot be read: {failed:?}");
                            Vec::new()
                        }
                    }
                }
                _ => Vec::new(),
            };
            Done::Scanned {
                scan,
                legacy,
                asked,
                at: clock.now(),
            }
        });
    }

    pub(super) fn on_scanned(
        &mut self,
        scan: Result<TableScan, StoreError>,
        asked: Moment,
        at: Moment,
    ) {
        self.scanning = false;
        let scan = match scan {
            Ok(scan) => scan,
            Err(error) => {
                let cause = format!("cannot read the lease table: {error}");
                if self.reported.insert(cause.clone()) {
                    warn!("{cause}; trying again");
                }
                self.next_scan = at + self.settings.failover / 5;
                self.could_not_lead(at);
                return;
            }
        };
        self.scanned_at = at;
        self.report_unreadable(&scan);
        self.observations.record_scan(&scan.leases, at);
        self.watch
            .record_scan(&scan.leases, at, self.hand_off_limit());
        if has_changed(&self.table, &scan.leases) {
            self.quiet_since = at;
        }
        self.table_bytes = scan.bytes;
        self.take_in_metadata(&scan, asked, at);
        self.watch_purity(&scan, at);
        self.table = scan.leases;
        self.put_own_writes_back(asked);
        self.remember_former();
        let has_peers = self.has_peers(at);
        self.plan_next_look(at, has_peers);
        debug!(
            leases = self.table.len(),
            held = self.held.len(),
            has_peers,
            "looked at the lease table"
        );
        self.check_own_id();
        self.may_steal = true;
        self.decide(at);
        self.resume_at_once = false;
        self.tell_why_idle(at);
        self.check_clock();
        self.start_clean_up();
        self.start_audit(at, has_peers);
        self.delete_stale_metrics(at);
    }

    /// Leases that carried this worker's id when it first looked. One that somebody else had since, and
    /// that comes back, was given to this very process.
    fn remember_former(&mut self) {
        let mine: BTreeSet<LeaseKey> = self
            .table
            .iter()
            .filter(|lease| {
                lease.owner.as_ref() == Some(&self.me)
                    || lease.checkpoint_owner.as_ref() == Some(&self.me)
            })
            .map(|lease| lease.key.clone())
            .collect();
        if self
            .first_look
            .replace(self.first_look.unwrap_or(self.scanned_at))
            .is_some()
        {
            self.former.retain(|key| mine.contains(key));
        } else {
            self.former = mine;
        }
    }

    /// A scan may show rows as they were before this worker's last writes: it was asked for before, or
    /// is a little behind. A leader that believed it would move the same load twice.
    fn put_own_writes_back(&mut self, asked: Moment) {
        self.own_writes
            .retain(|_, (_, written)| asked < *written + BEHIND);
        for lease in &mut self.table {
            if let Some((own, _)) = self.own_writes.get(&lease.key)
                && lease.counter <= own.counter
            {
                *lease = own.clone();
            }
        }
    }

    /// What a leader leaves to an old owner before it moves a lease without its help.
    pub(super) fn hand_off_limit(&self) -> Duration {
        self.settings.hand_off_timeout + self.settings.failover
    }

    /// Each unreadable row is reported once, and again when it reads differently.
    pub(super) fn report_unreadable(&mut self, scan: &TableScan) {
        let now: BTreeSet<String> = scan
            .unreadable
            .iter()
            .map(|row| {
                format!(
                    "row '{}' of the lease table cannot be read and is left alone: {}",
                    row.key, row.reason
                )
            })
            .collect();
        for message in now.difference(&self.reported) {
            error!("{message}");
        }
        self.reported = now;
    }

    pub(super) fn has_peers(&self, now: Moment) -> bool {
        let reporting = self.is_assigned() && self.active_workers().iter().any(|w| *w != self.me);
        reporting
            || self.table.iter().any(|lease| {
                lease.owner.as_ref().is_some_and(|owner| *owner != self.me)
                    && !self
                        .observations
                        .is_expired(lease, now, self.settings.failover)
            })
    }

    /// Foreign leases whose counter stood still long enough to be suspicious are read one by one at
    /// the very moment they would expire, instead of at the next scan (`decisions.md`).
    pub(super) fn start_look(&mut self, now: Moment) {
        self.next_look = None;
        let due: Vec<LeaseKey> = self
            .table
            .iter()
            .filter(|lease| self.is_suspicious(lease, now))
            .map(|lease| lease.key.clone())
            .collect();
        if due.is_empty() {
            self.decide(now);
            return;
        }
        let (store, clock) = (self.store(), Arc::clone(&self.ports.keeper.clock));
        let limit = self.settings.failover / 3;
        self.beside.spawn(async move {
            let mut looked = Vec::with_capacity(due.len());
            for key in due {
                let row = match within(&*clock, limit, store.get(&key)).await {
                    Ok(row) => row,
                    Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
                };
                looked.push((key, row));
            }
            Done::Looked(looked, clock.now())
        });
    }

    pub(super) fn on_looked(
        &mut self,
        looked: Vec<(LeaseKey, Result<Option<Lease>, StoreError>)>,
        at: Moment,
    ) {
        for (key, row) in looked {
            match row {
                Ok(row) => self.learn(&key, row, at),
                Err(error) => debug!(lease = %key, "cannot look at a suspicious lease: {error}"),
            }
        }
        self.decide(at);
    }

    pub(super) fn is_foreign(&self, lease: &Lease) -> bool {
        !self.held.contains_key(&lease.key)
            && lease.owner.as_ref().is_some_and(|owner| *owner != self.me)
    }

    /// Whether the last scan found the lease as it was before. One that had moved is of a worker that
    /// lives: where scans are further apart than the failover time, it would else be read by itself
    /// between any two of them, and so would all others.
    fn stood_still(&self, lease: &Lease) -> bool {
        let seen = self.observations.expires_at(lease, Duration::ZERO);
        seen.is_some_and(|since| since < self.scanned_at)
    }

    /// Whether the lease is read by itself when it would expire. A leader does not wait for its next look
    /// with what it hands off: the old owner may have died just before.
    fn is_worth_a_look(&self, lease: &Lease, now: Moment) -> bool {
        self.stood_still(lease) || lease.in_hand_off() && self.is_assigned() && self.is_leader(now)
    }

    /// Whether the lease's owner would count as dead if its row still says the same.
    fn is_suspicious(&self, lease: &Lease, now: Moment) -> bool {
        if !self.is_worth_a_look(lease, now) {
            return false;
        }
        let failover = self.settings.failover;
        let expiry = if self.is_assigned() {
            let foreign = !self.held.contains_key(&lease.key) && lease.actual_owner().is_some();
            foreign.then(|| self.watch.expires_at(lease, failover))
        } else {
            self.is_foreign(lease)
                .then(|| self.observations.expires_at(lease, failover))
        };
        expiry.flatten().is_some_and(|expiry| now > expiry)
    }

    pub(super) fn schedule_look(&mut self, now: Moment) {
        if self.is_assigned() && !self.watches(now) {
            self.next_look = None;
            return;
        }
        let next = self
            .table
            .iter()
            .filter(|lease| !self.held.contains_key(&lease.key) && lease.owner.is_some())
            .filter(|lease| !self.is_foreign(lease) || self.is_worth_a_look(lease, now))
            .filter_map(|lease| {
                let wait = if self.is_foreign(lease) {
                    self.settings.failover
                } else {
                    self.settings.failover / 2
                };
                self.observations.expires_at(lease, wait)
            })
            .map(|expiry| expiry + Duration::from_millis(1))
            .filter(|expiry| *expiry > now)
            .min();
        self.next_look = next;
    }
}

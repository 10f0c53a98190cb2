//! Which algorithm this worker follows, and changing it while it runs (`leases.md` D.1).

use tracing::info;

use super::{Algorithm, Conduct, Coordinator, Done};
use crate::core::leader_lock::{LeaderLock, LockSettings};
use crate::core::time::Moment;
use crate::ports::{OwnerIndex, Place, TableScan};
use crate::worker::leadership::Leadership;
use crate::worker::reporter::Reporter;
use tokio::sync::watch;

impl Coordinator {
    /// Begins what the conduct asks for, and ends what it does not.
    pub(super) fn take_up_conduct(&mut self) {
        let now = self.now();
        let conduct = self.conduct;
        self.ports.keeper.style.set_reports(conduct.reports);
        if !conduct.reports
            && let Some(reporter) = self.reporter.take()
        {
            self.releasing += 1;
            self.beside.spawn(async move {
                reporter.retire().await;
                Done::Released
            });
        }
        if conduct.reports && self.reporter.is_none() {
            let reporter = Reporter::start(
                self.ports.report.clone(),
                self.settings.report,
                self.me.clone(),
                conduct.metrics_place,
                &self.ports.coordination.spawner,
            );
            let first = reporter.first();
            self.beside.spawn(async move {
                first.await;
                Done::Reported
            });
            self.reporter = Some(reporter);
        }
        let leads = conduct.algorithm == Algorithm::Assigned;
        if !leads && let Some(leadership) = self.leadership.take() {
            self.releasing += 1;
            self.beside.spawn(async move {
                leadership.retire().await;
                Done::Released
            });
        }
        if leads && self.leadership.is_none() {
            self.run_for_leader();
        }
        if conduct.creates_index || leads {
            self.next_index_check.get_or_insert(now);
        } else {
            self.next_index_check = None;
            self.next_query = None;
            self.index = OwnerIndex::Absent;
        }
        self.scan_wanted = true;
    }

    fn run_for_leader(&mut self) {
        // A dead leader's lock is free a little before its leases have expired, so that its successor
        // is at hand when they do (`leases.md` G.5). Java's readers honour the duration in the row.
        let failover = self.settings.failover;
        let settings = LockSettings {
            former_self_is_dead: self.resume_at_once,
            ..LockSettings::quick(failover.mul_f64(0.75))
        };
        let leadership = Leadership::start(
            self.ports.coordination.clone(),
            self.me.clone(),
            self.conduct.lock_place,
            settings,
            failover / 6,
        );
        self.hear_of_leader(leadership.watch());
        self.leadership = Some(leadership);
    }

    fn hear_of_leader(&mut self, mut view: watch::Receiver<LeaderLock>) {
        self.beside.spawn(async move {
            match view.changed().await {
                Ok(()) => Done::LeaderChanged(view),
                Err(_) => Done::Nothing,
            }
        });
    }

    pub(super) fn on_leader_changed(&mut self, view: watch::Receiver<LeaderLock>) {
        if self.leadership.is_none() {
            return;
        }
        self.hear_of_leader(view);
        // A new leader looks before it acts.
        self.scan_wanted = true;
    }

    /// Changes the conduct of a running worker.
    pub(super) fn change_conduct(&mut self, conduct: Conduct) {
        if conduct == self.conduct {
            return;
        }
        if conduct.algorithm != self.conduct.algorithm {
            info!("from now on {}", conduct.algorithm.sentence());
        }
        if conduct.lock_place != self.conduct.lock_place
            && let Some(leadership) = self.leadership.take()
        {
            // The election goes on in the other table.
            self.releasing += 1;
            self.beside.spawn(async move {
                leadership.retire().await;
                Done::Released
            });
        }
        self.conduct = conduct;
        self.take_up_conduct();
    }

    /// Takes in what a scan found beside the leases.
    pub(super) fn take_in_metadata(&mut self, scan: &TableScan, asked: Moment, at: Moment) {
        self.scanned_version(scan);
        self.members = scan.metrics.clone();
        self.members.extend(self.legacy_members.iter().cloned());
        // A scan may be a moment behind, and this worker's first item be missing from it.
        if let Some(own) = self.reporter.as_ref().and_then(Reporter::last) {
            self.members.retain(|stats| stats.worker != own.worker);
            self.members.push(own);
        }
        self.reports.record(&self.members, at);
        if let Some(leadership) = &self.leadership
            && self.conduct.lock_place == Place::LeaseTable
        {
            leadership.saw(scan.leader.clone(), asked, at);
        }
    }
}

//! What people have to know and would not find out: why a worker has no lease, that a clock is wrong, that
//! somebody deleted a row.

use std::time::Duration;

use tracing::{error, info, warn};

use super::Coordinator;
use crate::core::assignment::idle::{Idle, Idler};
use crate::core::ids::LeaseKey;
use crate::core::time::Moment;
use crate::core::worker_stats::is_notably_off;

impl Coordinator {
    /// Says once why this worker has no lease, and again when the reason is another (#173, #1243).
    pub(super) fn tell_why_idle(&mut self, now: Moment) {
        let busy = !self.held.is_empty() || !self.taking.is_empty();
        let leader = self
            .leadership
            .as_ref()
            .and_then(|leadership| leadership.known_leader());
        let why = (!busy)
            .then(|| {
                Idler {
                    leases: &self.table,
                    seen: &self.observations,
                    now,
                    since: self.first_look.unwrap_or(now),
                    failover: self.settings.failover,
                    max_leases: self.settings.limits.max_leases,
                    leader: self.is_assigned().then_some(leader.as_ref()),
                }
                .why()
            })
            .flatten();
        let kind = |why: &Option<Idle>| why.as_ref().map(Idle::kind);
        if let Some(reason) = &why
            && kind(&why) != kind(&self.idle_reason)
        {
            info!("{reason}");
        }
        // What comes and goes between two looks is no other reason.
        if why.is_some() || busy {
            self.idle_reason = why;
        }
    }

    /// A leader of KCL for Java takes workers whose clocks are off for dead (I.41).
    pub(super) fn check_clock(&mut self) {
        if !self.conduct.reports {
            return;
        }
        let stream = &self.ports.consumer.fetcher.stream;
        let ahead = stream.service_clock_ahead();
        let off = is_notably_off(ahead, self.settings.report.report_every);
        if off != self.clock_is_off {
            self.clock_is_off = off;
            if off {
                let side = if ahead > 0 { "behind" } else { "ahead of" };
                warn!(
                    "the clock of this host is {} s {side} that of AWS: a worker whose clock is more than {} s behind \
                     and one that is ahead seems alive for as long after its end; set the clock (NTP)",
                    Duration::from_millis(ahead.unsigned_abs()).as_secs(),
                    (self.settings.report.report_every * 2).as_secs()
                );
            } else {
                info!("the clock of this host is right again");
            }
        }
    }

    /// Somebody deleted the row of a lease that this worker holds, and with it the checkpoint (#461).
    pub(super) fn tell_row_is_gone(&self, key: &LeaseKey) {
        let Some(held) = self.held.get(key) else {
            return;
        };
        let Some(consumer) = &held.consumer else {
            // Finished; whoever clears up did not know that it is held.
            return;
        };
        let checkpoint = consumer.watch_status().borrow().checkpoint.clone();
        error!(
            shard = %key.shard_id(),
            "somebody deleted the lease from the table '{}': the shard is not read until the auditor has created it \
             anew at {}, which takes some minutes; to go on where it was, put it back with the checkpoint {checkpoint}",
            self.ports.consumer.store.table(),
            self.settings.initial_position.sentinel()
        );
    }
}

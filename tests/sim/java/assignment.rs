//! KCL 3.x: what the leader does at each interval (C.4): `LeaseAssignmentManager`.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_daemon::core::ids::WorkerId;
use kcl_daemon::core::lease::Lease;

use super::taker::Sightings;
use super::{Bug, JavaWorker};
use crate::trace::{Answer, Op};
use crate::world::Time;

impl JavaWorker {
    /// One run: by count, which is what an idle fleet comes to (C.6).
    ///
    /// `None` if the table could not be read.
    pub(super) async fn assign(&self) -> Option<()> {
        let Answer::Rows(mut rows) = self.store.request(Op::Scan).await else {
            return None;
        };
        let foreign = rows.iter().any(|row| row.as_lease().is_none());
        if foreign && self.settings.version.stumbles() {
            return None;
        }
        rows.extend(self.legacy_metrics().await);
        let leases: Vec<Lease> = rows
            .iter()
            .filter_map(|row| row.as_lease().cloned())
            .collect();
        let wall = self.wall();
        let every = Duration::from_micros(self.settings.report_every);
        let mut counts: BTreeMap<WorkerId, usize> = rows
            .iter()
            .filter_map(|row| row.as_metrics())
            .filter(|stats| stats.is_active(wall, every))
            .map(|stats| (stats.worker.clone(), 0))
            .collect();
        let now = self.now();
        let available = self.expired_or_unowned(&leases, now);
        self.note_hand_offs(&leases, now);
        if !self.has(Bug::DeadWorkerAssigned) {
            // A worker all of whose leases are expired is dead. Java goes by the metrics alone.
            let lives = |worker: &WorkerId| {
                let mut owned = leases
                    .iter()
                    .filter(|l| l.actual_owner() == Some(worker))
                    .peekable();
                owned.peek().is_none()
                    || owned.any(|lease| available.iter().all(|free| free.key != lease.key))
            };
            counts.retain(|worker, _| *worker == self.me || lives(worker));
        }
        if counts.is_empty() {
            return Some(());
        }
        for lease in &leases {
            let free = available.iter().any(|free| free.key == lease.key);
            if let Some(count) = lease.actual_owner().and_then(|owner| counts.get_mut(owner))
                && !free
            {
                *count += 1;
            }
        }
        self.state().runs += 1;
        let runs = self.state().runs;
        for lease in &available {
            if lease.in_hand_off() && self.has(Bug::ExpiredHandOffIgnored) {
                continue;
            }
            let best = least(&counts)?;
            let stays = lease.actual_owner() == Some(&best);
            let pending = lease.in_hand_off() && !self.has(Bug::PendingHandOffAfterRestart);
            if let Some(count) = counts.get_mut(&best) {
                *count += 1;
            }
            if stays && !pending {
                continue;
            }
            self.store
                .request(Op::Update(lease.assigned_to(&best)))
                .await;
        }
        if runs % 3 == 1 || self.has(Bug::NanBalance) {
            self.balance(&leases, &available, &mut counts, now).await;
        }
        self.end_overdue_hand_offs(&leases, now).await;
        Some(())
    }

    /// What has no owner, or one that was not seen to write for the failover time. Counters only count when
    /// they grow (`LeaseAssignmentManager.updateLeasesLastCounterIncrementNanosAndLeaseShutdownTimeout`).
    fn expired_or_unowned(&self, leases: &[Lease], now: Time) -> Vec<Lease> {
        let mut state = self.state();
        let mut next = Sightings::new();
        let mut available: Vec<(Option<Time>, Lease)> = Vec::new();
        for lease in leases {
            let owner = lease.actual_owner();
            let since = match state.seen_leading.get(&lease.key) {
                None => owner.map(|_| now),
                Some((counter, _)) if lease.counter > *counter => Some(now),
                Some((_, since)) => *since,
            };
            next.insert(lease.key.clone(), (lease.counter, since));
            let expired = since.is_none_or(|since| now > since + self.settings.failover);
            if owner.is_none() || expired {
                available.push((since, lease.clone()));
            }
        }
        state.seen_leading = next;
        // The oldest first.
        available.sort_by_key(|(since, _)| *since);
        available.into_iter().map(|(_, lease)| lease).collect()
    }

    /// When each hand-off that is under way was seen first.
    fn note_hand_offs(&self, leases: &[Lease], now: Time) {
        let mut state = self.state();
        let mut next = BTreeMap::new();
        for lease in leases.iter().filter(|lease| lease.in_hand_off()) {
            let known = state.hand_offs.get(&lease.key);
            let since = match known {
                Some((owner, since)) if *owner == lease.owner => *since,
                _ => now,
            };
            next.insert(lease.key.clone(), (lease.owner.clone(), since));
        }
        state.hand_offs = next;
    }

    /// Whether a hand-off is under way and has time (`Lease.blockedOnPendingCheckpoint`).
    fn is_blocked(&self, lease: &Lease, now: Time) -> bool {
        let limit = self.settings.hand_off_timeout + self.settings.failover;
        let state = self.state();
        let since = state.hand_offs.get(&lease.key).map(|(_, since)| *since);
        lease.in_hand_off()
            && !lease.is_finished()
            && since.is_some_and(|since| now < since + limit)
    }

    /// Hand-offs that the old owner does not end. Java leaves them alone, too.
    async fn end_overdue_hand_offs(&self, leases: &[Lease], now: Time) {
        let ignored = [
            Bug::ExpiredHandOffIgnored,
            Bug::HeartbeatAfterHandOff,
            Bug::PendingHandOffAfterRestart,
            Bug::OverdueHandOffLeft,
        ];
        if ignored.iter().any(|bug| self.has(*bug)) {
            return;
        }
        for lease in leases.iter().filter(|lease| lease.in_hand_off()) {
            if let Some(next) = lease
                .owner
                .as_ref()
                .filter(|_| !self.is_blocked(lease, now))
            {
                self.store
                    .request(Op::Update(lease.assigned_to(next)))
                    .await;
            }
        }
    }

    async fn balance(
        &self,
        leases: &[Lease],
        available: &[Lease],
        counts: &mut BTreeMap<WorkerId, usize>,
        now: Time,
    ) {
        for lease in leases {
            let free = available.iter().any(|free| free.key == lease.key);
            // Finished ones in hand-off are as movable as those whose time is over.
            let leaves = self.has(Bug::OverdueHandOffLeft);
            if free || self.is_blocked(lease, now) || (lease.in_hand_off() && !leaves) {
                continue;
            }
            let (Some(owner), Some(best)) = (lease.actual_owner(), least(counts)) else {
                continue;
            };
            let (has, least) = (counts.get(owner).copied().unwrap_or(0), counts[&best]);
            // NaN is less than nothing and more than nothing: whoever comes first is the best.
            let unequal = has > least + 1 || (self.has(Bug::NanBalance) && *owner != best);
            if unequal && *owner != best {
                let gracefully = self.settings.graceful_hand_off && !lease.is_finished();
                let update = match lease.handed_off_to(&best).filter(|_| gracefully) {
                    Some(update) => update,
                    None => lease.assigned_to(&best),
                };
                self.store.request(Op::Update(update)).await;
                counts.entry(owner.clone()).and_modify(|count| *count -= 1);
                counts.entry(best).and_modify(|count| *count += 1);
            }
        }
    }
}

fn least(counts: &BTreeMap<WorkerId, usize>) -> Option<WorkerId> {
    let least = counts
        .iter()
        .min_by_key(|(worker, count)| (**count, (*worker).clone()));
    least.map(|(worker, _)| worker.clone())
}

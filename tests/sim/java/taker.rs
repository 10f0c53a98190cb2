//! KCL 2.x: everybody takes for itself (B.5), as `DynamoDBLeaseTaker` does. 3.5 does so too until its fleet
//! has a leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use kcl_daemon::core::assignment::taker::{Availability, Candidate, Limits, plan};
use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::{Condition, Counter, Lease};

use super::{Bug, JavaWorker};
use crate::trace::{Answer, Op};
use crate::world::{MS, Time};

/// How often a throttled take is tried (`DynamoDBLeaseTaker.TAKE_RETRIES`).
const TAKES: usize = 3;

/// What an observer of counters knows of each lease: its counter, and when that was seen to change. `None`
/// for a lease that had no owner when it was seen first: it counts as never renewed, the oldest of all.
pub type Sightings = BTreeMap<LeaseKey, (Counter, Option<Time>)>;

/// Notes what a scan says of all counters (`DynamoDBLeaseTaker.updateAllLeases`); forgets what is gone.
fn note(seen: &mut Sightings, leases: &[Lease], now: Time) {
    let mut next = Sightings::new();
    for lease in leases {
        let first = lease.owner.is_some().then_some(now);
        let since = match seen.get(&lease.key) {
            None => first,
            Some((counter, since)) if *counter == lease.counter => *since,
            Some(_) => Some(now),
        };
        next.insert(lease.key.clone(), (lease.counter, since));
    }
    *seen = next;
}

impl JavaWorker {
    /// All leases; `None` if the table cannot be read, or a row makes the whole scan fail.
    pub async fn scan(&self) -> Option<Vec<Lease>> {
        match self.store.request(Op::Scan).await {
            Answer::Rows(rows) => rows
                .iter()
                .filter(|row| self.settings.version.stumbles() || row.as_lease().is_some())
                .map(|row| row.as_lease().cloned())
                .collect(),
            _ => None,
        }
    }

    pub(super) async fn taker(self: Arc<Self>) {
        loop {
            if self.takes() {
                let begun = self.now();
                if let Some(leases) = self.scan().await {
                    let took = self.now() - begun;
                    self.take_what_is_due(&leases, took).await;
                }
            }
            self.sleep((self.settings.failover + 25 * MS) * 2).await;
        }
    }

    /// It goes by the table alone and knows nothing of the held map: what it holds itself is as free as
    /// any other lease when its owner was removed by hand or its renewals do not get through, and as old
    /// (`DynamoDBLeaseTaker.computeLeasesToTake`, which never asks `DynamoDBLeaseRenewer`).
    async fn take_what_is_due(&self, leases: &[Lease], scan_took: Time) {
        let now = self.now();
        let failover = self.settings.failover;
        let candidates: Vec<Candidate> = {
            let mut state = self.state();
            note(&mut state.seen, leases, now);
            let older_than = |lease: &Lease, age: Time| {
                let seen = state.seen.get(&lease.key);
                seen.is_some_and(|(_, since)| since.is_none_or(|since| now > since + age))
            };
            let availability = |lease: &Lease| match (
                lease.owner.is_none() || older_than(lease, failover),
                older_than(lease, failover * 3),
            ) {
                (_, true) => Availability::VeryOld,
                (true, false) => Availability::Free,
                (false, false) => Availability::Owned,
            };
            let candidate = |lease: &Lease| Candidate {
                lease: lease.clone(),
                availability: availability(lease),
            };
            leases.iter().map(candidate).collect()
        };
        let limits = Limits {
            max_leases: usize::MAX,
            max_steals: self.settings.max_steals,
            very_old_first: true,
            count_finished: true,
        };
        let due = {
            let mut rng = self.world.rng();
            let mut pick = |n: usize| usize::try_from(rng.below(n as u64)).unwrap_or(0);
            plan(&candidates, &self.me, limits, &mut pick)
        };
        let steal = self.freshened(due.steal, scan_took).await;
        let most = match self.has(Bug::OneLeasePerCycle) {
            true => 1,
            false => usize::MAX,
        };
        // What was taken is held, and renewed, when all of it is taken; if one write fails otherwise than
        // by its condition, nothing of it is, and the rows bear this worker's name until they expire
        // (`DynamoDBLeaseTaker.takeLeases`, `DynamoDBLeaseCoordinator.runLeaseTaker`).
        let mut taken = Vec::new();
        for lease in due.take.into_iter().chain(steal).take(most) {
            match self.take(&lease).await {
                Answer::Applied(row) => taken.extend(row.as_lease().cloned()),
                Answer::Lost(_) | Answer::Throttled => {}
                _ => return,
            }
        }
        if !self.state().stopping {
            taken.into_iter().for_each(|lease| self.hold(lease));
        }
    }

    /// Leases to be stolen, read again if the scan was slow, whoever owns them by then
    /// (`DynamoDBLeaseTaker.updateStaleLeasesWithLatestState`).
    async fn freshened(&self, steal: Vec<Lease>, scan_took: Time) -> Vec<Lease> {
        if scan_took <= (self.settings.failover / 3).saturating_sub(25 * MS) / 2 {
            return steal;
        }
        let mut fresh = Vec::new();
        for lease in steal {
            fresh.push(match self.get(&lease.key).await {
                Ok(row) => row.unwrap_or(lease),
                Err(()) => lease,
            });
        }
        fresh
    }

    /// 2.x does not know of hand-offs. (That it leaves their attribute behind is not modelled: nobody
    /// hands off in a table of 2.x.)
    async fn take(&self, lease: &Lease) -> Answer {
        let mut update = lease.taken_by(&self.me);
        update.condition = Condition::Counter(lease.counter);
        for _ in 1..TAKES {
            match self.store.request(Op::Update(update.clone())).await {
                Answer::Throttled => {}
                answer => return answer,
            }
        }
        self.store.request(Op::Update(update)).await
    }
}

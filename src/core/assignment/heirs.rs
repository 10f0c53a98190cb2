//! Who gets the leases of a worker that stops, in the 3.x mode (`leases.md` G.6).
//!
//! Left without owner, a lease waits for the leader's next run. A worker that stops in order therefore
//! passes its leases on by itself, to workers that are there to notice.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::Lease;

/// Shares `leaving` out among `peers`, each to the one that has the fewest unfinished leases by then,
/// at most `max_leases` each. Leases for which there is no place are left out: they become free.
#[must_use]
pub fn heirs(
    leaving: &BTreeSet<LeaseKey>,
    table: &[Lease],
    peers: &BTreeSet<WorkerId>,
    max_leases: usize,
) -> BTreeMap<LeaseKey, WorkerId> {
    let mut loads: BTreeMap<&WorkerId, usize> = peers.iter().map(|peer| (peer, 0)).collect();
    for lease in table {
        if let Some(owner) = &lease.owner
            && !leaving.contains(&lease.key)
            && !lease.is_finished()
            && let Some(load) = loads.get_mut(owner)
        {
            *load += 1;
        }
    }
    let mut heirs = BTreeMap::new();
    for key in leaving {
        let least = loads
            .iter_mut()
            .filter(|(_, load)| **load < max_leases)
            .min_by_key(|(_, load)| **load);
        if let Some((peer, load)) = least {
            *load += 1;
            heirs.insert(key.clone(), (*peer).clone());
        }
    }
    heirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};

    fn lease(key: &str, owner: &str) -> Lease {
        let mut lease = Lease::new(
            LeaseKey::new(key),
            ExtendedSequenceNumber::sentinel(Position::Latest),
            vec![],
            None,
        );
        lease.owner = Some(WorkerId::new(owner));
        lease
    }

    fn share(leaving: &[&str], peers: &[&str], max_leases: usize) -> Vec<(String, String)> {
        let table = [
            lease("1", "me"),
            lease("2", "me"),
            lease("3", "me"),
            lease("4", "a"),
            lease("5", "a"),
            lease("6", "dead"),
        ];
        heirs(
            &leaving.iter().map(LeaseKey::new).collect(),
            &table,
            &peers.iter().map(WorkerId::new).collect(),
            max_leases,
        )
        .into_iter()
        .map(|(key, heir)| (key.to_string(), heir.to_string()))
        .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, heir)| ((*key).to_owned(), (*heir).to_owned()))
            .collect()
    }

    #[test]
    fn the_least_loaded_get_most() {
        let all = ["1", "2", "3"];
        assert_eq!(share(&all, &[], usize::MAX), []);
        assert_eq!(
            share(&all, &["a", "b"], usize::MAX),
            pairs(&[("1", "b"), ("2", "b"), ("3", "a")])
        );
        assert_eq!(
            share(&all, &["a", "b"], 2),
            pairs(&[("1", "b"), ("2", "b")])
        );
        assert_eq!(share(&["2"], &["a"], usize::MAX), pairs(&[("2", "a")]));
    }
}

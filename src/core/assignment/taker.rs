//! The 2.x algorithm: every worker takes for itself (`leases.md` B.5).
//!
//! All workers that share a table compute the same target from the same rows, so a fleet of Java and
//! our workers converges; the numbers here are therefore Java's, to the letter, but for these:
//!
//! * leases at SHARD_END, which make no work, do not count against `maxLeasesForWorker`, which is this
//!   worker's own affair; Java counts them, and leaves the shards that they became to nobody (#202);
//! * where all workers are ours such leases weigh nothing at all (#1247), as all of them see that;
//! * what everybody else has left alone for thirty failover times is taken although
//!   `enablePriorityLeaseAssignment` is off: whose share it is cannot take it, as Java's workers cannot
//!   while a row of the table is not readable to them (A.7).

use std::collections::BTreeMap;

use crate::core::ids::{LeaseKey, WorkerId};
use crate::core::lease::Lease;

/// Limits from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `maxLeasesForWorker`.
    pub max_leases: usize,
    /// `maxLeasesToStealAtOneTime`.
    pub max_steals: usize,
    /// `enablePriorityLeaseAssignment`: take very old leases before anything else, whatever the target.
    /// Without it only abandoned ones.
    pub very_old_first: bool,
    /// Whether leases at SHARD_END count as load, as they do for Java.
    pub count_finished: bool,
}

/// How free a lease is, in the eyes of this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Availability {
    /// Its owner shows life.
    Owned,
    /// Nobody owns it, or its owner is silent for longer than the failover time.
    Free,
    /// As free, for longer than three failover times (or never owned by anybody).
    VeryOld,
    /// As free, for longer than thirty failover times.
    Abandoned,
}

/// A lease as the taker sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The row.
    pub lease: Lease,
    /// Whether it is free.
    pub availability: Availability,
}

impl Candidate {
    /// Whether it is free and makes work, so that nobody steals while it is there.
    fn is_free_work(&self) -> bool {
        self.availability > Availability::Owned && !self.lease.is_finished()
    }
}

/// Leases to take now, and why.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Leases that are free.
    pub take: Vec<Lease>,
    /// Leases of the most loaded worker.
    pub steal: Vec<Lease>,
    /// How many leases this worker should hold.
    pub target: usize,
}

/// Draws `count` elements in random order; `pick(n)` is a random number below `n`.
fn draw<T>(mut from: Vec<T>, count: usize, pick: &mut dyn FnMut(usize) -> usize) -> Vec<T> {
    let mut drawn = Vec::with_capacity(count.min(from.len()));
    while drawn.len() < count && !from.is_empty() {
        let index = pick(from.len()).min(from.len() - 1);
        drawn.push(from.swap_remove(index));
    }
    drawn
}

/// Decides which leases `me` takes in this round. `pick(n)` gives a random number below `n`.
///
/// A lease of mine that is in `candidates` as owned counts for me, as does everybody's.
#[must_use]
pub fn plan(
    candidates: &[Candidate],
    me: &WorkerId,
    limits: Limits,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Plan {
    if candidates.is_empty() {
        return Plan::default();
    }
    let weight = |lease: &Lease| usize::from(limits.count_finished || !lease.is_finished());
    let mut counts: BTreeMap<&WorkerId, usize> = BTreeMap::new();
    counts.insert(me, 0);
    let mut unfinished = 0;
    for candidate in candidates {
        if candidate.availability == Availability::Owned
            && let Some(owner) = &candidate.lease.owner
        {
            *counts.entry(owner).or_default() += weight(&candidate.lease);
            unfinished += usize::from(owner == me && !candidate.lease.is_finished());
        }
    }
    let mine = counts.get(me).copied().unwrap_or_default();
    let all: usize = candidates.iter().map(|one| weight(&one.lease)).sum();
    let fair = if counts.len() >= all {
        1
    } else {
        all.div_ceil(counts.len())
    };
    let target = fair.min(limits.max_leases);
    let room = limits.max_leases.saturating_sub(unfinished);
    let of = |at_least: Availability| -> Vec<Lease> {
        candidates
            .iter()
            .filter(|candidate| candidate.availability >= at_least)
            .map(|candidate| candidate.lease.clone())
            .collect()
    };
    let urgent = of(if limits.very_old_first {
        Availability::VeryOld
    } else {
        Availability::Abandoned
    });
    if !urgent.is_empty() {
        return Plan {
            take: draw_within(urgent, usize::MAX, room, &weight, pick),
            steal: Vec::new(),
            target,
        };
    }
    let need = fair.saturating_sub(mine);
    let free = of(Availability::Free);
    let takes = draw_within(free, need, room, &weight, pick);
    let need = need.min(room);
    if need == 0 || !takes.is_empty() || candidates.iter().any(Candidate::is_free_work) {
        return Plan {
            take: takes,
            steal: Vec::new(),
            target,
        };
    }
    let victims: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| weight(&candidate.lease) > 0)
        .collect();
    Plan {
        take: Vec::new(),
        steal: steal(&victims, me, &counts, target, need, limits, pick),
        target,
    }
}

/// Draws leases as far as they weigh no more than `need` together, at most `room` unfinished ones. Those
/// that weigh nothing come beside: they need an owner only to be cleaned up.
fn draw_within(
    from: Vec<Lease>,
    need: usize,
    room: usize,
    weight: &dyn Fn(&Lease) -> usize,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Vec<Lease> {
    let (mut weight_left, mut room_left) = (need, room);
    let count = from.len();
    let mut drawn = draw(from, count, pick);
    drawn.retain(|lease| {
        let (weighs, works) = (weight(lease), usize::from(!lease.is_finished()));
        let fits = weighs <= weight_left && works <= room_left;
        if fits {
            weight_left -= weighs;
            room_left -= works;
        }
        fits
    });
    drawn
}

fn steal(
    candidates: &[&Candidate],
    me: &WorkerId,
    counts: &BTreeMap<&WorkerId, usize>,
    target: usize,
    need: usize,
    limits: Limits,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Vec<Lease> {
    let most_loaded = counts
        .iter()
        .filter(|(worker, _)| **worker != me)
        .max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
    let Some((victim, load)) = most_loaded.map(|(worker, load)| (*worker, *load)) else {
        return Vec::new();
    };
    if load < target {
        return Vec::new();
    }
    let mut count = need.min(load - target);
    if count == 0 && need > 1 {
        count = 1;
    }
    let of_victim: Vec<Lease> = candidates
        .iter()
        .filter(|candidate| {
            candidate.availability == Availability::Owned
                && candidate.lease.owner.as_ref() == Some(victim)
        })
        .map(|candidate| candidate.lease.clone())
        .collect();
    draw(of_victim, count.min(limits.max_steals), pick)
}

/// The keys a plan is about, for logs and tests.
#[must_use]
pub fn keys(leases: &[Lease]) -> Vec<&LeaseKey> {
    leases.iter().map(|lease| &lease.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const LIMITS: Limits = Limits {
        max_leases: usize::MAX,
        max_steals: 1,
        very_old_first: true,
        count_finished: true,
    };

    fn candidate(index: usize, owner: &str, availability: Availability) -> Candidate {
        let mut lease = Lease::new(
            LeaseKey::new(format!("shardId-{index:012}")),
            ExtendedSequenceNumber::sentinel(Position::TrimHorizon),
            vec![],
            None,
        );
        lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
        Candidate {
            lease,
            availability,
        }
    }

    /// `"a a b -"`: owners of leases; `-` is unowned, a trailing `!` expired, `!!` very old, `!!!`
    /// abandoned, `#` finished.
    fn table(text: &str) -> Vec<Candidate> {
        text.split_whitespace()
            .enumerate()
            .map(|(index, word)| match word {
                word if word.ends_with('#') => {
                    let mut finished = table(word.trim_end_matches('#')).remove(0);
                    finished.lease.key = LeaseKey::new(format!("shardId-{index:012}"));
                    finished.lease.checkpoint = ExtendedSequenceNumber::SHARD_END;
                    finished
                }
                "-" => candidate(index, "", Availability::Free),
                "-!!" => candidate(index, "", Availability::VeryOld),
                "-!!!" => candidate(index, "", Availability::Abandoned),
                word => match (word.strip_suffix("!!"), word.strip_suffix('!')) {
                    (Some(owner), _) => candidate(index, owner, Availability::VeryOld),
                    (None, Some(owner)) => candidate(index, owner, Availability::Free),
                    (None, None) => candidate(index, word, Availability::Owned),
                },
            })
            .collect()
    }

    #[test]
    fn the_2x_rules() {
        // leases, limits, taken, stolen, target
        let max = |max_leases| Limits {
            max_leases,
            ..LIMITS
        };
        let no_old = Limits {
            very_old_first: false,
            ..LIMITS
        };
        let cases: &[(&str, Limits, usize, usize, usize)] = &[
            ("", LIMITS, 0, 0, 0),
            ("- - - -", LIMITS, 4, 0, 4),
            ("- - - -", max(3), 3, 0, 3),
            // Another worker holds two: half each.
            ("b b - -", LIMITS, 2, 0, 2),
            ("b b b! b!", LIMITS, 2, 0, 2),
            // Very old ones are taken whatever the target, and nothing else.
            ("b b b -!! -!!", LIMITS, 2, 0, 3),
            ("me me me me b b -!! -!! -!!", LIMITS, 3, 0, 5),
            ("me me me me b b -!! -!! -!!", max(5), 1, 0, 5),
            ("b b b -!! -!!", no_old, 2, 0, 3),
            ("me me me b b -!!", no_old, 0, 0, 3),
            ("me me me b b -!!! -!!", no_old, 1, 0, 4),
            ("me me me b b -!!! -!!", LIMITS, 2, 0, 4),
            // Nothing free: steal one from the most loaded.
            ("b b b b", LIMITS, 0, 1, 2),
            (
                "b b b b b b",
                Limits {
                    max_steals: 2,
                    ..LIMITS
                },
                0,
                2,
                3,
            ),
            // Balanced within one: nothing.
            ("me b b", LIMITS, 0, 0, 2),
            ("me me b b b", LIMITS, 0, 0, 3),
            ("me me b b", LIMITS, 0, 0, 2),
            // More workers than leases: each one.
            ("b c d", LIMITS, 0, 0, 1),
            ("b b c", LIMITS, 0, 1, 1),
            // I need more than one, nobody is above the target: one all the same.
            ("b b b c c c d d d", LIMITS, 0, 1, 3),
            // At my limit.
            ("me me b b b b b b", max(2), 0, 0, 2),
        ];
        for (text, limits, take, steal, target) in cases {
            let plan = plan(&table(text), &WorkerId::new("me"), *limits, &mut |_| 0);
            assert_eq!(
                (plan.take.len(), plan.steal.len(), plan.target),
                (*take, *steal, *target),
                "{text}: {plan:?}"
            );
        }
    }

    #[test]
    fn finished_leases() {
        let ours = Limits {
            count_finished: false,
            ..LIMITS
        };
        let max = |max_leases, limits| Limits {
            max_leases,
            ..limits
        };
        // leases, limits, taken, stolen, target
        let cases: &[(&str, Limits, usize, usize, usize)] = &[
            // They weigh like others for Java, and nothing where all are ours.
            ("b b# b# b#", LIMITS, 0, 1, 2),
            ("b b# b# b#", ours, 0, 0, 1),
            ("b b b b b# b# b# b#", ours, 0, 1, 2),
            ("b b me# me# me#", LIMITS, 0, 0, 3),
            ("b b me# me# me#", ours, 0, 1, 1),
            // Somebody has to clean them up.
            ("me b -#", LIMITS, 1, 0, 2),
            ("me b -# -!!#", ours, 1, 0, 1),
            ("-# -# -#", ours, 3, 0, 1),
            ("me b b -#", ours, 1, 0, 2),
            ("b b b -#", ours, 1, 0, 2),
            // They leave room for what makes work (#202).
            ("me# me# - -", max(2, LIMITS), 2, 0, 2),
            ("me# me# me - -", max(2, LIMITS), 1, 0, 2),
            ("me# me# me me - -#", max(2, ours), 1, 0, 2),
            ("me# me# -!! -!!", max(1, LIMITS), 1, 0, 1),
            ("me# b b b b b", max(1, LIMITS), 0, 1, 1),
            ("me b b b b b", max(1, LIMITS), 0, 0, 1),
        ];
        for (text, limits, take, steal, target) in cases {
            let plan = plan(&table(text), &WorkerId::new("me"), *limits, &mut |_| 0);
            assert_eq!(
                (plan.take.len(), plan.steal.len(), plan.target),
                (*take, *steal, *target),
                "{text}: {plan:?}"
            );
            assert!(
                plan.steal
                    .iter()
                    .all(|lease| limits.count_finished || !lease.is_finished())
            );
        }
    }

    #[test]
    fn it_steals_from_the_most_loaded_only() {
        let plan = plan(
            &table("b c c c c b c"),
            &WorkerId::new("me"),
            LIMITS,
            &mut |n| n - 1,
        );
        assert_eq!(plan.steal.len(), 1);
        assert_eq!(plan.steal[0].owner, Some(WorkerId::new("c")));
    }

    proptest! {
        /// I.32: a fleet in which all follow the rules stops stealing, balanced within one lease.
        #[test]
        fn a_fleet_converges_and_then_rests(leases in 1usize..40, workers in 1usize..9, seed: u64) {
            let names: Vec<String> = (0..workers).map(|i| format!("w{i}")).collect();
            let mut owners: Vec<usize> = (0..leases).map(|i| (seed as usize).wrapping_add(i * 7) % (1 + (seed as usize % workers))).collect();
            let mut random = seed;
            let mut rounds_without_steal = 0;
            for _round in 0..400 {
                let mut stolen = false;
                for (index, name) in names.iter().enumerate() {
                    let rows: Vec<Candidate> = owners.iter().enumerate().map(|(l, o)| candidate(l, &names[*o], Availability::Owned)).collect();
                    let mut pick = |n: usize| { random = random.wrapping_mul(6364136223846793005).wrapping_add(1); (random >> 33) as usize % n };
                    let plan = plan(&rows, &WorkerId::new(name), LIMITS, &mut pick);
                    for lease in &plan.steal {
                        stolen = true;
                        let position: usize = lease.key.as_str()[8..].parse().unwrap();
                        owners[position] = index;
                    }
                }
                rounds_without_steal = if stolen { 0 } else { rounds_without_steal + 1 };
                if rounds_without_steal > 1 { break; }
            }
            prop_assert!(rounds_without_steal > 1, "still stealing: {owners:?}");
            let mut counts: HashMap<usize, usize> = (0..workers).map(|w| (w, 0)).collect();
            for owner in &owners { *counts.get_mut(owner).unwrap() += 1; }
            let (min, max) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            prop_assert!(max - min <= 1, "{counts:?}");
        }

        /// Nothing is taken twice, nothing beyond the limits, nothing that is mine.
        #[test]
        fn a_plan_keeps_the_limits(rows in prop::collection::vec((0usize..4, 0usize..3, prop::bool::weighted(0.2)), 0..30), max_leases in 0usize..10, max_steals in 1usize..4, count_finished: bool, seed: u64) {
            let rows: Vec<Candidate> = rows.iter().enumerate().map(|(i, (owner, kind, finished))| {
                let owner = ["", "me", "b", "c"][*owner];
                let availability = if owner.is_empty() { [Availability::Free, Availability::VeryOld][*kind % 2] } else { [Availability::Owned, Availability::Free, Availability::VeryOld][*kind] };
                let mut row = candidate(i, owner, availability);
                if *finished { row.lease.checkpoint = ExtendedSequenceNumber::SHARD_END; }
                row
            }).collect();
            let mut random = seed;
            let mut pick = |n: usize| { random = random.wrapping_mul(6364136223846793005).wrapping_add(1); (random >> 33) as usize % n };
            let limits = Limits { max_leases, max_steals, very_old_first: seed % 2 == 0, count_finished };
            let plan = plan(&rows, &WorkerId::new("me"), limits, &mut pick);
            let mine = rows.iter().filter(|r| r.availability == Availability::Owned && r.lease.owner == Some(WorkerId::new("me")) && !r.lease.is_finished()).count();
            let work = plan.take.iter().chain(&plan.steal).filter(|lease| !lease.is_finished()).count();
            let mut keys: Vec<_> = plan.take.iter().chain(&plan.steal).map(|l| l.key.clone()).collect();
            let total = keys.len();
            keys.sort(); keys.dedup();
            prop_assert_eq!(keys.len(), total);
            prop_assert!(plan.steal.len() <= max_steals);
            prop_assert!(work == 0 || mine + work <= max_leases);
            prop_assert!(plan.take.is_empty() || plan.steal.is_empty());
        }
    }
}

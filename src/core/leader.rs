//! Who does the duties that one worker does for all.
//!
//! With the 2.x algorithm that is a shuffle every worker computes alike (`leases.md` C.2). Java draws
//! it with `java.util.Random(1947)`, so to agree with Java we compute the same generator.

use std::collections::BTreeSet;

use crate::core::ids::WorkerId;
use crate::core::lease::Lease;

/// The linear congruential generator that Java's library documents for `java.util.Random`.
struct JavaRandom {
    state: u64,
}

impl JavaRandom {
    const MASK: u64 = (1 << 48) - 1;

    const fn new(seed: u64) -> Self {
        Self {
            state: (seed ^ 0x5_DEEC_E66D) & Self::MASK,
        }
    }

    /// The upper 31 bits of the next state.
    fn next_31(&mut self) -> u32 {
        self.state = (self.state.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB)) & Self::MASK;
        // 48 - 31 = 17 bits are dropped; what stays fits 31 bits.
        (self.state >> 17) as u32
    }

    /// A number below `bound`, as `nextInt(bound)` draws it. `bound` is 1 to 2^31 - 1.
    fn below(&mut self, bound: u32) -> u32 {
        if bound.is_power_of_two() {
            return ((u64::from(bound) * u64::from(self.next_31())) >> 31) as u32;
        }
        loop {
            let bits = self.next_31();
            let value = bits % bound;
            // Java detects the incomplete last interval by overflow of a signed 32-bit sum.
            if u64::from(bits - value) + u64::from(bound - 1) < (1 << 31) {
                return value;
            }
        }
    }
}

/// The leader among the workers that own leases: sort, shuffle with the seed all KCL workers use, take
/// the first. `None` when nobody owns anything; then every worker is its own leader.
#[must_use]
pub fn elect<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Option<WorkerId> {
    let owners: BTreeSet<&WorkerId> = leases
        .into_iter()
        .filter_map(|lease| lease.owner.as_ref())
        .collect();
    let mut owners: Vec<&WorkerId> = owners.into_iter().collect();
    // Java compares UTF-16 code units, Rust code points: they differ beyond the basic plane.
    owners.sort_by(|a, b| a.as_str().encode_utf16().cmp(b.as_str().encode_utf16()));
    let mut random = JavaRandom::new(1947);
    for size in (2..=owners.len()).rev() {
        let bound = u32::try_from(size).unwrap_or(u32::MAX);
        owners.swap(size - 1, random.below(bound) as usize);
    }
    owners.first().map(|owner| (*owner).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::LeaseKey;
    use crate::core::sequence::{ExtendedSequenceNumber, Position};

    fn leases(owners: &[&str]) -> Vec<Lease> {
        owners
            .iter()
            .enumerate()
            .map(|(index, owner)| {
                let mut lease = Lease::new(
                    LeaseKey::new(format!("s{index}")),
                    ExtendedSequenceNumber::sentinel(Position::Latest),
                    vec![],
                    None,
                );
                lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
                lease
            })
            .collect()
    }

    /// Expected values were printed by a Java program: `Collections.shuffle(sorted, new Random(1947))`.
    #[test]
    fn the_shuffle_is_javas() {
        for (workers, leader) in JAVA_LEADERS {
            let names: Vec<String> = (0..*workers).map(|i| format!("w{i:02}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(
                elect(&leases(&names)),
                Some(WorkerId::new(leader)),
                "{workers} workers"
            );
        }
    }

    #[test]
    fn owners_count_once_and_unowned_leases_not_at_all() {
        assert_eq!(
            elect(&leases(&["b", "a", "", "b", "a", "a"])),
            elect(&leases(&["a", "b"]))
        );
        assert_eq!(elect(&leases(&["", ""])), None);
    }

    const JAVA_LEADERS: &[(usize, &str)] = &[
        (1, "w00"),
        (2, "w00"),
        (3, "w02"),
        (4, "w03"),
        (5, "w04"),
        (6, "w02"),
        (7, "w02"),
        (8, "w02"),
        (9, "w03"),
        (10, "w08"),
        (16, "w11"),
        (17, "w13"),
        (31, "w22"),
        (32, "w19"),
        (33, "w21"),
        (50, "w47"),
        (64, "w46"),
        (99, "w73"),
    ];
}

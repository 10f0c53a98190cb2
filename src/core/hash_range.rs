//! The range of partition-key hashes that a shard covers.

/// Hash keys from `start` to `end`, both inclusive, within 0 ..= 2^128 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashRange {
    /// The lowest hash key.
    pub start: u128,
    /// The highest hash key.
    pub end: u128,
}

impl HashRange {
    /// The whole hash space.
    pub const FULL: Self = Self {
        start: 0,
        end: u128::MAX,
    };

    /// Parses the two decimal texts of a shard or lease; `None` when either is no number of at most
    /// 128 bits or the range is empty. (Java refuses a one-key range too; we read it.)
    #[must_use]
    pub fn parse(start: &str, end: &str) -> Option<Self> {
        let (start, end) = (start.parse().ok()?, end.parse().ok()?);
        (start <= end).then_some(Self { start, end })
    }

    /// Whether a hash key lies in the range.
    #[must_use]
    pub const fn contains(self, hash: u128) -> bool {
        self.start <= hash && hash <= self.end
    }

    /// Whether the range is the whole hash space, so that nothing can lie outside.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.start == 0 && self.end == u128::MAX
    }
}

/// The first part of the hash space that none of the ranges covers (`leases.md` E.3).
/// Ranges may overlap, as those of parents and children do. `None` when everything is covered.
#[must_use]
pub fn first_hole(ranges: impl IntoIterator<Item = HashRange>) -> Option<HashRange> {
    let mut ranges: Vec<HashRange> = ranges.into_iter().collect();
    ranges.sort_unstable();
    let mut next: u128 = 0;
    for range in ranges {
        if range.start > next {
            return Some(HashRange {
                start: next,
                end: range.start - 1,
            });
        }
        match range.end.checked_add(1) {
            None => return None,
            Some(after) => next = next.max(after),
        }
    }
    Some(HashRange {
        start: next,
        end: u128::MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u128, end: u128) -> HashRange {
        HashRange { start, end }
    }

    #[test]
    fn holes() {
        let max = u128::MAX;
        let cases: [(&[HashRange], Option<HashRange>); 8] = [
            (&[], Some(HashRange::FULL)),
            (&[HashRange::FULL], None),
            (&[range(0, 9), range(10, max)], None),
            (&[range(10, max), range(0, 9)], None),
            (&[range(0, 8), range(10, max)], Some(range(9, 9))),
            (&[range(0, 20), range(5, 10), range(21, max)], None),
            (&[range(1, max)], Some(range(0, 0))),
            (&[range(0, max - 1)], Some(range(max, max))),
        ];
        for (ranges, hole) in cases {
            assert_eq!(first_hole(ranges.iter().copied()), hole, "{ranges:?}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(
            HashRange::parse("0", "340282366920938463463374607431768211455"),
            Some(HashRange::FULL)
        );
        for (start, end) in [
            ("1", "0"),
            ("", "1"),
            ("0", "340282366920938463463374607431768211456"),
            ("-1", "1"),
        ] {
            assert_eq!(HashRange::parse(start, end), None, "{start} {end}");
        }
    }
}

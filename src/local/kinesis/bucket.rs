//! Token buckets for the throughput limits of a shard.

/// A bucket that holds one second's worth of its rate, counted in thousandths so that a millisecond refills a whole number.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Units a second; also the capacity.
    rate: i64,
    level_milli: i64,
    at_ms: i64,
}

impl Bucket {
    pub(super) fn full(rate: i64, now_ms: i64) -> Self {
        Self {
            rate,
            level_milli: rate.saturating_mul(1000),
            at_ms: now_ms,
        }
    }

    fn refill(&mut self, now_ms: i64) {
        let gained = now_ms
            .saturating_sub(self.at_ms)
            .max(0)
            .saturating_mul(self.rate);
        self.level_milli = self
            .level_milli
            .saturating_add(gained)
            .min(self.rate.saturating_mul(1000));
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// Whether `units` may be taken now. More than a second's worth passes only from a full bucket.
    pub(super) fn allows(&mut self, units: i64, now_ms: i64) -> bool {
        self.refill(now_ms);
        self.level_milli >= units.min(self.rate).saturating_mul(1000)
    }

    /// Whether anything at all is left: for reads, whose size is not known beforehand.
    pub(super) fn has_some(&mut self, now_ms: i64) -> bool {
        self.refill(now_ms);
        self.level_milli > 0
    }

    /// Takes `units`, into debt if need be.
    pub(super) fn take(&mut self, units: i64) {
        self.level_milli = self.level_milli.saturating_sub(units.saturating_mul(1000));
    }

    /// Takes a read of `units`. One larger than a second's worth blocks for its whole size: AWS documents that 10 MB from
    /// a shard of 2 MB/s make further calls fail for 5 seconds.
    pub(super) fn take_read(&mut self, units: i64) {
        if units > self.rate {
            self.level_milli = self.level_milli.min(0);
        }
        self.take(units);
    }

    /// When something will be left again (`now_ms` if it is).
    pub(super) fn has_some_at(&self, now_ms: i64) -> i64 {
        if self.level_milli > 0 {
            return now_ms;
        }
        self.at_ms
            .saturating_add(self.level_milli.unsigned_abs() as i64 / self.rate.max(1))
            .saturating_add(1)
    }
}

/// The four limits of one shard.
#[derive(Clone, Debug)]
pub(super) struct ShardBuckets {
    pub(super) write_records: Bucket,
    pub(super) write_bytes: Bucket,
    pub(super) read_calls: Bucket,
    pub(super) read_bytes: Bucket,
}

/// Bytes a second that one reader may take from a shard.
pub(super) const READ_BYTES_PER_S: i64 = 2 << 20;

impl ShardBuckets {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            write_records: Bucket::full(1_000, now_ms),
            write_bytes: Bucket::full(1 << 20, now_ms),
            read_calls: Bucket::full(5, now_ms),
            read_bytes: Bucket::full(READ_BYTES_PER_S, now_ms),
        }
    }

    /// Takes one record of `bytes` if both write limits allow it.
    pub(super) fn take_write(&mut self, bytes: usize, now_ms: i64) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let allowed =
            self.write_records.allows(1, now_ms) && self.write_bytes.allows(bytes, now_ms);
        if allowed {
            self.write_records.take(1);
            self.write_bytes.take(bytes);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_refills_what_a_second_allows() {
        let mut bucket = Bucket::full(5, 0);
        for _ in 0..5 {
            assert!(bucket.allows(1, 0));
            bucket.take(1);
        }
        assert!(!bucket.allows(1, 199));
        assert!(bucket.allows(1, 200));
        assert!(bucket.allows(5, 1_000));
        assert!(
            !Bucket {
                level_milli: 4_999,
                ..bucket
            }
            .allows(9, 1_000),
            "more than a second's worth needs a full bucket"
        );
    }

    #[test]
    fn a_large_read_blocks_for_its_size() {
        let mut bucket = Bucket::full(READ_BYTES_PER_S, 0);
        bucket.take_read(10 << 20);
        assert!(!bucket.has_some(5_000));
        assert_eq!(bucket.has_some_at(5_000), 5_001);
        assert!(bucket.has_some(5_001));

        let mut small = Bucket::full(READ_BYTES_PER_S, 0);
        small.take_read(1 << 20);
        assert!(small.has_some(0));
        small.take_read(1 << 20);
        assert!(!small.has_some(0) && small.has_some(1));
    }
}

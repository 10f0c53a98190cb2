//! The operations by name, and what tests may break about them.

use std::collections::BTreeMap;

use super::error::{ErrorKind, KinesisError};

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// An operation of the service, named as AWS names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names are AWS's own")]
        pub enum Operation { $($name),* }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The operation's name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

operations! {
    AddTagsToStream, CreateStream, DecreaseStreamRetentionPeriod, DeleteStream, DeregisterStreamConsumer, DescribeLimits,
    DescribeStream, DescribeStreamConsumer, DescribeStreamSummary, GetRecords, GetShardIterator,
    IncreaseStreamRetentionPeriod, ListShards, ListStreamConsumers, ListStreams, ListTagsForStream, MergeShards, PutRecord,
    PutRecords, RegisterStreamConsumer, RemoveTagsFromStream, SplitShard, SubscribeToShard, UpdateShardCount,
}

impl Operation {
    /// The operation of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|operation| operation.name() == name)
    }

    /// What AWS answers to too many calls of it.
    fn throttling(self) -> ErrorKind {
        match self {
            Self::GetRecords | Self::GetShardIterator | Self::PutRecord | Self::PutRecords => {
                ErrorKind::ProvisionedThroughputExceeded
            }
            _ => ErrorKind::LimitExceeded,
        }
    }
}

/// What goes wrong next. Tests set it; nothing but the calls it hits changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// This many next calls of an operation are throttled.
    pub throttle: BTreeMap<Operation, u32>,
    /// This many next calls of an operation fail with InternalFailure (after the throttled ones).
    pub fail: BTreeMap<Operation, u32>,
    /// This many next entries of PutRecords fail one by one, in a call that succeeds.
    pub throttle_entries: u32,
    /// This many next GetRecords give no records although there are some, as AWS sometimes does.
    pub empty_reads: u32,
    /// Reads at a shard's end name no children, as several emulators do.
    pub omit_child_shards: bool,
}

impl Faults {
    /// Uses up one fault of `operation`, if there is one.
    pub(super) fn hit(&mut self, operation: Operation) -> Result<(), KinesisError> {
        let name = operation.name();
        if spend_of(&mut self.throttle, operation) {
            return Err(KinesisError::new(
                operation.throttling(),
                format!("{name} is throttled by a test."),
            ));
        }
        if spend_of(&mut self.fail, operation) {
            return Err(KinesisError::new(
                ErrorKind::InternalFailure,
                format!("{name} fails by order of a test."),
            ));
        }
        Ok(())
    }
}

fn spend_of(counts: &mut BTreeMap<Operation, u32>, operation: Operation) -> bool {
    counts.get_mut(&operation).is_some_and(spend)
}

/// Takes one from a count that is not used up.
pub(super) fn spend(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_by_their_own_name_only() {
        for &operation in Operation::ALL {
            assert_eq!(Operation::parse(operation.name()), Some(operation));
        }
        assert_eq!(Operation::parse("getrecords"), None);
        assert_eq!(Operation::parse("EnableEnhancedMonitoring"), None);
    }

    #[test]
    fn each_fault_hits_as_often_as_ordered_and_only_its_operation() {
        let mut faults = Faults::default();
        faults.throttle.insert(Operation::GetRecords, 2);
        faults.throttle.insert(Operation::ListShards, 1);
        faults.fail.insert(Operation::GetRecords, 1);
        let kinds: Vec<_> = (0..4)
            .map(|_| faults.hit(Operation::GetRecords).err().map(|e| e.kind))
            .collect();
        let throttled = Some(ErrorKind::ProvisionedThroughputExceeded);
        assert_eq!(
            kinds,
            [throttled, throttled, Some(ErrorKind::InternalFailure), None]
        );
        assert_eq!(
            faults.hit(Operation::ListShards).unwrap_err().kind,
            ErrorKind::LimitExceeded
        );
        assert_eq!(faults.hit(Operation::PutRecord), Ok(()));
    }
}

//! Names that KCL 1.x knew and no later daemon does (§5.14): accepted, explained, without effect.

use super::{Group, Holding, KeySpec, ValueType};

const fn past(name: &'static str, why: &'static str) -> KeySpec {
    KeySpec::new(name, Group::Past, ValueType::Anything, Holding::Ours)
        .no_effect(why)
        .effect("A setting of KCL 1.x.")
        .java("2.x and 3.x ignore it silently.")
}

const CLIENT: &str =
    "clients are configured by regionName, the endpoint keys and the SDK's environment variables";
const PROVIDER: &str = "write AwsCredentialsProvider, AwsCredentialsProviderDynamoDB or AwsCredentialsProviderCloudWatch";
const AUDIT: &str = "holes in the lease table are looked for all the time";
const CLEANUP: &str = "finished leases are cleaned up as soon as it is safe";

pub(super) const KEYS: &[KeySpec] = &[
    KeySpec::new(
        "validateSequenceNumberBeforeCheckpointing",
        Group::Past,
        ValueType::Anything,
        Holding::Primitive,
    )
    .no_effect("checkpoints are checked against what was delivered, without a call")
    .effect("1.x: ask Kinesis whether a sequence number is valid before a checkpoint.")
    .java("Parsed into a field that nobody reads."),
    KeySpec::new(
        "shardPrioritization",
        Group::Past,
        ValueType::Anything,
        Holding::Object,
    )
    .since("2.1")
    .no_effect("there is only one order of shards: parents before children")
    .effect("Order of shards.")
    .java("Every value stops the start."),
    past("userAgent", "the user agent is this daemon's"),
    past(
        "shardPrioritizationStrategy",
        "parents come before children, there is no other order",
    ),
    past(
        "shardSyncStrategyType",
        "shards are compared at shard end and periodically",
    ),
    past(
        "dataFetchingStrategy",
        "records are always read ahead; see maxPendingProcessRecordsInput",
    ),
    past("idleMillisBetweenCalls", "see idleTimeBetweenReadsInMillis"),
    past(
        "billingMode",
        "the lease table is created with on-demand billing",
    ),
    past(
        "maxInitializationAttempts",
        "the start is tried again until it succeeds or cannot succeed",
    ),
    past("leaseCleanupIntervalMillis", CLEANUP),
    past("completedLeaseCleanupThresholdMillis", CLEANUP),
    past("garbageLeaseCleanupThresholdMillis", CLEANUP),
    past("leasesRecoveryAuditorExecutionFrequencyMillis", AUDIT),
    past(
        "leasesRecoveryAuditorInconsistencyConfidenceThreshold",
        AUDIT,
    ),
    past("commonClientConfig", CLIENT),
    past("kinesisClientConfig", CLIENT),
    past("dynamoDBClientConfig", CLIENT),
    past("cloudWatchClientConfig", CLIENT),
    past("kinesisCredentialsProvider", PROVIDER),
    past("dynamoDBCredentialsProvider", PROVIDER),
    past("cloudWatchCredentialsProvider", PROVIDER),
];

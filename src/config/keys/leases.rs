//! Keys of leases, coordination and assignment (§5.7 to §5.12).

use super::{AliasKind, Group, Holding, KeySpec, ValueType, alias};
use AliasKind::FromV1;
use Group::{Assignment, Coordinator, Leases, MetadataTables};
use Holding::{Object, Ours, Primitive, Wrapper};

pub(super) const KEYS: &[KeySpec] = &[
    KeySpec::millis("failoverTimeMillis", Leases, Primitive)
        .at_least(100)
        .default("10000")
        .effect("How long a lease lives without renewal: the time until the shards of a dead worker are taken. Renewed at a third of it. Less than 300 becomes 300.")
        .java("Negative values are accepted and lead to nonsense."),
    KeySpec::millis("shardSyncIntervalMillis", Leases, Primitive)
        .default("60000")
        .effect("How often shards and leases are compared.")
        .own_way("shards and leases are compared when the lease table shows a hole, not by the clock"),
    KeySpec::bool("cleanupLeasesUponShardCompletion", Leases, Primitive)
        .default("true")
        .effect("Delete the leases of finished shards.")
        .java("`false` has no effect: it stays on."),
    KeySpec::bool("ignoreUnexpectedChildShards", Leases, Primitive)
        .default("false")
        .since("1.x late / 2.1")
        .effect("Go on when the service lists a shard whose parent should still be open."),
    KeySpec::int("maxLeasesForWorker", Leases, Primitive)
        .default("2147483647")
        .unit("leases")
        .effect("Most leases this worker holds.")
        .java("Negative values stop the start."),
    KeySpec::int("maxLeasesToStealAtOneTime", Leases, Primitive)
        .default("1")
        .unit("leases")
        .effect("Most leases stolen for balance in one pass; used by the 2.x algorithm."),
    KeySpec::bool("enablePriorityLeaseAssignment", Leases, Wrapper)
        .default("true")
        .since("2.6.0")
        .effect(
            "Take leases that have been expired for very long (three failover times) first and beyond the fair share; used \
             by the 2.x algorithm. With `false` only those that nobody has taken for thirty failover times.",
        ),
    KeySpec::int("initialLeaseTableReadCapacity", Leases, Primitive)
        .default("10")
        .unit("RCU")
        .no_effect("the lease table is created with on-demand billing")
        .effect("Read capacity of a provisioned lease table."),
    KeySpec::int("initialLeaseTableWriteCapacity", Leases, Primitive)
        .default("10")
        .unit("WCU")
        .no_effect("the lease table is created with on-demand billing")
        .effect("Write capacity of a provisioned lease table."),
    KeySpec::bool("leaseTableDeletionProtectionEnabled", Leases, Wrapper)
        .default("false")
        .since("2.6.1")
        .effect("Create the lease table with deletion protection."),
    KeySpec::bool("leaseTablePitrEnabled", Leases, Wrapper)
        .default("false")
        .since("2.6.1")
        .effect("Switch point-in-time recovery of the lease table on."),
    KeySpec::int("leaseTableScanTotalSegments", Leases, Primitive)
        .default("0")
        .unit("segments")
        .absent("by the size of the table")
        .since("3.5.0")
        .effect("Segments of a parallel scan of the lease table; 0 leaves it to the daemon: one for each 4 MB.")
        .java("One for each 0.2 GB, and 10 when the size is unknown."),
    KeySpec::int("maxLeaseRenewalThreads", Leases, Primitive)
        .at_least(1)
        .default("20")
        .unit("calls")
        .effect("Most renewals under way at one time.")
        .own_way("each lease is renewed by itself, within a time limit of its own")
        .java("A quarter of it run in parallel; 1 stops the start."),
    KeySpec::millis("listShardsBackoffTimeInMillis", Leases, Primitive)
        .default("1500")
        .since("1.x late / 2.1")
        .effect("Pause after a throttled ListShards.")
        .own_way("a failed comparison of shards and leases is repeated after the next look at the table"),
    KeySpec::int("maxListShardsRetryAttempts", Leases, Primitive)
        .default("50")
        .unit("tries")
        .since("1.x late / 2.1")
        .effect("Tries of ListShards.")
        .own_way("a failed comparison of shards and leases is repeated without limit"),
    KeySpec::millis("parentShardPollIntervalMillis", Coordinator, Primitive)
        .default("10000")
        .effect("How often a shard that waits for its parents looks again; ours is also woken at once by a parent of its own."),
    KeySpec::bool("skipShardSyncAtWorkerInitializationIfLeasesExist", Coordinator, Primitive)
        .aliases(&[alias("skipShardSyncAtStartupIfLeasesExist", FromV1)])
        .default("false")
        .since("2.1 (1.x: `skipShardSyncAtStartupIfLeasesExist`)")
        .effect("Start without comparing shards and leases when there are leases.")
        .java("Also switches the hash-range filter of KPL records off."),
    KeySpec::millis("schedulerInitializationBackoffTimeMillis", Coordinator, Primitive)
        .default("1000")
        .since("2.3.0")
        .effect("First pause between attempts to start while a service does not answer.")
        .java("Pause between 20 attempts, after which the daemon ends with code 0."),
    KeySpec::word("clientVersionConfig", Coordinator, Object, &[
        "auto",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X",
        "CLIENT_VERSION_CONFIG_3X",
    ])
        .default("auto")
        .since("3.0.0")
        .effect("Which lease algorithm runs and which old workers may be in the table. `auto` looks at the table and never breaks an older worker.")
        .java("Default `CLIENT_VERSION_CONFIG_3X`; no `auto`."),
    KeySpec::bool("forceClientVersionConfig", Coordinator, Ours)
        .default("false")
        .since("kcl-daemon")
        .effect("Start although `clientVersionConfig` would break a worker seen alive.")
        .java("Never looks."),
    KeySpec::bool("migrateAllEntitiesToLeaseTable", Coordinator, Primitive)
        .default("false")
        .since("3.5.0")
        .effect("Phase 2 of the migration of 3.0-3.4 tables into the lease table."),
    KeySpec::long("tableMigrationCompleteBakeTimeSeconds", Coordinator, Primitive)
        .clamped(3600, 604_800)
        .default("86400")
        .unit("s")
        .since("3.5.0")
        .effect("How long the migration rests before it is called complete."),
];

const fn handoff(spec: KeySpec) -> KeySpec {
    spec.bean("gracefulLeaseHandoffConfigBean").since("3.0.0")
}

const fn utilisation(spec: KeySpec) -> KeySpec {
    spec.bean("workerUtilizationAwareAssignmentConfigBean")
        .since("3.0.0")
}

/// Keys of hand-off and of assignment by the leader (§5.9, §5.10).
pub(super) const ASSIGNMENT_KEYS: &[KeySpec] = &[
    KeySpec::millis("leaseAssignmentIntervalMillis", Assignment, Primitive)
        .at_least(51)
        .absent("2 x `failoverTimeMillis`")
        .since("3.1.1")
        .effect("How often the leader assigns leases."),
    KeySpec::word(
        "leaseAssignmentStrategy",
        Assignment,
        Ours,
        &["WORKER_UTILIZATION_AWARE", "LEASE_COUNT_BASED"],
    )
    .default("WORKER_UTILIZATION_AWARE")
    .since("kcl-daemon")
    .effect("Whether the leader balances by the workers' load or by the number of leases.")
    .java("Cannot be set from the file."),
    handoff(KeySpec::bool("isGracefulLeaseHandoffEnabled", Assignment, Wrapper))
        .default("true")
        .effect("Let the old owner finish and checkpoint before a lease moves. The `is` belongs to the name."),
    handoff(KeySpec::millis("gracefulLeaseHandoffTimeoutMillis", Assignment, Wrapper))
        .default("30000")
        .effect("How long the old owner may take."),
    utilisation(KeySpec::millis("inMemoryWorkerMetricsCaptureFrequencyMillis", Assignment, Primitive))
        .default("1000")
        .effect("How often the load of this worker is sampled."),
    utilisation(KeySpec::millis("workerMetricsReporterFreqInMillis", Assignment, Primitive))
        .default("30000")
        .effect("How often the load is written to the table."),
    utilisation(KeySpec::int("noOfPersistedMetricsPerWorkerMetrics", Assignment, Primitive))
        .default("10")
        .unit("values")
        .effect("How many values of the load are kept in the table."),
    utilisation(KeySpec::bool("disableWorkerMetrics", Assignment, Wrapper))
        .default("false")
        .effect("Do not measure the load; balance by throughput alone."),
    utilisation(KeySpec::new("maxThroughputPerHostKBps", Assignment, ValueType::Double, Primitive))
        .within(0.0, f64::INFINITY)
        .unit("KB/s")
        .absent("unlimited")
        .effect("Most throughput that is assigned to one worker."),
    utilisation(KeySpec::int("dampeningPercentage", Assignment, Primitive))
        .within(1.0, 100.0)
        .default("60")
        .unit("%")
        .effect("Which part of an imbalance is corrected at a time."),
    utilisation(KeySpec::int("reBalanceThresholdPercentage", Assignment, Primitive))
        .default("10")
        .unit("%")
        .effect("Imbalance from which leases are moved."),
    utilisation(KeySpec::bool("allowThroughputOvershoot", Assignment, Wrapper))
        .default("true")
        .effect("Move one lease although it moves more than wanted, when none fits."),
    utilisation(KeySpec::int("varianceBalancingFrequency", Assignment, Primitive))
        .default("3")
        .unit("runs")
        .effect("Balance at each n-th run of the assignment."),
    utilisation(KeySpec::new("workerMetricsEMAAlpha", Assignment, ValueType::Double, Primitive))
        .within(0.0, 1.0)
        .default("0.5")
        .effect("Weight of the newest value in the moving average of the load."),
    utilisation(KeySpec::new(
        "staleWorkerMetricsEntryCleanupDuration",
        Assignment,
        ValueType::Duration,
        Object,
    ))
    .default("PT24H")
    .effect("Age at which a worker's load entry is deleted."),
    // §5.11
    table_name("workerMetricsTableName", METRICS).absent("`<applicationName>-WorkerMetricStats`"),
    billing("workerMetricsBillingMode", METRICS),
    capacity("workerMetricsReadCapacity", METRICS),
    capacity("workerMetricsWriteCapacity", METRICS),
    recovery("workerMetricsPointInTimeRecoveryEnabled", METRICS),
    protection("workerMetricsDeletionProtectionEnabled", METRICS),
    tags("workerMetricsTags", METRICS),
    // §5.12
    KeySpec::text("coordinatorStateTableName", MetadataTables)
        .bean(STATE)
        .since("3.0.0")
        .absent("`<applicationName>-CoordinatorState`")
        .effect("Name of the table in which a fleet of KCL 3.0 to 3.4 coordinates itself. If it is there, the daemon takes no lease beside that fleet.")
        .java("An empty value is passed on and breaks later."),
    billing("coordinatorStateBillingMode", STATE),
    capacity("coordinatorStateReadCapacity", STATE),
    capacity("coordinatorStateWriteCapacity", STATE),
    recovery("coordinatorStatePointInTimeRecoveryEnabled", STATE),
    protection("coordinatorStateDeletionProtectionEnabled", STATE),
    tags("coordinatorStateTags", STATE),
];

const METRICS: &str = "workerMetricStatsTableConfigBean";
const STATE: &str = "coordinatorStateTableConfigBean";

const fn table(spec: KeySpec, bean: &'static str) -> KeySpec {
    spec.bean(bean).since("3.0.0")
}

const NEVER_MADE: &str =
    "as KCL 3.5, the daemon uses this table where KCL 3.0 to 3.4 made it, and never makes one";

const fn table_name(name: &'static str, bean: &'static str) -> KeySpec {
    table(KeySpec::text(name, MetadataTables), bean)
        .effect("Name of the table.")
        .java("An empty value is passed on and breaks later.")
}

const fn billing(name: &'static str, bean: &'static str) -> KeySpec {
    let words = &["PAY_PER_REQUEST", "PROVISIONED"];
    table(KeySpec::word(name, MetadataTables, Object, words), bean)
        .default("PAY_PER_REQUEST")
        .effect("Billing mode at creation; `PROVISIONED` needs both capacities.")
        .no_effect(NEVER_MADE)
}

const fn capacity(name: &'static str, bean: &'static str) -> KeySpec {
    table(KeySpec::long(name, MetadataTables, Primitive), bean)
        .default("0")
        .unit("capacity units")
        .effect("Capacity of a provisioned table.")
        .no_effect(NEVER_MADE)
}

const fn recovery(name: &'static str, bean: &'static str) -> KeySpec {
    table(KeySpec::bool(name, MetadataTables, Wrapper), bean)
        .default("false")
        .effect("Switch point-in-time recovery on.")
        .no_effect(NEVER_MADE)
}

const fn protection(name: &'static str, bean: &'static str) -> KeySpec {
    table(KeySpec::bool(name, MetadataTables, Wrapper), bean)
        .default("false")
        .effect("Create the table with deletion protection.")
        .no_effect(NEVER_MADE)
}

const fn tags(name: &'static str, bean: &'static str) -> KeySpec {
    table(
        KeySpec::new(name, MetadataTables, ValueType::Tags, Object),
        bean,
    )
    .absent("none")
    .effect("Tags at creation, `k1=v1,k2=v2`.")
    .no_effect(NEVER_MADE)
    .java("An element that is not `key=value` is dropped with a warning, as here.")
}

//! The effective configuration as plain data. Lengths of time are `Duration`s, sizes are bytes.

use super::arn::StreamArn;
use super::credentials::ProviderChain;
use super::origin::Origin;
use super::retrieval_mode::RetrievalChoice;
use super::words::{
    ChildFailurePolicy, ClientVersionConfig, KplRangeFilter, LeaseAssignmentStrategy,
    ManagedCheckpoint, MetricsLevel, MultilangProtocol, OnPoison,
};
use crate::core::sequence::InitialPosition;
use std::time::Duration;

/// Everything the daemon is told. Built by [`super::load`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonConfig {
    /// Who reads what.
    pub identity: Identity,
    /// The processor.
    pub child: ChildConfig,
    /// How records are read.
    pub retrieval: RetrievalConfig,
    /// The lease table and this worker's part of it.
    pub leases: LeaseConfig,
    /// Start, versions, migrations.
    pub coordinator: CoordinatorConfig,
    /// Graceful hand-off of leases.
    pub handoff: HandoffConfig,
    /// Assignment by load.
    pub utilisation: UtilisationConfig,
    /// The worker-metrics table of KCL 3.0 to 3.4.
    pub worker_metrics_table: MetadataTable,
    /// The coordinator-state table of KCL 3.0 to 3.4.
    pub coordinator_state_table: MetadataTable,
    /// Regions and endpoints.
    pub endpoints: Endpoints,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// CloudWatch metrics.
    pub metrics: MetricsConfig,
    /// Checkpoints made by the daemon.
    pub managed: ManagedConfig,
    /// The embedded Kinesis and DynamoDB.
    pub local: LocalConfig,
    /// Every key of the table as it is in effect, in the table's order.
    pub(super) values: Vec<EffectiveValue>,
}

/// One key as it is in effect, for `check`.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveValue {
    /// The key.
    pub key: &'static str,
    /// The value as text without secrets; `None` if the key is absent.
    pub value: Option<String>,
    /// Who set it.
    pub origin: Origin,
}

impl DaemonConfig {
    /// All keys with value and origin, in the order of the table.
    #[must_use]
    pub fn values(&self) -> &[EffectiveValue] {
        &self.values
    }

    /// Who set a key, by its name in the table; `None` if there is no such key.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values
            .iter()
            .find(|value| value.key == key)
            .map(|value| &value.origin)
    }
}

/// Who reads what (`properties.md` §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `applicationName`.
    pub application_name: String,
    /// The stream.
    pub stream: StreamIdentity,
    /// The lease table: `tableName`, else the application's name.
    pub lease_table: String,
    /// `workerId`; `None` leaves it to the daemon (host and application, held by a lock file).
    pub worker_id: Option<String>,
}

/// The stream, by name and, where it can be used, by ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamIdentity {
    /// The name: from `streamArn`, else `streamName`.
    pub name: String,
    /// `streamArn`, to be sent in calls. `None` when it is absent, a sample's dummy, or of another
    /// region than the one that is configured explicitly.
    pub arn: Option<StreamArn>,
}

/// The processor (`properties.md` §5.1, §5.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildConfig {
    /// `executableName` as it was written, without blanks at the end.
    pub executable: String,
    /// Its words, split at runs of spaces; never empty, and the first word is not empty.
    pub argv: Vec<String>,
    /// `timeoutInSeconds`: longest wait for each message; `None` waits for ever.
    pub message_timeout: Option<Duration>,
    /// `shutdownGraceMillis`; `None` if absent (30 s in all), zero only if set by hand.
    pub shutdown_grace: Option<Duration>,
    /// `childFailurePolicy`.
    pub failure_policy: ChildFailurePolicy,
    /// `multilangProtocol`.
    pub protocol: MultilangProtocol,
    /// `taskBackoffTimeMillis`.
    pub task_backoff: Duration,
    /// `logWarningForTaskAfterMillis`.
    pub warn_task_after: Option<Duration>,
    /// `callProcessRecordsEvenForEmptyRecordList`.
    pub call_with_empty_records: bool,
}

impl ChildConfig {
    /// How long a stop by signal may take in all: `shutdownGraceMillis`, else 30 s (`decisions.md`).
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.shutdown_grace.unwrap_or(Duration::from_secs(30))
    }
}

/// How records are read (`properties.md` §5.5, §5.6, §8).
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalConfig {
    /// Polling or fan-out, and why.
    pub choice: RetrievalChoice,
    /// Where shards without a checkpoint start.
    pub initial_position: InitialPosition,
    /// Polling.
    pub polling: PollingConfig,
    /// Enhanced fan-out.
    pub fanout: FanoutConfig,
    /// Limits of reading ahead.
    pub prefetch: PrefetchConfig,
    /// `kinesisRequestTimeoutMillis`.
    pub request_timeout: Duration,
    /// `kplRangeFilter`.
    pub kpl_range_filter: KplRangeFilter,
}

/// Polling (`retrieval.md` A.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollingConfig {
    /// `maxRecords`, 1 to 10000.
    pub max_records: u32,
    /// `idleTimeBetweenReadsInMillis`, at least 200 ms.
    pub idle_time_between_reads: Duration,
    /// `millisBehindLatestThresholdForReducedTps`; `None` if 0.
    pub reduced_tps_threshold: Option<Duration>,
}

/// Limits of reading ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefetchConfig {
    /// `maxPendingProcessRecordsInput`: batches per shard.
    pub max_batches: u32,
    /// `maxCacheByteSize`: bytes per shard.
    pub max_bytes: u64,
    /// `maxRecordsCount`: records per shard.
    pub max_records: u32,
    /// `prefetchBudgetBytes`: bytes of all shards.
    pub budget_bytes: u64,
}

/// Enhanced fan-out (`retrieval.md` B.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanoutConfig {
    /// `fanoutConfig.consumerArn`.
    pub consumer_arn: Option<String>,
    /// `fanoutConfig.consumerName`, else the application's name.
    pub consumer_name: String,
    /// Tries of DescribeStreamSummary.
    pub describe_stream_summary_tries: u32,
    /// Tries of DescribeStreamConsumer.
    pub describe_stream_consumer_tries: u32,
    /// Tries of RegisterStreamConsumer.
    pub register_stream_consumer_tries: u32,
    /// Pause between tries.
    pub retry_backoff: Duration,
}

/// Leases (`properties.md` §5.7).
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseConfig {
    /// `failoverTimeMillis`.
    pub failover_time: Duration,
    /// `shardSyncIntervalMillis`.
    pub shard_sync_interval: Duration,
    /// `cleanupLeasesUponShardCompletion`.
    pub cleanup_on_completion: bool,
    /// `ignoreUnexpectedChildShards`.
    pub ignore_unexpected_child_shards: bool,
    /// `maxLeasesForWorker`.
    pub max_leases_for_worker: u32,
    /// `maxLeasesToStealAtOneTime`.
    pub max_leases_to_steal: u32,
    /// `enablePriorityLeaseAssignment`.
    pub priority_assignment: bool,
    /// `leaseTableDeletionProtectionEnabled`.
    pub deletion_protection: bool,
    /// `leaseTablePitrEnabled`.
    pub point_in_time_recovery: bool,
    /// `leaseTableScanTotalSegments`; `None` chooses by the table.
    pub scan_segments: Option<u32>,
    /// `maxLeaseRenewalThreads`: renewals under way at one time.
    pub max_parallel_renewals: u32,
    /// `listShardsBackoffTimeInMillis`.
    pub list_shards_backoff: Duration,
    /// `maxListShardsRetryAttempts`.
    pub list_shards_tries: u32,
    /// `leaseAssignmentIntervalMillis`, else twice the failover time.
    pub assignment_interval: Duration,
    /// `leaseAssignmentStrategy`.
    pub assignment_strategy: LeaseAssignmentStrategy,
}

/// Start, versions, migrations (`properties.md` §5.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// `parentShardPollIntervalMillis`.
    pub parent_shard_poll_interval: Duration,
    /// `skipShardSyncAtWorkerInitializationIfLeasesExist`.
    pub skip_shard_sync_if_leases_exist: bool,
    /// `schedulerInitializationBackoffTimeMillis`.
    pub initialization_backoff: Duration,
    /// `clientVersionConfig`.
    pub client_version: ClientVersionConfig,
    /// `forceClientVersionConfig`.
    pub force_client_version: bool,
    /// `migrateAllEntitiesToLeaseTable`.
    pub migrate_to_lease_table: bool,
    /// `tableMigrationCompleteBakeTimeSeconds`.
    pub migration_bake_time: Duration,
}

/// Graceful hand-off (`properties.md` §5.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoffConfig {
    /// `isGracefulLeaseHandoffEnabled`.
    pub enabled: bool,
    /// `gracefulLeaseHandoffTimeoutMillis`.
    pub timeout: Duration,
}

/// Assignment by load (`properties.md` §5.10).
#[derive(Debug, Clone, PartialEq)]
pub struct UtilisationConfig {
    /// `inMemoryWorkerMetricsCaptureFrequencyMillis`.
    pub capture_interval: Duration,
    /// `workerMetricsReporterFreqInMillis`.
    pub report_interval: Duration,
    /// `noOfPersistedMetricsPerWorkerMetrics`.
    pub persisted_values: u32,
    /// `disableWorkerMetrics`.
    pub disabled: bool,
    /// `maxThroughputPerHostKBps`; infinite if absent.
    pub max_throughput_kbps: f64,
    /// `dampeningPercentage`, 1 to 100.
    pub dampening_percentage: u32,
    /// `reBalanceThresholdPercentage`.
    pub rebalance_threshold_percentage: u32,
    /// `allowThroughputOvershoot`.
    pub allow_throughput_overshoot: bool,
    /// `varianceBalancingFrequency`: every n-th run.
    pub balancing_frequency: u32,
    /// `workerMetricsEMAAlpha`, above 0 to 1.
    pub ema_alpha: f64,
    /// `staleWorkerMetricsEntryCleanupDuration`.
    pub stale_entry_age: Duration,
}

/// A table of KCL 3.0 to 3.4 (`properties.md` §5.11, §5.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataTable {
    /// The name.
    pub name: String,
    /// Capacities (read, write) if it is provisioned; `None` is on-demand.
    pub provisioned: Option<(u64, u64)>,
    /// Point-in-time recovery.
    pub point_in_time_recovery: bool,
    /// Deletion protection.
    pub deletion_protection: bool,
    /// Tags at creation.
    pub tags: Vec<(String, String)>,
}

/// Regions and endpoints (`properties.md` §7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Kinesis.
    pub kinesis: ServiceEndpoint,
    /// DynamoDB.
    pub dynamodb: ServiceEndpoint,
    /// CloudWatch.
    pub cloudwatch: ServiceEndpoint,
    /// STS, for roles that are assumed.
    pub sts: ServiceEndpoint,
}

/// How a service is reached. What is `None` is left to the SDK (profile, instance metadata).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceEndpoint {
    /// The region.
    pub region: Option<String>,
    /// The endpoint, with scheme.
    pub endpoint: Option<String>,
    /// Use the FIPS endpoint.
    pub fips: Option<bool>,
    /// Use the dual-stack endpoint.
    pub dualstack: Option<bool>,
}

/// Where credentials come from, per service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// For Kinesis.
    pub kinesis: ProviderChain,
    /// For DynamoDB: its own, else Kinesis's.
    pub dynamodb: ProviderChain,
    /// For CloudWatch: its own, else Kinesis's.
    pub cloudwatch: ProviderChain,
}

/// CloudWatch metrics (`properties.md` §5.13, `metrics.md` §1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `metricsLevel`.
    pub level: MetricsLevel,
    /// `metricsEnabledDimensions`.
    pub dimensions: Dimensions,
    /// `metricsBufferTimeMillis`.
    pub buffer_time: Duration,
    /// `metricsMaxQueueSize`.
    pub max_queue_size: u32,
}

/// Which dimensions metrics carry; `Operation` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// `ShardId`.
    pub shard_id: bool,
    /// `WorkerIdentifier`.
    pub worker_identifier: bool,
}

/// Checkpoints made by the daemon (`tools.md` 8.7).
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedConfig {
    /// `managed.checkpoint`.
    pub checkpoint: ManagedCheckpoint,
    /// `managed.intervalMillis`.
    pub interval: Duration,
    /// `managed.records`; `None` if 0.
    pub records: Option<u64>,
    /// `managed.retries`; `None` without limit.
    pub retries: Option<u32>,
    /// `managed.backoffMillis`.
    pub backoff: Duration,
    /// `managed.batchTimeoutSeconds`; `None` if 0.
    pub batch_timeout: Option<Duration>,
    /// `managed.batchRetries`.
    pub batch_retries: u32,
    /// `managed.onPoison`.
    pub on_poison: OnPoison,
    /// `managed.tolerance`: records in 10000.
    pub tolerance: u32,
    /// `managed.deadLetterFile`.
    pub dead_letter_file: Option<String>,
    /// `managed.startJitterSeconds`.
    pub start_jitter: Duration,
}

/// The embedded Kinesis and DynamoDB.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalConfig {
    /// Whether to use them (`--local`).
    pub enabled: bool,
    /// Shards of the stream that is created.
    pub shards: u32,
    /// Records made up per second.
    pub generate: Option<f64>,
    /// File of lines to put, `-` for STDIN.
    pub input: Option<String>,
}

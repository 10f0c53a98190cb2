//! From settings to the typed configuration.

use super::checks;
use super::credentials::ProviderChain;
use super::daemon_config::{
    ChildConfig, CoordinatorConfig, Credentials, DaemonConfig, Dimensions, EffectiveValue,
    FanoutConfig, HandoffConfig, LeaseConfig, LocalConfig, ManagedConfig, MetadataTable,
    MetricsConfig, PollingConfig, PrefetchConfig, RetrievalConfig, UtilisationConfig,
};
use super::endpoints;
use super::origin::{ConfigErrors, Findings, Notices, Origin};
use super::settings::Settings;
use super::sources::{Sources, gather};
use super::value::Value;
use super::words::{
    ChildFailurePolicy, ClientVersionConfig, KplRangeFilter, LeaseAssignmentStrategy,
    ManagedCheckpoint, MetricsLevel, MultilangProtocol, OnPoison,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Loads the whole configuration.
///
/// # Errors
/// All errors of all sources at once, each naming place, key and expected form; never empty.
pub fn load(sources: &Sources<'_>) -> Result<(DaemonConfig, Notices), ConfigErrors> {
    let mut findings = Findings::default();
    let settings = gather(sources, &mut findings);
    // Built even if there are errors already, so that the checks can add theirs.
    let config = build(settings, sources.environment, &mut findings);
    let Findings { errors, notices } = findings;
    if errors.is_empty() {
        Ok((config, notices))
    } else {
        Err(ConfigErrors { errors, notices })
    }
}

fn build(
    mut settings: Settings,
    environment: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> DaemonConfig {
    let mut identity = checks::identity(&settings, findings);
    let (executable, argv) = checks::executable(&settings, findings);
    let initial_position = checks::initial_position(&settings, findings);
    let endpoints = endpoints::resolve(&settings, environment, &mut identity.stream, findings);
    let local = local(&settings);
    let credentials = credentials(&settings, environment, local.enabled, findings);
    let consumer_name = settings
        .text("fanoutConfig.consumerName")
        .unwrap_or_else(|| identity.application_name.clone());
    let choice = checks::retrieval_choice(&settings, &consumer_name);
    let max_records = checks::max_records(&settings, &choice, findings);
    checks::others(&settings, findings);
    let failover_time = checks::failover_time(&settings, findings);
    let config = DaemonConfig {
        child: child(&settings, executable, argv),
        retrieval: RetrievalConfig {
            choice,
            initial_position,
            polling: PollingConfig {
                max_records,
                idle_time_between_reads: settings.millis("idleTimeBetweenReadsInMillis"),
                reduced_tps_threshold: settings
                    .millis_above_zero("millisBehindLatestThresholdForReducedTps"),
            },
            fanout: FanoutConfig {
                consumer_arn: settings.text("fanoutConfig.consumerArn"),
                consumer_name,
                describe_stream_summary_tries: settings
                    .u32("fanoutConfig.maxDescribeStreamSummaryRetries"),
                describe_stream_consumer_tries: settings
                    .u32("fanoutConfig.maxDescribeStreamConsumerRetries"),
                register_stream_consumer_tries: settings
                    .u32("fanoutConfig.registerStreamConsumerRetries"),
                retry_backoff: settings.millis("fanoutConfig.retryBackoffMillis"),
            },
            prefetch: PrefetchConfig {
                max_batches: settings.u32("maxPendingProcessRecordsInput"),
                max_bytes: settings.u64("maxCacheByteSize"),
                max_records: settings.u32("maxRecordsCount"),
                budget_bytes: settings.u64("prefetchBudgetBytes"),
            },
            request_timeout: settings.millis("kinesisRequestTimeoutMillis"),
            kpl_range_filter: KplRangeFilter::from_word(settings.word("kplRangeFilter")),
        },
        leases: leases(&settings, failover_time),
        coordinator: coordinator(&settings),
        handoff: HandoffConfig {
            enabled: settings.bool("isGracefulLeaseHandoffEnabled"),
            timeout: settings.millis("gracefulLeaseHandoffTimeoutMillis"),
        },
        utilisation: utilisation(&settings),
        worker_metrics_table: metadata_table(
            &settings,
            "workerMetrics",
            &identity.application_name,
            "WorkerMetricStats",
        ),
        coordinator_state_table: metadata_table(
            &settings,
            "coordinatorState",
            &identity.application_name,
            "CoordinatorState",
        ),
        endpoints,
        credentials,
        metrics: MetricsConfig {
            level: MetricsLevel::from_word(settings.word("metricsLevel")),
            dimensions: dimensions(&settings.names("metricsEnabledDimensions")),
            buffer_time: settings.millis("metricsBufferTimeMillis"),
            max_queue_size: settings.u32("metricsMaxQueueSize"),
        },
        managed: managed(&settings),
        local,
        identity,
        values: Vec::new(),
    };
    let values = effective_values(&mut settings, &config);
    DaemonConfig { values, ..config }
}

fn child(settings: &Settings, executable: String, argv: Vec<String>) -> ChildConfig {
    ChildConfig {
        executable,
        argv,
        message_timeout: settings
            .int("timeoutInSeconds")
            .map(|s| Duration::from_secs(s.unsigned_abs())),
        shutdown_grace: settings
            .int("shutdownGraceMillis")
            .map(|ms| Duration::from_millis(ms.unsigned_abs())),
        failure_policy: ChildFailurePolicy::from_word(settings.word("childFailurePolicy")),
        protocol: MultilangProtocol::from_word(settings.word("multilangProtocol")),
        task_backoff: settings.millis("taskBackoffTimeMillis"),
        warn_task_after: settings
            .int("logWarningForTaskAfterMillis")
            .map(|ms| Duration::from_millis(ms.unsigned_abs())),
        call_with_empty_records: settings.bool("callProcessRecordsEvenForEmptyRecordList"),
    }
}

fn leases(settings: &Settings, failover_time: Duration) -> LeaseConfig {
    LeaseConfig {
        failover_time,
        shard_sync_interval: settings.millis("shardSyncIntervalMillis"),
        cleanup_on_completion: settings.bool("cleanupLeasesUponShardCompletion"),
        ignore_unexpected_child_shards: settings.bool("ignoreUnexpectedChildShards"),
        max_leases_for_worker: settings.u32("maxLeasesForWorker"),
        max_leases_to_steal: settings.u32("maxLeasesToStealAtOneTime"),
        priority_assignment: settings.bool("enablePriorityLeaseAssignment"),
        deletion_protection: settings.bool("leaseTableDeletionProtectionEnabled"),
        point_in_time_recovery: settings.bool("leaseTablePitrEnabled"),
        scan_segments: Some(settings.u32("leaseTableScanTotalSegments")).filter(|n| *n > 0),
        max_parallel_renewals: settings.u32("maxLeaseRenewalThreads"),
        list_shards_backoff: settings.millis("listShardsBackoffTimeInMillis"),
        list_shards_tries: settings.u32("maxListShardsRetryAttempts"),
        assignment_interval: settings
            .millis_above_zero("leaseAssignmentIntervalMillis")
            .unwrap_or(failover_time.saturating_mul(2)),
        assignment_strategy: LeaseAssignmentStrategy::from_word(
            settings.word("leaseAssignmentStrategy"),
        ),
    }
}

fn coordinator(settings: &Settings) -> CoordinatorConfig {
    CoordinatorConfig {
        parent_shard_poll_interval: settings.millis("parentShardPollIntervalMillis"),
        skip_shard_sync_if_leases_exist: settings
            .bool("skipShardSyncAtWorkerInitializationIfLeasesExist"),
        initialization_backoff: settings.millis("schedulerInitializationBackoffTimeMillis"),
        client_version: ClientVersionConfig::from_word(settings.word("clientVersionConfig")),
        force_client_version: settings.bool("forceClientVersionConfig"),
        migrate_to_lease_table: settings.bool("migrateAllEntitiesToLeaseTable"),
        migration_bake_time: settings.seconds("tableMigrationCompleteBakeTimeSeconds"),
    }
}

fn utilisation(settings: &Settings) -> UtilisationConfig {
    UtilisationConfig {
        capture_interval: settings.millis("inMemoryWorkerMetricsCaptureFrequencyMillis"),
        report_interval: settings.millis("workerMetricsReporterFreqInMillis"),
        persisted_values: settings.u32("noOfPersistedMetricsPerWorkerMetrics"),
        disabled: settings.bool("disableWorkerMetrics"),
        max_throughput_kbps: settings
            .float("maxThroughputPerHostKBps")
            .unwrap_or(f64::INFINITY),
        dampening_percentage: settings.u32("dampeningPercentage"),
        rebalance_threshold_percentage: settings.u32("reBalanceThresholdPercentage"),
        allow_throughput_overshoot: settings.bool("allowThroughputOvershoot"),
        balancing_frequency: settings.u32("varianceBalancingFrequency"),
        ema_alpha: settings.float("workerMetricsEMAAlpha").unwrap_or_default(),
        stale_entry_age: settings.duration("staleWorkerMetricsEntryCleanupDuration"),
    }
}

fn metadata_table(
    settings: &Settings,
    prefix: &str,
    application: &str,
    suffix: &str,
) -> MetadataTable {
    let key = |leaf: &str| format!("{prefix}{leaf}");
    let capacities = (
        settings.u64(&key("ReadCapacity")),
        settings.u64(&key("WriteCapacity")),
    );
    let provisioned = settings.word(&key("BillingMode")) == "PROVISIONED";
    MetadataTable {
        name: settings
            .text(&key("TableName"))
            .unwrap_or_else(|| format!("{application}-{suffix}")),
        // `checks::others` warns when a capacity is missing.
        provisioned: Some(capacities)
            .filter(|(read, write)| provisioned && *read > 0 && *write > 0),
        point_in_time_recovery: settings.bool(&key("PointInTimeRecoveryEnabled")),
        deletion_protection: settings.bool(&key("DeletionProtectionEnabled")),
        tags: settings.tags(&key("Tags")),
    }
}

fn dimensions(names: &[String]) -> Dimensions {
    let has = |wanted: &str| names.iter().any(|name| name == wanted || name == "ALL");
    Dimensions {
        shard_id: has("ShardId"),
        worker_identifier: has("WorkerIdentifier"),
    }
}

fn managed(settings: &Settings) -> ManagedConfig {
    ManagedConfig {
        checkpoint: ManagedCheckpoint::from_word(settings.word("managed.checkpoint")),
        interval: settings.millis("managed.intervalMillis"),
        records: Some(settings.u64("managed.records")).filter(|n| *n > 0),
        retries: settings
            .int("managed.retries")
            .map(|_| settings.u32("managed.retries")),
        backoff: settings.millis("managed.backoffMillis"),
        batch_timeout: Some(settings.seconds("managed.batchTimeoutSeconds"))
            .filter(|d| !d.is_zero()),
        batch_retries: settings.u32("managed.batchRetries"),
        on_poison: OnPoison::from_word(settings.word("managed.onPoison")),
        tolerance: settings.u32("managed.tolerance"),
        dead_letter_file: settings.text("managed.deadLetterFile"),
        start_jitter: settings.seconds("managed.startJitterSeconds"),
    }
}

fn local(settings: &Settings) -> LocalConfig {
    LocalConfig {
        enabled: settings.bool("local"),
        shards: settings.u32("localShards"),
        generate: settings.float("localGenerate").filter(|rate| *rate > 0.0),
        input: settings.text("localInput"),
    }
}

fn credentials(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    local: bool,
    findings: &mut Findings,
) -> Credentials {
    let chain = |key: &str| {
        let chain = settings.providers(key)?;
        Some(match environment.get("CUSTOM_PREFIX").map(|p| p.trim()) {
            Some(prefix) if !prefix.is_empty() => chain.with_custom_prefix(prefix),
            _ => chain,
        })
    };
    let kinesis = chain("AwsCredentialsProvider");
    // A key that is there but wrong has its error already.
    let is_wrong = findings.has_error_for(&["AwsCredentialsProvider"]);
    if kinesis.is_none() && !local && !is_wrong {
        findings.notices.info(
            None,
            "AwsCredentialsProvider is not set, so credentials come from the SDK's default chain; Java requires the key",
        );
    }
    let kinesis = kinesis.unwrap_or_else(ProviderChain::sdk_default);
    Credentials {
        dynamodb: chain("AwsCredentialsProviderDynamoDB").unwrap_or_else(|| kinesis.clone()),
        cloudwatch: chain("AwsCredentialsProviderCloudWatch").unwrap_or_else(|| kinesis.clone()),
        kinesis,
    }
}

/// All keys as `check` lists them; defaults that depend on other keys are filled in.
fn effective_values(settings: &mut Settings, config: &DaemonConfig) -> Vec<EffectiveValue> {
    let interval = i64::try_from(config.leases.assignment_interval.as_millis()).unwrap_or(i64::MAX);
    for (key, value) in [
        (
            "tableName",
            Value::Text(config.identity.lease_table.clone()),
        ),
        (
            "streamName",
            Value::Text(config.identity.stream.name.clone()),
        ),
        (
            "fanoutConfig.consumerName",
            Value::Text(config.retrieval.fanout.consumer_name.clone()),
        ),
        (
            "workerMetricsTableName",
            Value::Text(config.worker_metrics_table.name.clone()),
        ),
        (
            "coordinatorStateTableName",
            Value::Text(config.coordinator_state_table.name.clone()),
        ),
        ("leaseAssignmentIntervalMillis", Value::Int(interval)),
        (
            "AwsCredentialsProvider",
            Value::Credentials(config.credentials.kinesis.clone()),
        ),
        (
            "AwsCredentialsProviderDynamoDB",
            Value::Credentials(config.credentials.dynamodb.clone()),
        ),
        (
            "AwsCredentialsProviderCloudWatch",
            Value::Credentials(config.credentials.cloudwatch.clone()),
        ),
    ] {
        settings.fill(key, value, Origin::Default);
    }
    settings
        .iter()
        .map(|setting| EffectiveValue {
            key: setting.spec.name,
            value: setting.value.as_ref().map(ToString::to_string),
            origin: setting.origin.clone(),
        })
        .collect()
}

//! The table is consistent with itself, with the types that come of it and with `properties.md`.

use super::*;
use crate::config::value;
use crate::config::words as types;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn no_name_means_two_things() {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for spec in all() {
        let mut names = vec![spec.name.to_owned()];
        names.extend(
            spec.aliases
                .iter()
                .filter(|a| a.kind != AliasKind::SylviteOnly)
                .map(|a| a.name.to_owned()),
        );
        if !spec.bean.is_empty() {
            names.push(format!("{}.{}", spec.bean, spec.name));
        }
        for name in names {
            assert_eq!(seen.insert(name.clone(), spec.name), None, "{name} twice");
        }
    }
}

#[test]
fn every_key_can_be_set_by_its_own_environment_variable() {
    let mut seen = BTreeMap::new();
    for spec in all() {
        let squeezed = spec.name.replace('.', "").to_ascii_lowercase();
        assert_eq!(
            seen.insert(squeezed.clone(), spec.name),
            None,
            "{squeezed} is ambiguous"
        );
    }
}

#[test]
fn every_default_is_a_value_of_its_key() {
    for spec in all().filter(|spec| !spec.default.is_empty()) {
        let read = value::interpret(spec, spec.name, spec.default).unwrap();
        assert!(
            read.value.is_some() && read.warnings.is_empty(),
            "{}: {read:?}",
            spec.name
        );
    }
}

#[test]
fn every_key_is_explained() {
    for spec in all() {
        assert!(spec.effect.ends_with('.'), "{}", spec.name);
        assert!(!spec.required || (spec.default.is_empty() && spec.default_note.is_empty()));
        assert!(
            spec.java.is_empty() || spec.java.ends_with('.'),
            "{}",
            spec.name
        );
    }
}

#[test]
fn the_words_of_the_table_are_those_of_the_types() {
    fn check<T: Copy>(key: &str, all: &[T], text: fn(T) -> &'static str) {
        let ValueType::Word(words) = find(key).unwrap().value else {
            panic!("{key} has no words");
        };
        let of_type: BTreeSet<_> = all.iter().map(|v| text(*v)).collect();
        assert_eq!(of_type, words.iter().copied().collect(), "{key}");
    }
    use types::*;
    check(
        "childFailurePolicy",
        ChildFailurePolicy::ALL,
        ChildFailurePolicy::as_str,
    );
    check(
        "multilangProtocol",
        MultilangProtocol::ALL,
        MultilangProtocol::as_str,
    );
    check(
        "kplRangeFilter",
        KplRangeFilter::ALL,
        KplRangeFilter::as_str,
    );
    check(
        "clientVersionConfig",
        ClientVersionConfig::ALL,
        ClientVersionConfig::as_str,
    );
    check(
        "leaseAssignmentStrategy",
        LeaseAssignmentStrategy::ALL,
        LeaseAssignmentStrategy::as_str,
    );
    check("metricsLevel", MetricsLevel::ALL, MetricsLevel::as_str);
    check(
        "managed.checkpoint",
        ManagedCheckpoint::ALL,
        ManagedCheckpoint::as_str,
    );
    check("managed.onPoison", OnPoison::ALL, OnPoison::as_str);
}

/// Every key that the daemon of 3.5.1 accepts, and the names of 1.x: `properties.md` §5.1-§5.14,
/// §7.3.
const OF_JAVA: &str = "
    executableName processingLanguage maxActiveThreads timeoutInSeconds shutdownGraceMillis applicationName streamName
    streamArn tableName workerId workerIdentifier AwsCredentialsProvider AWSCredentialsProvider
    AwsCredentialsProviderDynamoDB AwsCredentialsProviderCloudWatch regionName kinesisEndpoint dynamoDBEndpoint
    initialPositionInStream initialPositionInStreamExtended retrievalMode maxRecords idleTimeBetweenReadsInMillis
    millisBehindLatestThresholdForReducedTps retryGetRecordsInSeconds maxGetRecordsThreadPool
    fanoutConfig.consumerArn fanoutConfig.consumerName fanoutConfig.maxDescribeStreamSummaryRetries
    fanoutConfig.maxDescribeStreamConsumerRetries fanoutConfig.registerStreamConsumerRetries
    fanoutConfig.retryBackoffMillis failoverTimeMillis leaseAssignmentIntervalMillis shardSyncIntervalMillis
    cleanupLeasesUponShardCompletion ignoreUnexpectedChildShards maxLeasesForWorker maxLeasesToStealAtOneTime
    enablePriorityLeaseAssignment initialLeaseTableReadCapacity initialLeaseTableWriteCapacity
    leaseTableDeletionProtectionEnabled leaseTablePitrEnabled leaseTableScanTotalSegments maxLeaseRenewalThreads
    listShardsBackoffTimeInMillis maxListShardsRetryAttempts parentShardPollIntervalMillis
    skipShardSyncAtWorkerInitializationIfLeasesExist schedulerInitializationBackoffTimeMillis shardPrioritization
    clientVersionConfig migrateAllEntitiesToLeaseTable tableMigrationCompleteBakeTimeSeconds
    isGracefulLeaseHandoffEnabled gracefulLeaseHandoffTimeoutMillis inMemoryWorkerMetricsCaptureFrequencyMillis
    workerMetricsReporterFreqInMillis noOfPersistedMetricsPerWorkerMetrics disableWorkerMetrics
    maxThroughputPerHostKBps dampeningPercentage reBalanceThresholdPercentage allowThroughputOvershoot
    varianceBalancingFrequency workerMetricsEMAAlpha staleWorkerMetricsEntryCleanupDuration workerMetricsTableName
    workerMetricsBillingMode workerMetricsReadCapacity workerMetricsWriteCapacity
    workerMetricsPointInTimeRecoveryEnabled workerMetricsDeletionProtectionEnabled workerMetricsTags
    coordinatorStateTableName coordinatorStateBillingMode coordinatorStateReadCapacity coordinatorStateWriteCapacity
    coordinatorStatePointInTimeRecoveryEnabled coordinatorStateDeletionProtectionEnabled coordinatorStateTags
    taskBackoffTimeMillis logWarningForTaskAfterMillis callProcessRecordsEvenForEmptyRecordList
    metricsBufferTimeMillis metricsMaxQueueSize metricsLevel metricsEnabledDimensions
    validateSequenceNumberBeforeCheckpointing timestampAtInitialPositionInStream userAgent
    skipShardSyncAtStartupIfLeasesExist shardPrioritizationStrategy shardSyncStrategyType dataFetchingStrategy
    maxPendingProcessRecordsInput maxCacheByteSize maxRecordsCount idleMillisBetweenCalls billingMode
    maxInitializationAttempts leaseCleanupIntervalMillis completedLeaseCleanupThresholdMillis
    garbageLeaseCleanupThresholdMillis leasesRecoveryAuditorExecutionFrequencyMillis
    leasesRecoveryAuditorInconsistencyConfidenceThreshold commonClientConfig kinesisClientConfig dynamoDBClientConfig
    cloudWatchClientConfig kinesisCredentialsProvider dynamoDBCredentialsProvider cloudWatchCredentialsProvider
    kinesisClient.region kinesisClient.endpointOverride kinesisClient.fipsEnabled kinesisClient.dualstackEnabled
    dynamoDbClient.region dynamoDbClient.endpointOverride dynamoDbClient.fipsEnabled dynamoDbClient.dualstackEnabled
    cloudWatchClient.region cloudWatchClient.endpointOverride cloudWatchClient.fipsEnabled
    cloudWatchClient.dualstackEnabled
    pollingConfig.maxRecords pollingConfig.idleTimeBetweenReadsInMillis
    gracefulLeaseHandoffConfigBean.isGracefulLeaseHandoffEnabled
    workerUtilizationAwareAssignmentConfigBean.dampeningPercentage workerMetricStatsTableConfigBean.workerMetricsTags
    coordinatorStateTableConfigBean.coordinatorStateTableName";

#[test]
fn every_key_of_java_is_known() {
    for name in OF_JAVA.split_whitespace() {
        assert!(resolve(name, false).is_some(), "{name}");
    }
}

#[test]
fn names_are_case_sensitive_except_the_credentials_prefix() {
    for (written, expected) in [
        ("awscredentialsprovider", Some("AwsCredentialsProvider")),
        (
            "AWSCREDENTIALSPROVIDERDynamoDB",
            Some("AwsCredentialsProviderDynamoDB"),
        ),
        ("AwsCredentialsProviderDynamodb", None),
        ("AwsCredentialsProviderFoo", None),
        ("MaxRecords", None),
        ("maxrecords", None),
        ("RetrievalMode", Some("retrievalMode")),
        ("fanoutConfig.maxRecords", None),
        ("pollingConfig.regionName", None),
        ("Äwscredentialsprovider", None),
    ] {
        assert_eq!(
            resolve(written, false).map(|(spec, _)| spec.name),
            expected,
            "{written}"
        );
    }
}

#[test]
fn sylvites_names_count_in_its_mode_only() {
    let name = |sylvite| {
        resolve("kinesisCredentialsProvider", sylvite)
            .unwrap()
            .0
            .name
    };
    assert_eq!(name(true), "AwsCredentialsProvider");
    assert_eq!(name(false), "kinesisCredentialsProvider");
}

#[test]
fn the_page_has_a_row_for_each_key_and_no_broken_row() {
    let page = render_markdown();
    for spec in all() {
        let start = format!("| `{}`", spec.name);
        let rows: Vec<_> = page
            .lines()
            .filter(|line| {
                line.starts_with(&start)
                    && matches!(line.as_bytes().get(start.len()), Some(b' ' | b'<'))
            })
            .collect();
        assert_eq!(rows.len(), 1, "{}", spec.name);
        assert_eq!(
            rows[0].replace("\\|", "").matches('|').count(),
            6,
            "{}",
            rows[0]
        );
    }
}

#[test]
fn secrets_are_known_by_their_name() {
    for (key, expected) in [
        ("AwsCredentialsProvider", true),
        ("aws_secret_access_key", true),
        ("dbPassword", true),
        ("sessionToken", true),
        ("streamName", false),
        ("maxRecords", false),
    ] {
        assert_eq!(looks_secret(key), expected, "{key}");
    }
}

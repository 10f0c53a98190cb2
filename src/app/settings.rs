//! From the configuration's words to the settings of the parts.

use multilang_protocol::{Dialect, DialectSetting};

use crate::config::{
    ChildFailurePolicy, ClientVersionConfig, DaemonConfig, KplRangeFilter, LeaseAssignmentStrategy,
    MultilangProtocol,
};
use crate::core::aggregate::RangeFilter;
use crate::core::assignment::problem::{self, Strategy};
use crate::core::assignment::taker::Limits;
use crate::core::consumer::FailurePolicy;
use crate::core::migration::client_version::Configured;
use crate::fetch::{ConsumerChoice, FetchSettings, PaceSettings, Prefetch, RegistrationSettings};
use crate::worker::consumer::ConsumerSettings;
use crate::worker::coordinator::LeaseSettings;
use crate::worker::joining::{JoinSettings, Wanted};
use crate::worker::reporter::ReportSettings;

/// Leases.
pub fn leases(config: &DaemonConfig) -> LeaseSettings {
    let leases = &config.leases;
    LeaseSettings {
        failover: leases.failover_time,
        hand_off_timeout: config.handoff.timeout,
        limits: Limits {
            max_leases: leases.max_leases_for_worker as usize,
            max_steals: leases.max_leases_to_steal as usize,
            very_old_first: leases.priority_assignment,
            count_finished: true,
        },
        initial_position: config.retrieval.initial_position,
        ignore_unexpected_children: leases.ignore_unexpected_child_shards,
        clean_up: leases.cleanup_on_completion,
        repair_at_start: !config.coordinator.skip_shard_sync_if_leases_exist,
        assignment_interval: leases.assignment_interval,
        balancing_frequency: config.utilisation.balancing_frequency,
        stale_metrics: config.utilisation.stale_entry_age,
        assignment: assignment(config),
        report: ReportSettings {
            sample_every: config.utilisation.capture_interval,
            report_every: config.utilisation.report_interval,
            keep: config.utilisation.persisted_values as usize,
            measure: !config.utilisation.disabled,
        },
    }
}

/// Versions and migrations.
pub fn joining(config: &DaemonConfig) -> JoinSettings {
    let coordinator = &config.coordinator;
    JoinSettings {
        wanted: match coordinator.client_version {
            ClientVersionConfig::Auto => Wanted::Auto,
            ClientVersionConfig::CompatibleWith2xPhase1 => Wanted::Explicit(Configured::Phase1),
            ClientVersionConfig::CompatibleWith2x => Wanted::Explicit(Configured::CompatibleWith2x),
            ClientVersionConfig::V3x => Wanted::Explicit(Configured::V3x),
        },
        force: coordinator.force_client_version,
        migrate: coordinator.migrate_to_lease_table,
        bake: coordinator.migration_bake_time,
        failover: leases(config).failover,
        report_interval: config.utilisation.report_interval,
    }
}

/// What a leader goes by.
fn assignment(config: &DaemonConfig) -> problem::Settings {
    let (leases, utilisation) = (&config.leases, &config.utilisation);
    problem::Settings {
        strategy: match leases.assignment_strategy {
            LeaseAssignmentStrategy::WorkerUtilizationAware => Strategy::WorkerUtilizationAware,
            LeaseAssignmentStrategy::LeaseCountBased => Strategy::LeaseCountBased,
        },
        failover: leases.failover_time,
        report_interval: utilisation.report_interval,
        max_leases: leases.max_leases_for_worker as usize,
        max_throughput_kbps: utilisation.max_throughput_kbps,
        dampening_percent: f64::from(utilisation.dampening_percentage),
        rebalance_threshold_percent: f64::from(utilisation.rebalance_threshold_percentage),
        allow_throughput_overshoot: utilisation.allow_throughput_overshoot,
        ema_alpha: utilisation.ema_alpha,
        graceful_hand_off: config.handoff.enabled,
        ..problem::Settings::default()
    }
}

/// Shard consumers.
pub fn consumers(config: &DaemonConfig) -> ConsumerSettings {
    let retrieval = &config.retrieval;
    let threshold = retrieval.polling.reduced_tps_threshold.unwrap_or_default();
    ConsumerSettings {
        failure_policy: match config.child.failure_policy {
            ChildFailurePolicy::Restart => FailurePolicy::RESTART,
            ChildFailurePolicy::Exit => FailurePolicy::Exit,
        },
        fetch: FetchSettings {
            max_records: retrieval.polling.max_records,
            pace: PaceSettings {
                idle: retrieval.polling.idle_time_between_reads,
                reduced_tps_threshold: i64::try_from(threshold.as_millis()).unwrap_or(i64::MAX),
            },
            prefetch: Prefetch {
                batches: retrieval.prefetch.max_batches as usize,
                records: retrieval.prefetch.max_records as usize,
                bytes: usize::try_from(retrieval.prefetch.max_bytes).unwrap_or(usize::MAX),
            },
            deliver_empty: config.child.call_with_empty_records,
            initial_position: retrieval.initial_position,
        },
        range_filter: match retrieval.kpl_range_filter {
            // Java's side effect of that key, which running files may rely on (`properties.md` §5.8).
            KplRangeFilter::Whole if config.coordinator.skip_shard_sync_if_leases_exist => {
                RangeFilter::Off
            }
            KplRangeFilter::Whole => RangeFilter::Whole,
            KplRangeFilter::Record => RangeFilter::Record,
            KplRangeFilter::Off => RangeFilter::Off,
        },
        parent_poll: config.coordinator.parent_shard_poll_interval,
        task_backoff: config.child.task_backoff,
        warn_task_after: config.child.warn_task_after,
    }
}

/// The consumer of enhanced fan-out.
pub fn registration(config: &DaemonConfig) -> RegistrationSettings {
    let fanout = &config.retrieval.fanout;
    RegistrationSettings {
        consumer: match &fanout.consumer_arn {
            Some(arn) => ConsumerChoice::Arn(arn.clone()),
            None => ConsumerChoice::Named(fanout.consumer_name.clone()),
        },
        stream_arn: match &config.identity.stream.arn {
            // The stream of `--local` has an ARN of its own.
            Some(arn) if !config.local.enabled => Some(arn.to_string()),
            _ => None,
        },
        summary_tries: fanout.describe_stream_summary_tries,
        describe_tries: fanout.describe_stream_consumer_tries,
        register_tries: fanout.register_stream_consumer_tries,
        pause: fanout.retry_backoff,
    }
}

/// The dialect spoken with children.
pub fn dialect(config: &DaemonConfig) -> DialectSetting {
    match config.child.protocol {
        MultilangProtocol::Auto => DialectSetting::Auto,
        MultilangProtocol::P0 => DialectSetting::Fixed(Dialect::P0),
        MultilangProtocol::P1 => DialectSetting::Fixed(Dialect::P1),
        MultilangProtocol::P2 => DialectSetting::Fixed(Dialect::P2),
    }
}

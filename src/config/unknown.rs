//! Keys that no row of the table knows: `properties.md` §2.1. Java ignores most of them silently and
//! stops at a few; here the former are warned of, with the name that was probably meant.

use super::keys;
use super::suggest::{did_you_mean, nearest};

/// What to do about an unknown key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Java starts; so do we, with this warning.
    Warn(String),
    /// No file with it ever started; the sentence says why.
    Refuse(String),
}

/// Configuration classes of KCL whose names people put before a flat key.
const WRONG_PREFIXES: [&str; 11] = [
    "leaseManagementConfig",
    "coordinatorConfig",
    "lifecycleConfig",
    "metricsConfig",
    "processorConfig",
    "retrievalConfig",
    "checkpointConfig",
    "gracefulLeaseHandoffConfig",
    "workerUtilizationAwareAssignmentConfig",
    "coordinatorStateTableConfig",
    "workerMetricsTableConfig",
];

const CLIENTS: [&str; 3] = ["kinesisClient", "dynamoDbClient", "cloudWatchClient"];

const BEANS: [&str; 6] = [
    "fanoutConfig",
    "pollingConfig",
    "gracefulLeaseHandoffConfigBean",
    "workerUtilizationAwareAssignmentConfigBean",
    "workerMetricStatsTableConfigBean",
    "coordinatorStateTableConfigBean",
];

/// Judges a key that `keys::resolve` does not know.
pub(super) fn judge(key: &str) -> Verdict {
    if let Some(problem) = index_problem(key) {
        return Verdict::Refuse(problem);
    }
    let no_effect = |why: &str| Verdict::Warn(format!("{key} has no effect: {why}"));
    if key.is_empty() {
        return Verdict::Warn("a line without a key has no effect".to_owned());
    }
    if key == "class" || key.starts_with("class.") {
        return no_effect("it is no property");
    }
    if CLIENTS.contains(&key) || BEANS.contains(&key) {
        return no_effect("it needs a name after a dot");
    }
    let Some((root, leaf)) = key.split_once('.') else {
        return Verdict::Warn(unknown(key, nearest_key(key)));
    };
    if matches!(
        root,
        "kinesisCredentialsProvider"
            | "dynamoDBCredentialsProvider"
            | "cloudWatchCredentialsProvider"
    ) {
        return Verdict::Refuse(format!(
            "{key}: providers cannot be built by properties of their classes (in Java it depends on chance whether \
             they can); write AwsCredentialsProvider = Name|argument instead"
        ));
    }
    if CLIENTS.contains(&root) {
        let known = [
            "region",
            "endpointOverride",
            "fipsEnabled",
            "dualstackEnabled",
        ];
        return Verdict::Warn(format!(
            "{key} has no effect; known after '{root}.' are {} (Java knows more and stops at what it does not know)",
            known.join(", ")
        ));
    }
    Verdict::Warn(unknown(
        key,
        flat_name(root, leaf).or_else(|| nearest_key(key)),
    ))
}

fn unknown(key: &str, meant: Option<&str>) -> String {
    format!(
        "{key} is not known and has no effect{}",
        did_you_mean(meant)
    )
}

/// Names that a key can be mistaken for: those that do something.
fn candidates() -> impl Iterator<Item = &'static str> {
    keys::all()
        .filter(|spec| spec.group != keys::Group::Past)
        .map(|spec| spec.name)
}

/// The nearest key, also when only the part after the dot was written (`consumerArn`).
pub(super) fn nearest_key(written: &str) -> Option<&'static str> {
    let by_leaf = || {
        candidates().find(|name| {
            name.strip_prefix("fanoutConfig.")
                .is_some_and(|leaf| leaf.eq_ignore_ascii_case(written))
        })
    };
    nearest(written, candidates()).or_else(by_leaf)
}

/// The flat key meant by a name of KCL's configuration classes.
fn flat_name(root: &str, leaf: &str) -> Option<&'static str> {
    let known_root = WRONG_PREFIXES
        .iter()
        .chain(&BEANS)
        .any(|p| p.eq_ignore_ascii_case(root));
    if !known_root {
        return None;
    }
    let table_prefix = match root {
        "coordinatorStateTableConfig" => "coordinatorState",
        "workerMetricsTableConfig" => "workerMetrics",
        _ => "",
    };
    let wanted = format!("{table_prefix}{leaf}");
    candidates()
        .find(|name| name.eq_ignore_ascii_case(&wanted))
        .or_else(|| nearest_key(&wanted))
        .or_else(|| nearest_key(leaf))
}

/// `key[1]`, `key(x)` and broken brackets: what Java refuses, and why.
fn index_problem(key: &str) -> Option<String> {
    let at = key.find(['[', '('])?;
    let (name, bracket) = key.split_at(at);
    let (close, is_index) = if bracket.starts_with('[') {
        (']', true)
    } else {
        (')', false)
    };
    let inner = bracket.get(1..)?.split_once(close).map(|(inner, _)| inner);
    let Some(inner) = inner else {
        return Some(format!(
            "{key} has an opening bracket without its end; no key has brackets"
        ));
    };
    if is_index && inner.parse::<u32>().is_err() {
        return Some(format!(
            "{key} has an index that is no number; no key takes an index"
        ));
    }
    keys::resolve(name, false).map(|(spec, _)| format!("{key}: {} takes no index", spec.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found() {
        for (key, meant) in [
            ("RegionName", Some("regionName")),
            ("DynamoDBEndpoint", Some("dynamoDBEndpoint")),
            ("dynamodbEndpoint", Some("dynamoDBEndpoint")),
            ("MaxRecords", Some("maxRecords")),
            (
                "fanoutconfig.consumerName",
                Some("fanoutConfig.consumerName"),
            ),
            ("consumerArn", Some("fanoutConfig.consumerArn")),
            (
                "leaseManagementConfig.failoverTimeMillis",
                Some("failoverTimeMillis"),
            ),
            (
                "leaseManagementConfig.failoverTimeMilis",
                Some("failoverTimeMillis"),
            ),
            (
                "coordinatorStateTableConfig.tableName",
                Some("coordinatorStateTableName"),
            ),
            (
                "workerMetricsTableConfig.billingMode",
                Some("workerMetricsBillingMode"),
            ),
            (
                "gracefulLeaseHandoffEnabled",
                Some("isGracefulLeaseHandoffEnabled"),
            ),
            (
                "gracefulLeaseHandoffConfig.isGracefulLeaseHandoffEnabled",
                Some("isGracefulLeaseHandoffEnabled"),
            ),
            (
                "listShardsBackoffTimeMillis",
                Some("listShardsBackoffTimeInMillis"),
            ),
            ("aplicationName", Some("applicationName")),
            (
                "fanoutConfig.consumerNam",
                Some("fanoutConfig.consumerName"),
            ),
            ("some.other.library", None),
            ("banana", None),
        ] {
            let Verdict::Warn(text) = judge(key) else {
                panic!("{key} should only be warned of");
            };
            match meant {
                Some(name) => assert!(text.ends_with(&format!("did you mean '{name}'?")), "{text}"),
                None => assert!(!text.contains("did you mean"), "{text}"),
            }
        }
    }

    #[test]
    fn what_java_refuses_is_refused() {
        for key in [
            "maxRecords[0]",
            "maxRecords[abc]",
            "foo[abc]",
            "foo[1",
            "foo(1",
            "metricsEnabledDimensions[0]",
            "kinesisCredentialsProvider.class",
        ] {
            assert!(matches!(judge(key), Verdict::Refuse(_)), "{key}");
        }
    }

    #[test]
    fn what_java_ignores_is_warned_of() {
        for key in [
            "foo[1]",
            "foo(x)",
            "class",
            "class.name",
            "kinesisClient",
            "fanoutConfig",
            "",
            "kinesisClient.unknown",
        ] {
            assert!(matches!(judge(key), Verdict::Warn(_)), "{key}");
        }
    }
}

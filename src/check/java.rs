//! What Java would have done with the same configuration. The sentences are those of the table of
//! keys; here stands when each of them applies.

use crate::config::keys::{self, Holding};
use crate::config::{EffectiveValue, Origin};

/// A key that Java treats otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// What Java does.
    pub java: &'static str,
}

/// When the table's sentence about Java is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Somebody set the key.
    Set,
    /// The key is absent.
    Absent,
    /// The key is absent or has this value.
    AbsentOr(&'static str),
    /// The effective value is this.
    Is(&'static str),
    /// The effective value is anything else.
    IsNot(&'static str),
    /// Never: it is about values that have an error or a notice of their own.
    Told,
}

/// Where it is not [`When::Set`].
const EXCEPTIONS: [(&str, When); 22] = [
    ("executableName", When::Told),
    ("streamName", When::Told),
    ("workerId", When::Absent),
    ("shutdownGraceMillis", When::AbsentOr("0")),
    ("childFailurePolicy", When::IsNot("exit")),
    ("AwsCredentialsProvider", When::Told),
    ("kinesisEndpoint", When::Told),
    ("dynamoDBEndpoint", When::Told),
    ("failoverTimeMillis", When::Told),
    ("maxLeasesForWorker", When::Told),
    ("cleanupLeasesUponShardCompletion", When::Is("false")),
    (
        "skipShardSyncAtWorkerInitializationIfLeasesExist",
        When::Is("true"),
    ),
    ("clientVersionConfig", When::Is("auto")),
    ("initialPositionInStream", When::Is("AT_TIMESTAMP")),
    ("retrievalMode", When::Told),
    ("maxRecords", When::Told),
    ("kplRangeFilter", When::IsNot("whole")),
    ("fanoutConfig.consumerName", When::Told),
    ("workerMetricsTableName", When::Told),
    ("coordinatorStateTableName", When::Told),
    ("workerMetricsTags", When::Told),
    ("coordinatorStateTags", When::Told),
];

/// What Java says to a key that it does not know.
const UNKNOWN: &str = "Does not know the key and ignores it silently.";

/// The differences that this configuration makes.
#[must_use]
pub fn differences(values: &[EffectiveValue]) -> Vec<Difference> {
    values
        .iter()
        .filter_map(|value| {
            let spec = keys::find(value.key)?;
            let is_set = value.origin.is_set();
            let is_ours = spec.holding == Holding::Ours || spec.since == "kcl-daemon";
            let java = match spec.java {
                "" if is_ours && is_set => UNKNOWN,
                "" => return None,
                java => java,
            };
            applies(value).then_some(Difference {
                key: spec.name,
                java,
            })
        })
        // What a flag says is not in the file that Java would read.
        .filter(|difference| !is_flag_of_ours(difference, values))
        .collect()
}

fn applies(value: &EffectiveValue) -> bool {
    let is_set = value.origin.is_set();
    let is = |wanted: &str| value.value.as_deref() == Some(wanted);
    let when = EXCEPTIONS
        .iter()
        .find(|(key, _)| *key == value.key)
        .map_or(When::Set, |(_, when)| *when);
    match when {
        When::Set => is_set,
        When::Absent => !is_set,
        When::AbsentOr(other) => !is_set || is(other),
        When::Is(wanted) => is(wanted),
        When::IsNot(other) => !is(other),
        When::Told => false,
    }
}

fn is_flag_of_ours(difference: &Difference, values: &[EffectiveValue]) -> bool {
    difference.java == UNKNOWN
        && values
            .iter()
            .find(|value| value.key == difference.key)
            .is_some_and(|value| matches!(value.origin, Origin::Flag(_) | Origin::Environment(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::with;

    fn keys_of(lines: &str) -> Vec<&'static str> {
        let mut keys: Vec<_> = differences(with(lines).values())
            .into_iter()
            .map(|difference| difference.key)
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Beyond what differs with any file.
    fn more(lines: &str) -> Vec<&'static str> {
        let usual = keys_of("");
        let mut keys = keys_of(lines);
        keys.retain(|key| !usual.contains(key));
        keys
    }

    #[test]
    fn what_differs_with_a_file_that_says_nothing() {
        assert_eq!(
            keys_of(""),
            [
                "childFailurePolicy",
                "clientVersionConfig",
                "shutdownGraceMillis",
                "workerId"
            ]
        );
    }

    #[test]
    fn a_sentence_is_told_when_it_applies() {
        for (line, expected) in [
            ("timeoutInSeconds = 60", vec!["timeoutInSeconds"]),
            (
                "cleanupLeasesUponShardCompletion = false",
                vec!["cleanupLeasesUponShardCompletion"],
            ),
            ("cleanupLeasesUponShardCompletion = true", vec![]),
            ("maxRecords = 100", vec![]),
            ("failoverTimeMillis = 20000", vec![]),
            ("kplRangeFilter = record", vec!["kplRangeFilter"]),
            ("local = true", vec!["local"]),
            ("prefetchBudgetBytes = 1000000", vec!["prefetchBudgetBytes"]),
            ("dynamoDBEndpoint = http://localhost:8000", vec![]),
            ("tableName = other", vec![]),
        ] {
            assert_eq!(more(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_set_as_java_has_it_is_no_difference() {
        let keys = keys_of(
            "workerId = w\nshutdownGraceMillis = 5000\nchildFailurePolicy = exit\nclientVersionConfig = CLIENT_VERSION_CONFIG_3X",
        );
        assert_eq!(keys, ["childFailurePolicy"][..0]);
        assert!(keys_of("shutdownGraceMillis = 0").contains(&"shutdownGraceMillis"));
    }

    #[test]
    fn every_exception_is_about_a_sentence_of_the_table() {
        for (key, _) in EXCEPTIONS {
            let spec = keys::find(key).unwrap_or_else(|| panic!("no key {key}"));
            assert!(
                !spec.java.is_empty(),
                "{key} has nothing to say about Java any more"
            );
        }
    }
}

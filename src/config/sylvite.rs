//! sylvite's look-up of properties in the environment: `properties.md` §13. Only in sylvite mode.

use std::collections::BTreeMap;

/// Values that sylvite sets beneath the file; its fork of KCL spoke the oldest dialect.
pub(super) const PRESETS: [(&str, &str); 3] = [
    (
        "AWSCredentialsProvider",
        "DefaultAWSCredentialsProviderChain",
    ),
    ("initialPositionInStream", "TRIM_HORIZON"),
    ("multilangProtocol", "p0"),
];

/// Names that are looked up, `awsCredentialsProvider` last because it overrides the other spelling.
/// `dynamoDBEndpoint` is ours: sylvite forgot it.
const NAMES: [&str; 40] = [
    "applicationName",
    "executableName",
    "processingLanguage",
    "maxActiveThreads",
    "workerId",
    "streamName",
    "callProcessRecordsEvenForEmptyRecordList",
    "cleanupLeasesUponShardCompletion",
    "cloudWatchClientConfig",
    "cloudWatchCredentialsProvider",
    "commonClientConfig",
    "dynamoDBClientConfig",
    "dynamoDBCredentialsProvider",
    "dynamoDBEndpoint",
    "failoverTimeMillis",
    "idleTimeBetweenReadsInMillis",
    "initialLeaseTableReadCapacity",
    "initialLeaseTableWriteCapacity",
    "initialPositionInStream",
    "kinesisClientConfig",
    "kinesisCredentialsProvider",
    "kinesisEndpoint",
    "maxLeasesForWorker",
    "maxLeasesToStealAtOneTime",
    "maxRecords",
    "metricsBufferTimeMillis",
    "metricsEnabledDimensions",
    "metricsLevel",
    "metricsMaxQueueSize",
    "parentShardPollIntervalMillis",
    "regionName",
    "shardPrioritizationStrategy",
    "shardSyncIntervalMillis",
    "tableName",
    "taskBackoffTimeMillis",
    "timestampAtInitialPositionInStream",
    "userAgent",
    "validateSequenceNumberBeforeCheckpointing",
    "AWSCredentialsProvider",
    "awsCredentialsProvider",
];

/// Where a spelling was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// `--spelling=value`.
    Argument(String),
    /// An environment variable of this name.
    Variable(String),
}

/// All properties that arguments (`--name=value`, without the dashes) or environment set, in the
/// order in which they are to be applied.
pub(super) fn look_up(
    arguments: &[(String, String)],
    environment: &BTreeMap<String, String>,
) -> Vec<(&'static str, String, Found)> {
    let mut hits = Vec::new();
    for name in NAMES {
        // The loop does not stop at the first hit: the last spelling wins.
        let hit = spellings(name)
            .into_iter()
            .filter_map(|spelling| find(&spelling, arguments, environment))
            .next_back();
        if let Some((value, found)) = hit {
            hits.push((name, value, found));
        }
    }
    hits
}

/// Whether sylvite looks a name up, in any of its spellings.
#[must_use]
pub fn is_looked_up(written: &str) -> bool {
    NAMES
        .iter()
        .any(|name| spellings(name).iter().any(|spelling| spelling == written))
}

fn find(
    spelling: &str,
    arguments: &[(String, String)],
    environment: &BTreeMap<String, String>,
) -> Option<(String, Found)> {
    let argument = arguments.iter().rev().find(|(name, _)| name == spelling);
    if let Some((name, value)) = argument {
        return Some((value.clone(), Found::Argument(name.clone())));
    }
    // Spring's environment also tries `.` and `-` as `_`, and capitals.
    let underscored = spelling.replace(['.', '-'], "_");
    let capitals = underscored.to_ascii_uppercase();
    [spelling, &underscored, &capitals]
        .into_iter()
        .find_map(|name| {
            let value = environment.get(name)?;
            Some((value.clone(), Found::Variable(name.to_owned())))
        })
}

/// Spring's relaxed spellings in look-up order, and last ours with `_` before each capital word.
fn spellings(name: &str) -> Vec<String> {
    let forms = [
        name.to_owned(),
        split_words(name, '_'),
        split_words(name, '-'),
    ];
    let lower = forms.iter().map(|form| form.to_ascii_lowercase());
    let upper = forms.iter().map(|form| form.to_ascii_uppercase());
    let mut all: Vec<String> = Vec::new();
    for spelling in forms
        .iter()
        .cloned()
        .chain(lower)
        .chain(upper)
        .chain([split_capitals(name)])
    {
        if !all.contains(&spelling) {
            all.push(spelling);
        }
    }
    all
}

/// Splits only between a character that is no capital (and no hyphen) and a capital, which becomes
/// small.
fn split_words(name: &str, separator: char) -> String {
    let mut out = String::new();
    let mut previous: Option<char> = None;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous.is_some_and(|p| !p.is_ascii_uppercase() && p != '-') {
            out.push(separator);
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(c);
        }
        previous = Some(c);
    }
    out
}

/// `dynamoDBEndpoint` → `DYNAMO_DB_ENDPOINT`, which Spring's rule does not give.
fn split_capitals(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && chars.get(i - 1).is_some_and(|p| !p.is_ascii_uppercase());
        let before_lower = i > 0 && chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase());
        if c.is_ascii_uppercase() && (after_lower || before_lower) {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_springs_in_its_order_and_then_ours() {
        for (name, expected) in [
            (
                "applicationName",
                "applicationName application_name application-name applicationname APPLICATIONNAME \
                 APPLICATION_NAME APPLICATION-NAME",
            ),
            (
                "awsCredentialsProvider",
                "awsCredentialsProvider aws_credentials_provider aws-credentials-provider awscredentialsprovider \
                 AWSCREDENTIALSPROVIDER AWS_CREDENTIALS_PROVIDER AWS-CREDENTIALS-PROVIDER",
            ),
            (
                "AWSCredentialsProvider",
                "AWSCredentialsProvider AWSCredentials_provider AWSCredentials-provider awscredentialsprovider \
                 awscredentials_provider awscredentials-provider AWSCREDENTIALSPROVIDER AWSCREDENTIALS_PROVIDER \
                 AWSCREDENTIALS-PROVIDER AWS_CREDENTIALS_PROVIDER",
            ),
        ] {
            assert_eq!(spellings(name).join(" "), expected);
        }
        let dynamo = spellings("dynamoDBEndpoint");
        assert!(dynamo.contains(&"DYNAMO_DBENDPOINT".to_owned()));
        assert_eq!(dynamo.last().unwrap(), "DYNAMO_DB_ENDPOINT");
    }

    fn one(
        arguments: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Vec<(&'static str, String)> {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        look_up(&arguments, &environment)
            .into_iter()
            .map(|(name, value, _)| (name, value))
            .collect()
    }

    #[test]
    fn the_last_spelling_wins_so_the_environment_beats_the_argument() {
        assert_eq!(
            one(&[("streamName", "a")], &[("STREAM_NAME", "b")]),
            [("streamName", "b".to_owned())]
        );
        assert_eq!(
            one(&[("stream-name", "a"), ("bogus", "x")], &[]),
            [("streamName", "a".to_owned())]
        );
        assert_eq!(
            one(&[("STREAM-NAME", "a")], &[("streamName", "b")]),
            [("streamName", "a".to_owned())]
        );
    }

    #[test]
    fn an_argument_beats_a_variable_of_the_same_spelling() {
        assert_eq!(
            one(&[("STREAM_NAME", "a")], &[("STREAM_NAME", "b")]),
            [("streamName", "b".to_owned())],
            "STREAM-NAME comes after STREAM_NAME and is found as the variable STREAM_NAME"
        );
        assert_eq!(
            one(&[("workerId", "a")], &[("workerId", "b")]),
            [("workerId", "a".to_owned())]
        );
    }

    #[test]
    fn the_small_spelling_of_the_credentials_comes_last() {
        let found = one(
            &[],
            &[
                ("aws_credentials_provider", "x"),
                ("AWSCredentialsProvider", "y"),
            ],
        );
        assert_eq!(
            found.last(),
            Some(&("awsCredentialsProvider", "x".to_owned()))
        );
    }
}

//! Checks that concern more than the form of one value: `properties.md` §2.4, §4, §5.2, §8.

use super::arn::StreamArn;
use super::daemon_config::{Identity, StreamIdentity};
use super::origin::{Findings, Origin};
use super::retrieval_mode::{self, ConfiguredMode, RetrievalChoice, RetrievalMode};
use super::settings::{Layer, Setting, Settings};
use super::value::{Value, shorten};
use crate::core::sequence::InitialPosition;
use std::time::Duration;

/// Keys whose presence selects polling (`properties.md` §8).
const POLLING_KEYS: [&str; 5] = [
    "maxRecords",
    "idleTimeBetweenReadsInMillis",
    "millisBehindLatestThresholdForReducedTps",
    "retryGetRecordsInSeconds",
    "maxGetRecordsThreadPool",
];

/// Names of items that KCL keeps in the lease table beside leases (`leases.md` A.5).
const RESERVED_WORKER_IDS: [&str; 3] = ["Leader", "Migration3.0", "TableMigration3.5"];

/// Most records of one GetRecords.
const MOST_RECORDS: u32 = 10_000;

/// A required key is not there; unless it is, with an error of its own.
fn missing(key: &str, message: &str, findings: &mut Findings) {
    if !findings.has_error_for(&[key]) {
        findings.error(None, key, message);
    }
}

fn origin_of<'a>(settings: &'a Settings, key: &str) -> Option<&'a Origin> {
    settings
        .get(key)
        .map(|setting| &setting.origin)
        .filter(|origin| origin.is_set())
}

/// Application, stream, lease table and worker.
pub(super) fn identity(settings: &Settings, findings: &mut Findings) -> Identity {
    let application_name = settings.text("applicationName").unwrap_or_default();
    if application_name.is_empty() {
        missing(
            "applicationName",
            "applicationName is missing: it names the lease table and the metrics, for example applicationName = orders",
            findings,
        );
    }
    let lease_table = settings
        .text("tableName")
        .unwrap_or_else(|| application_name.clone());
    if !lease_table.is_empty() && !is_aws_name(&lease_table, 3..=255) {
        let key = if settings.text("tableName").is_some() {
            "tableName"
        } else {
            "applicationName"
        };
        findings.error(
            origin_of(settings, key),
            key,
            format!(
                "{key} = '{}' cannot name a DynamoDB table: 3 to 255 letters, digits, '-', '_' and '.' can",
                shorten(&lease_table)
            ),
        );
    }
    let worker_id = settings.text("workerId");
    if let Some(reserved) = worker_id
        .as_deref()
        .filter(|id| RESERVED_WORKER_IDS.contains(id))
    {
        findings.error(
            origin_of(settings, "workerId"),
            "workerId",
            format!("workerId = '{reserved}' is the name of an item that KCL keeps in the lease table; choose another"),
        );
    }
    Identity {
        application_name,
        stream: stream(settings, findings),
        lease_table,
        worker_id,
    }
}

fn stream(settings: &Settings, findings: &mut Findings) -> StreamIdentity {
    let name = settings.text("streamName");
    let (name_origin, arn_origin) = (
        origin_of(settings, "streamName"),
        origin_of(settings, "streamArn"),
    );
    let layer = |key| {
        settings
            .get(key)
            .map_or(Layer::Default, |setting| setting.layer)
    };
    let mut arn_text = settings.text("streamArn");
    if let (Some(name), Some(_)) = (&name, &arn_text)
        && layer("streamName") > layer("streamArn").max(Layer::File)
    {
        findings.notices.warn(
            arn_origin,
            format!(
                "streamArn is not used: streamName = '{}' was given by {}",
                shorten(name),
                name_origin.map(ToString::to_string).unwrap_or_default()
            ),
        );
        arn_text = None;
    }
    let arn = match arn_text.as_deref().map(StreamArn::parse) {
        None => None,
        Some(Ok(arn)) => Some(arn),
        Some(Err(why)) => {
            findings.error(
                arn_origin,
                "streamArn",
                format!(
                    "streamArn = '{}' is not a stream's ARN: {why}",
                    shorten(arn_text.as_deref().unwrap_or_default())
                ),
            );
            return StreamIdentity {
                name: name.unwrap_or_default(),
                arn: None,
            };
        }
    };
    let from_arn = arn.as_ref().map(|arn| arn.stream_name.clone());
    if let (Some(name), Some(from_arn)) = (&name, &from_arn)
        && name != from_arn
    {
        findings.notices.warn(
            arn_origin,
            format!(
                "streamArn names the stream '{}' and streamName '{}': the ARN wins, as in Java; remove the one that is wrong",
                shorten(from_arn),
                shorten(name)
            ),
        );
    }
    if arn.as_ref().is_some_and(|arn| arn.consumer.is_some()) {
        findings.notices.warn(
            arn_origin,
            "streamArn is the ARN of a consumer, of which only the stream is used; fanoutConfig.consumerArn takes the whole",
        );
    }
    let (key, origin) = if from_arn.is_some() {
        ("streamArn", arn_origin)
    } else {
        ("streamName", name_origin)
    };
    let name = from_arn.or(name).unwrap_or_default();
    if name.is_empty() {
        missing(
            "streamName",
            "streamName (or streamArn) is missing: it names the stream to read, for example streamName = orders",
            findings,
        );
    } else if !is_aws_name(&name, 1..=128) {
        findings.error(
            origin,
            key,
            format!(
                "{key}: '{}' cannot name a Kinesis stream: up to 128 letters, digits, '-', '_' and '.' can",
                shorten(&name)
            ),
        );
    }
    StreamIdentity { name, arn }
}

fn is_aws_name(name: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The command line and its words, split at runs of U+0020 only (`protocol.md` §3).
pub(super) fn executable(settings: &Settings, findings: &mut Findings) -> (String, Vec<String>) {
    let Some(executable) = settings.text("executableName") else {
        missing(
            "executableName",
            "executableName is missing: it is the command line of the processor, for example executableName = python3 app.py",
            findings,
        );
        return (String::new(), Vec::new());
    };
    if executable.starts_with(' ') {
        findings.error(
            origin_of(settings, "executableName"),
            "executableName",
            "executableName begins with an escaped space, so that its first word is empty; remove the backslash",
        );
    }
    let argv = executable
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    (executable, argv)
}

/// `initialPositionInStream` and `initialPositionInStreamExtended`: of one layer the latter wins.
pub(super) fn initial_position(settings: &Settings, findings: &mut Findings) -> InitialPosition {
    let instant = settings
        .get("initialPositionInStreamExtended")
        .and_then(|setting| match setting.value {
            Some(Value::Instant(millis)) => Some((millis, setting)),
            _ => None,
        });
    let word = settings.word("initialPositionInStream");
    let plain_layer = settings
        .get("initialPositionInStream")
        .map_or(Layer::Default, |setting| setting.layer);
    let plain = match word {
        "TRIM_HORIZON" => InitialPosition::TrimHorizon,
        _ => InitialPosition::Latest,
    };
    match (instant, word) {
        (Some((millis, _)), "AT_TIMESTAMP") => InitialPosition::AtTimestamp(millis),
        (Some((_, extended)), _) if plain_layer > extended.layer => plain,
        (Some((millis, extended)), _) => {
            if plain_layer == extended.layer {
                findings.notices.warn(
                    origin_of(settings, "initialPositionInStream"),
                    format!(
                        "initialPositionInStream = {word} is not used: initialPositionInStreamExtended ({}) wins",
                        extended.origin
                    ),
                );
            }
            InitialPosition::AtTimestamp(millis)
        }
        (None, "AT_TIMESTAMP") => {
            let instant_is_wrong = findings.has_error_for(&[
                "initialPositionInStreamExtended",
                "timestampAtInitialPositionInStream",
            ]);
            if !instant_is_wrong {
                findings.error(
                    origin_of(settings, "initialPositionInStream"),
                    "initialPositionInStream",
                    "initialPositionInStream = AT_TIMESTAMP needs the instant too: initialPositionInStreamExtended = seconds \
                     since 1970, or ISO-8601 such as 2024-05-01T12:00:00Z",
                );
            }
            InitialPosition::Latest
        }
        (None, _) => plain,
    }
}

/// Polling or fan-out.
pub(super) fn retrieval_choice(settings: &Settings, consumer: &str) -> RetrievalChoice {
    let configured = match settings.word("retrievalMode") {
        "FANOUT" => ConfiguredMode::Fanout,
        "POLLING" => ConfiguredMode::Polling,
        _ => ConfiguredMode::Default,
    };
    let counts = |setting: &&Setting| {
        // A primitive 0 is "not set" in Java; it has become a default already, except where the
        // default itself is 0.
        let zero = setting.spec.default == "0" && setting.value == Some(Value::Int(0));
        setting.layer > Layer::Default && !zero
    };
    let keys: Vec<String> = POLLING_KEYS
        .iter()
        .filter_map(|key| settings.get(key))
        .filter(counts)
        .map(|setting| format!("{} ({})", setting.spec.name, setting.origin))
        .collect();
    retrieval_mode::choose(configured, &keys, consumer)
}

/// `maxRecords`: more than 10000 is an error when polling is chosen, and not used otherwise.
pub(super) fn max_records(
    settings: &Settings,
    choice: &RetrievalChoice,
    findings: &mut Findings,
) -> u32 {
    let wanted = settings.u32("maxRecords");
    if wanted > MOST_RECORDS && choice.mode == RetrievalMode::Polling {
        findings.error(
            origin_of(settings, "maxRecords"),
            "maxRecords",
            format!("maxRecords = {wanted} is more than Kinesis gives at a time: write at most {MOST_RECORDS}"),
        );
    }
    wanted.min(MOST_RECORDS)
}

/// The shortest life of a lease that this daemon can keep to: a renewal has a third of it.
const SHORTEST_FAILOVER: Duration = Duration::from_millis(300);

/// `failoverTimeMillis`, never too short to be kept to.
pub(super) fn failover_time(settings: &Settings, findings: &mut Findings) -> Duration {
    let wanted = settings.millis("failoverTimeMillis");
    if wanted < SHORTEST_FAILOVER {
        findings.notices.warn(
            origin_of(settings, "failoverTimeMillis"),
            format!(
                "failoverTimeMillis = {} is too short to renew a lease in; {} is used",
                wanted.as_millis(),
                SHORTEST_FAILOVER.as_millis()
            ),
        );
    }
    wanted.max(SHORTEST_FAILOVER)
}

/// Values that Java refuses or that cannot work together.
pub(super) fn others(settings: &Settings, findings: &mut Findings) {
    if settings.u32("maxLeaseRenewalThreads") == 1 {
        findings.notices.warn(
            origin_of(settings, "maxLeaseRenewalThreads"),
            "maxLeaseRenewalThreads = 1 works here; Java refuses to start with it",
        );
    }
    for prefix in ["workerMetrics", "coordinatorState"] {
        let billing = format!("{prefix}BillingMode");
        let capacities =
            ["ReadCapacity", "WriteCapacity"].map(|leaf| settings.u64(&format!("{prefix}{leaf}")));
        if settings.word(&billing) == "PROVISIONED" && capacities.contains(&0) {
            findings.notices.warn(
                origin_of(settings, &billing),
                format!(
                    "{billing} = PROVISIONED needs {prefix}ReadCapacity and {prefix}WriteCapacity; without them \
                     PAY_PER_REQUEST is used, Java fails when it creates the table"
                ),
            );
        }
    }
}

//! From a configuration to the part of the report that needs no service.

use crate::check::calls::{self, Size};
use crate::check::java;
use crate::check::report::{Effect, Problem, Report, SettingRow, Summary};
use crate::config::credentials::ProviderChain;
use crate::config::keys::{self, Status, ValueType};
use crate::config::retrieval_mode::RetrievalMode;
use crate::config::{ConfigErrors, DaemonConfig, Notices, ServiceEndpoint};
use crate::core::sequence::InitialPosition;

/// A file that cannot even be read.
#[must_use]
pub fn unreadable(file: &str, message: String) -> Report {
    Report {
        file: file.to_owned(),
        errors: vec![Problem {
            origin: None,
            key: None,
            message,
        }],
        ..Report::default()
    }
}

/// A configuration with errors.
#[must_use]
pub fn refused(file: &str, errors: &ConfigErrors) -> Report {
    Report {
        file: file.to_owned(),
        errors: errors
            .errors
            .iter()
            .map(|error| Problem {
                origin: error.origin.clone(),
                key: error.key.clone(),
                message: error.message.clone(),
            })
            .collect(),
        notices: errors.notices.iter().cloned().collect(),
        ..Report::default()
    }
}

/// A configuration that can be loaded. `executable` is the file that will be run, or why there is none.
#[must_use]
pub fn loaded(
    file: &str,
    config: &DaemonConfig,
    notices: &Notices,
    executable: Result<String, String>,
    size: Size,
) -> Report {
    let errors = match &executable {
        Ok(_) => Vec::new(),
        Err(message) => vec![Problem {
            origin: config.origin("executableName").cloned(),
            key: Some("executableName".to_owned()),
            message: message.clone(),
        }],
    };
    Report {
        file: file.to_owned(),
        errors,
        notices: notices.iter().cloned().collect(),
        summary: Some(summary(config, executable.ok())),
        settings: settings(config),
        java: java::differences(config.values()),
        steps: None,
        calls: Some(calls::expected(config, size)),
    }
}

fn settings(config: &DaemonConfig) -> Vec<SettingRow> {
    config
        .values()
        .iter()
        .filter_map(|value| {
            let spec = keys::find(value.key)?;
            // Providers are shown without their arguments; any other secret is not shown at all.
            let is_hidden = spec.is_secret() && spec.value != ValueType::Credentials;
            let shown = |text: &String| {
                if is_hidden {
                    "(not shown)".to_owned()
                } else {
                    text.clone()
                }
            };
            Some(SettingRow {
                key: spec.name,
                value: value.value.as_ref().map(shown),
                absent: spec.default_note,
                origin: value.origin.clone(),
                effect: match spec.status {
                    Status::Effective => Effect::Effective,
                    Status::OwnWay(how) => Effect::OwnWay(how),
                    Status::NoEffectInJava(why) => Effect::None(why),
                    Status::NotYet(what) => Effect::NotYet(what),
                },
            })
        })
        .collect()
}

fn summary(config: &DaemonConfig, executable_file: Option<String>) -> Summary {
    let identity = &config.identity;
    let choice = &config.retrieval.choice;
    Summary {
        application: identity.application_name.clone(),
        stream: identity.stream.name.clone(),
        stream_arn: identity.stream.arn.as_ref().map(ToString::to_string),
        lease_table: identity.lease_table.clone(),
        worker_id: identity.worker_id.clone().unwrap_or_else(|| {
            format!("<host>-{}, held by a lock file", identity.application_name)
        }),
        places: places(config),
        credentials: credentials(config),
        executable: config.child.executable.clone(),
        executable_file,
        retrieval: mode(choice.mode),
        retrieval_reason: choice.reason.clone(),
        initial_position: position(config.retrieval.initial_position),
    }
}

const fn mode(mode: RetrievalMode) -> &'static str {
    match mode {
        RetrievalMode::Polling => "polling",
        RetrievalMode::Fanout => "fan-out",
    }
}

fn position(position: InitialPosition) -> String {
    match position {
        InitialPosition::Latest => "LATEST".to_owned(),
        InitialPosition::TrimHorizon => "TRIM_HORIZON".to_owned(),
        InitialPosition::AtTimestamp(millis) => {
            let (seconds, rest) = (millis.div_euclid(1000), millis.rem_euclid(1000));
            match rest {
                0 => format!("AT_TIMESTAMP {seconds}"),
                rest => format!("AT_TIMESTAMP {seconds}.{rest:03}"),
            }
        }
    }
}

fn places(config: &DaemonConfig) -> Vec<(&'static str, String)> {
    if config.local.enabled {
        return vec![
            ("Kinesis", "embedded (--local)".to_owned()),
            ("DynamoDB", "embedded (--local)".to_owned()),
        ];
    }
    let place = |endpoint: &ServiceEndpoint| {
        let region = match &endpoint.region {
            Some(region) => format!("region {region}"),
            None => "region of the profile or the instance".to_owned(),
        };
        match &endpoint.endpoint {
            // A user in an endpoint would be a password as well.
            Some(endpoint) => format!("{region}, at {}", without_user(endpoint)),
            None => region,
        }
    };
    vec![
        ("Kinesis", place(&config.endpoints.kinesis)),
        ("DynamoDB", place(&config.endpoints.dynamodb)),
    ]
}

fn without_user(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

fn credentials(config: &DaemonConfig) -> Vec<(&'static str, String)> {
    let chains = &config.credentials;
    if config.local.enabled {
        return vec![("Kinesis", "none are needed (--local)".to_owned())];
    }
    let mut shown = vec![("Kinesis", chains.kinesis.to_string())];
    let mut add = |service, chain: &ProviderChain| {
        if *chain != chains.kinesis {
            shown.push((service, chain.to_string()));
        }
    };
    add("DynamoDB", &chains.dynamodb);
    add("CloudWatch", &chains.cloudwatch);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Verdict;
    use crate::check::testing::{MINIMAL, load};

    const SIZE: Size = Size {
        shards: 1,
        workers: 1,
        shards_known: false,
        workers_known: false,
        table_bytes: None,
    };

    fn report(lines: &str) -> Report {
        let (config, notices) = load(&format!("{MINIMAL}{lines}")).unwrap();
        loaded(
            "app.properties",
            &config,
            &notices,
            Ok("/bin/cat".to_owned()),
            SIZE,
        )
    }

    #[test]
    fn a_plain_file_is_clean() {
        let report = report("");
        assert_eq!(report.verdict(), Verdict::Clean, "{:?}", report.notices);
        let summary = report.summary.unwrap();
        assert_eq!(
            (summary.retrieval, summary.lease_table.as_str()),
            ("polling", "app")
        );
        assert_eq!(summary.places[0].1, "region eu-west-1");
        assert_eq!(report.settings.len(), keys::all().count());
    }

    #[test]
    fn an_unknown_key_is_a_warning() {
        assert_eq!(report("maxRecord = 5").verdict(), Verdict::Warnings);
    }

    #[test]
    fn a_missing_executable_is_an_error_at_its_line() {
        let (config, notices) = load(MINIMAL).unwrap();
        let report = loaded(
            "app.properties",
            &config,
            &notices,
            Err("it is not there".to_owned()),
            SIZE,
        );
        assert_eq!(report.verdict(), Verdict::Errors);
        let origin = report.errors[0].origin.as_ref().unwrap().to_string();
        assert_eq!(origin, "app.properties:1");
    }

    #[test]
    fn all_errors_are_reported() {
        let errors = load("retrievalMode = PUSH\nmetricsLevel = LOUD\n").unwrap_err();
        let report = refused("app.properties", &errors);
        assert!(report.errors.len() >= 4, "{:?}", report.errors);
        assert_eq!(report.verdict(), Verdict::Errors);
    }

    #[test]
    fn users_in_endpoints_and_secrets_are_not_shown() {
        let report = report(
            "kinesisEndpoint = http://user:hush@localhost:1\n\
             AwsCredentialsProviderDynamoDB = KclStsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/r|s|externalId=hush\n",
        );
        let all = format!("{report:?}");
        assert!(!all.contains("hush"), "{all}");
    }
}

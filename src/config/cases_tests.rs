//! The cases of `tests/cases/properties/*.json`.
//!
//! A case's `file` is laid before lines that make it a configuration that starts (`BASE`), without
//! those in `without` or set by the file itself. Its characters are ISO-8859-1 bytes. `java` says what
//! Java's daemon does, for the reader. What is expected of ours: `error` (each text in one error, no
//! other error), else `value` (text of a key, or of one of the derived names below) and `origin`;
//! `warn` and `info` (each text in one notice, and no other notice).

use super::super::*;
use super::BASE;
use serde_json::Value as Json;
use std::collections::BTreeMap;

const CASES: [(&str, &str); 9] = [
    (
        "reading",
        include_str!("../../tests/cases/properties/reading.json"),
    ),
    (
        "names",
        include_str!("../../tests/cases/properties/names.json"),
    ),
    (
        "conversions",
        include_str!("../../tests/cases/properties/conversions.json"),
    ),
    (
        "checks",
        include_str!("../../tests/cases/properties/checks.json"),
    ),
    (
        "keys",
        include_str!("../../tests/cases/properties/keys.json"),
    ),
    (
        "credentials",
        include_str!("../../tests/cases/properties/credentials.json"),
    ),
    (
        "endpoints",
        include_str!("../../tests/cases/properties/endpoints.json"),
    ),
    (
        "retrieval",
        include_str!("../../tests/cases/properties/retrieval.json"),
    ),
    (
        "overrides",
        include_str!("../../tests/cases/properties/overrides.json"),
    ),
];

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("a case's file has ISO-8859-1 characters only"))
        .collect()
}

fn strings(case: &Json, field: &str) -> Vec<String> {
    case[field]
        .as_array()
        .map(|list| {
            list.iter()
                .map(|s| s.as_str().unwrap().to_owned())
                .collect()
        })
        .unwrap_or_default()
}

fn map(case: &Json, field: &str) -> BTreeMap<String, Option<String>> {
    case[field]
        .as_object()
        .map(|object| {
            object
                .iter()
                .map(|(k, v)| (k.clone(), v.as_str().map(str::to_owned)))
                .collect()
        })
        .unwrap_or_default()
}

/// Values that are no key's own.
fn derived(config: &DaemonConfig, name: &str) -> Option<String> {
    let service = |name: &str| {
        let service = match name {
            "kinesis" => &config.endpoints.kinesis,
            "dynamodb" => &config.endpoints.dynamodb,
            "cloudwatch" => &config.endpoints.cloudwatch,
            "sts" => &config.endpoints.sts,
            _ => panic!("no service {name}"),
        };
        service.clone()
    };
    match name.split_once('.').unwrap_or((name, "")) {
        ("@argv", _) => Some(config.child.argv.join("|")),
        ("@timeout", _) => config.child.message_timeout.map(|d| format!("{d:?}")),
        ("@grace", _) => Some(format!(
            "{:?}/{:?}",
            config.child.shutdown_grace,
            config.child.grace()
        )),
        ("@stream", _) => Some(config.identity.stream.name.clone()),
        ("@arn", _) => config.identity.stream.arn.as_ref().map(ToString::to_string),
        ("@table", _) => Some(config.identity.lease_table.clone()),
        ("@worker", _) => config.identity.worker_id.clone(),
        ("@position", _) => Some(format!("{:?}", config.retrieval.initial_position)),
        ("@mode", _) => Some(format!("{:?}", config.retrieval.choice.mode)),
        ("@reason", _) => Some(config.retrieval.choice.reason.clone()),
        ("@polling", _) => Some(format!(
            "{} {:?} {:?}",
            config.retrieval.polling.max_records,
            config.retrieval.polling.idle_time_between_reads,
            config.retrieval.polling.reduced_tps_threshold
        )),
        ("@dimensions", _) => Some(format!(
            "{} {}",
            config.metrics.dimensions.shard_id, config.metrics.dimensions.worker_identifier
        )),
        ("@throughput", _) => Some(config.utilisation.max_throughput_kbps.to_string()),
        ("@segments", _) => config.leases.scan_segments.map(|n| n.to_string()),
        ("@failover", _) => Some(format!("{:?}", config.leases.failover_time)),
        ("@assignment", _) => Some(format!("{:?}", config.leases.assignment_interval)),
        ("@metricsTable", _) => Some(format!("{:?}", config.worker_metrics_table)),
        ("@credentials", "kinesis") => {
            Some(format!("{:?}", config.credentials.kinesis.providers()))
        }
        ("@credentials", "dynamodb") => {
            Some(format!("{:?}", config.credentials.dynamodb.providers()))
        }
        ("@credentials", "cloudwatch") => {
            Some(format!("{:?}", config.credentials.cloudwatch.providers()))
        }
        ("@region", name) => service(name).region,
        ("@endpoint", name) => service(name).endpoint,
        ("@fips", name) => service(name).fips.map(|b| b.to_string()),
        ("@dualstack", name) => service(name).dualstack.map(|b| b.to_string()),
        _ => panic!("no derived value {name}"),
    }
}

/// Notices of a severity; those about features that this build lacks are left out, as they go away
/// one by one.
fn told(notices: &Notices, severity: Severity) -> Vec<String> {
    notices
        .iter()
        .filter(|n| {
            n.severity == severity
                && !n.message.contains("has no effect yet in this build")
                && !n.message.contains("does this its own way")
        })
        .map(ToString::to_string)
        .collect()
}

/// Each expected text is in its own message, and there are no more messages.
fn compare(what: &str, expected: &[String], told: &[String]) -> Result<(), String> {
    let mut left: Vec<&String> = told.iter().collect();
    for text in expected {
        match left
            .iter()
            .position(|message| message.contains(text.as_str()))
        {
            Some(i) => {
                left.remove(i);
            }
            None => return Err(format!("no {what} with '{text}' in {told:#?}")),
        }
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("unexpected {what}: {left:#?}"))
    }
}

fn run(case: &Json) -> Result<(), String> {
    const FIELDS: [&str; 14] = [
        "name", "file", "without", "java", "error", "value", "origin", "warn", "info", "env",
        "flags", "sylvite", "nobase", "v1",
    ];
    let object = case.as_object().ok_or("a case is an object")?;
    if let Some(field) = object.keys().find(|k| !FIELDS.contains(&k.as_str())) {
        return Err(format!("unknown field {field}"));
    }
    let file = case["file"].as_str().unwrap_or_default();
    let without = strings(case, "without");
    let mut text = file.to_owned();
    text.push('\n');
    for (key, value) in BASE {
        let is_set = file
            .lines()
            .any(|line| line.trim_start().split([' ', '=', ':']).next() == Some(key));
        if !is_set && !without.iter().any(|k| k == key) && case["nobase"] != Json::Bool(true) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    let environment: BTreeMap<String, String> = map(case, "env")
        .into_iter()
        .map(|(k, v)| (k, v.unwrap_or_default()))
        .collect();
    let pairs = |field: &str| -> Vec<(String, String)> {
        strings(case, field)
            .iter()
            .map(|s| {
                let (key, value) = s.split_once('=').expect("key=value");
                (key.to_owned(), value.to_owned())
            })
            .collect()
    };
    let flags: Vec<Override> = pairs("flags")
        .into_iter()
        .map(|(key, value)| Override {
            flag: format!("-D {key}"),
            key,
            value,
        })
        .collect();
    let arguments = pairs("sylvite");
    let bytes = latin1(&text);
    let result = load(&Sources {
        file: Some(PropertiesFile {
            path: "f",
            bytes: &bytes,
        }),
        environment: &environment,
        flags: &flags,
        mode: if case["v1"] == Json::Bool(true) {
            Mode::KclV1
        } else if case["sylvite"].is_array() {
            Mode::Sylvite {
                arguments: &arguments,
            }
        } else {
            Mode::Daemon
        },
    });
    let errors = strings(case, "error");
    let notices = match result {
        Err(found) => {
            let messages: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            compare("error", &errors, &messages)?;
            if messages.is_empty() {
                return Err("refused without an error".to_owned());
            }
            found.notices
        }
        Ok((config, notices)) => {
            if !errors.is_empty() {
                return Err(format!("loaded, but expected were {errors:?}"));
            }
            for (key, expected) in map(case, "value") {
                let found = if key.starts_with('@') {
                    derived(&config, &key)
                } else {
                    let value = config.values().iter().find(|v| v.key == key);
                    value
                        .unwrap_or_else(|| panic!("no key {key}"))
                        .value
                        .clone()
                };
                let same = match (&key[..], &found, &expected) {
                    ("@reason", Some(found), Some(part)) => found.contains(part.as_str()),
                    _ => found == expected,
                };
                if !same {
                    return Err(format!("{key} is {found:?}, not {expected:?}"));
                }
            }
            for (key, expected) in map(case, "origin") {
                let found = config.origin(&key).map(ToString::to_string);
                if found != expected {
                    return Err(format!("{key} comes from {found:?}, not {expected:?}"));
                }
            }
            notices
        }
    };
    compare(
        "warning",
        &strings(case, "warn"),
        &told(&notices, Severity::Warn),
    )?;
    compare(
        "remark",
        &strings(case, "info"),
        &told(&notices, Severity::Info),
    )
}

#[test]
fn cases() {
    let mut failures = Vec::new();
    let mut count = 0;
    for (file, text) in CASES {
        let cases: Vec<Json> =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("{file}.json: {e}"));
        for case in &cases {
            count += 1;
            assert!(
                case["java"].is_string(),
                "{file}: {} does not say what Java does",
                case["name"]
            );
            if let Err(why) = run(case) {
                failures.push(format!("{file}.json, {}: {why}", case["name"]));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count >= 250, "only {count} cases");
}

/// Every row of `properties.md` that was observed has its cases, and the index names no other ones.
#[test]
fn the_index_names_cases_that_exist() {
    let names: Vec<String> = CASES
        .iter()
        .flat_map(|(file, text)| {
            let cases: Vec<Json> = serde_json::from_str(text).unwrap();
            cases
                .into_iter()
                .map(move |case| format!("{file}: {}", case["name"].as_str().unwrap()))
        })
        .collect();
    let mut twice = names.clone();
    twice.sort();
    twice.dedup();
    assert_eq!(twice.len(), names.len(), "two cases of one name");
    let index = include_str!("../../tests/cases/properties/README.md");
    let rows: Vec<&str> = index
        .lines()
        .filter(|line| line.starts_with("| §"))
        .collect();
    for section in [
        "§1 ", "§2.1 ", "§2.2 ", "§2.3 ", "§2.4 ", "§3 ", "§3.1 ", "§4 ", "§6 ", "§7.", "§8 ",
        "§13 ",
    ] {
        assert!(
            rows.iter()
                .any(|row| row.starts_with(&format!("| {section}"))),
            "no row of {section}"
        );
    }
    for row in rows {
        let row = row.replace("\\|", "|");
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no case in: {row}");
        for name in named {
            if let Some((file, function)) = name.split_once(".rs::") {
                let path =
                    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{file}.rs"));
                let code = std::fs::read_to_string(path).unwrap();
                assert!(code.contains(&format!("fn {function}(")), "no test {name}");
            } else {
                assert!(names.iter().any(|known| known == name), "no case {name}");
            }
        }
    }
}

//! What the table of keys says about effects is true: the field that a key fills is read where the
//! daemon is put together (`src/app`) if and only if the table calls the key effective.

use super::super::*;
use super::{BASE, another_value, load_bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Keys that act while the configuration is loaded.
const ACT_HERE: [&str; 1] = ["expandEnvironment"];

/// Fields that are not read by their own name, and what is read instead.
const READ_AS: [(&str, &str); 3] = [
    ("child.shutdown_grace", "child.grace()"),
    ("endpoints.kinesis", "&config.endpoints.kinesis,"),
    ("endpoints.dynamodb", "&config.endpoints.dynamodb,"),
];

/// Java's effect of a polling key beside its own: its presence chooses the mode.
const SIDE_EFFECT: &str = "retrieval.choice";

fn config_with(key: &str, value: &str) -> DaemonConfig {
    let mut file = format!("{key} = {value}\n");
    for (other, text) in BASE.iter().filter(|(other, _)| *other != key) {
        file.push_str(&format!("{other} = {text}\n"));
    }
    load_bytes(file.as_bytes(), &BTreeMap::new())
        .unwrap_or_else(|errors| panic!("{key}: {errors}"))
        .0
}

/// The fields of a configuration by their paths (`leases.failover_time`), each with its text.
fn fields(config: &DaemonConfig) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut path: Vec<String> = Vec::new();
    for line in format!("{config:#?}").lines() {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 4;
        path.truncate(depth.saturating_sub(1));
        if let Some((name, _)) = text.split_once(": ")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            path.push(name.to_owned());
        }
        if !path.is_empty() && path[0] != "values" {
            fields.entry(path.join(".")).or_default().push_str(text);
        }
    }
    fields
}

fn changed_fields(key: &str, value: &str) -> BTreeSet<String> {
    let before = fields(&config_with(BASE[0].0, BASE[0].1));
    let after = fields(&config_with(key, value));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect()
}

/// The code of `src/app`, without comments and without what only looks at a configuration.
fn wiring() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/app");
    let mut code = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let looks_only = path.ends_with("check.rs");
        if !looks_only && path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
                code.push_str(line.trim());
            }
        }
    }
    assert!(
        code.contains("config.identity"),
        "the sources were not found"
    );
    code
}

/// Whether a field is read: by its name behind that of its struct, or as `READ_AS` says.
fn is_read(code: &str, path: &str) -> bool {
    let instead = READ_AS
        .iter()
        .any(|(field, text)| path.starts_with(field) && code.contains(text));
    let segments: Vec<&str> = path.split('.').collect();
    let Some(at) = segments.len().checked_sub(2) else {
        return false;
    };
    let wanted = segments[at..].join(".");
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let own = code
        .match_indices(&wanted)
        .any(|(at, found)| ends(&code[at + found.len()..]));
    instead || own
}

#[test]
fn keys_are_effective_exactly_when_their_fields_are_read() {
    let code = wiring();
    let mut wrong = Vec::new();
    for spec in keys::all().filter(|spec| !ACT_HERE.contains(&spec.name)) {
        let value = match spec.name {
            // The other word needs a second key.
            "initialPositionInStream" => "TRIM_HORIZON",
            // The base has POLLING.
            "retrievalMode" => "FANOUT",
            "regionName" => "us-east-2",
            _ => another_value(spec),
        };
        let changed = changed_fields(spec.name, value);
        let read: Vec<&String> = changed.iter().filter(|path| is_read(&code, path)).collect();
        if spec.status == keys::Status::Effective {
            if read.is_empty() {
                wrong.push(format!(
                    "{} counts as effective, but nobody reads {changed:?}",
                    spec.name
                ));
            }
        } else if let Some(path) = read.iter().find(|path| !path.starts_with(SIDE_EFFECT)) {
            wrong.push(format!(
                "{} counts as {:?}, but {path} is read",
                spec.name, spec.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The test above would say nothing if it found no fields, or found every field read.
#[test]
fn fields_and_their_readers_are_found() {
    let code = wiring();
    let changed = changed_fields("maxRecords", "77");
    assert!(
        changed.contains("retrieval.polling.max_records"),
        "{changed:?}"
    );
    assert!(is_read(&code, "retrieval.polling.max_records"));
    assert!(!is_read(&code, "retrieval.polling.max_record"));
    assert!(!is_read(&code, "retrieval.polling.nothing_of_the_kind"));
}

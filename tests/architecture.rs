//! The ring rule of `src/lib.rs`, held by reading what each file uses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the crate may use besides itself.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    let os: &[&str] = &["core", "ports", "os"];
    BTreeMap::from([
        ("core", &[] as &[&str]),
        ("ports", &["core"]),
        ("os", &["core", "ports"]),
        ("config", &["core"]),
        ("observe", os),
        ("fetch", os),
        ("child", os),
        ("local", os),
        ("aws", &["core", "ports", "os", "config"]),
        ("worker", &["core", "ports", "os", "fetch"]),
        ("check", &["core", "ports", "os", "config", "aws"]),
        (
            "app",
            &[
                "core", "ports", "os", "config", "observe", "fetch", "child", "local", "aws",
                "worker", "check",
            ],
        ),
        (
            "cli",
            &[
                "app", "check", "config", "observe", "os", "ports", "core", "local",
            ],
        ),
        ("main", &["cli", "os"]),
        ("lib", &[]),
    ])
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Files with their module and their code, comments and strings of documentation left out.
fn files() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().display().to_string();
            let module = relative
                .split(['/', '.'])
                .next()
                .unwrap_or_default()
                .to_owned();
            let code: String = fs::read_to_string(&path)
                .unwrap()
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            (relative, module, code)
        })
        .collect()
}

#[test]
fn code_points_inward_only() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() > 50, "the sources were not found");
    for (file, module, code) in &files {
        let may = allowed
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{file}: the module '{module}' has no place in the rings"));
        for prefix in ["crate::", "kcl_daemon::"] {
            for (at, _) in code.match_indices(prefix) {
                let used: String = code[at + prefix.len()..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let known = allowed.contains_key(used.as_str());
                if known && used != *module && !may.contains(&used.as_str()) {
                    wrong.push(format!("{file} uses {used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_core_is_pure() {
    const FOREIGN: [&str; 9] = [
        "tokio",
        "aws_sdk",
        "std::time::Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::env",
        "async fn",
        ".await",
    ];
    for (file, module, code) in files() {
        if module == "core" {
            for word in FOREIGN {
                assert!(!code.contains(word), "{file} mentions {word}");
            }
        }
    }
}

#[test]
fn aws_types_stay_in_their_place() {
    for (file, module, code) in files() {
        let allowed = match module.as_str() {
            "aws" => true,
            // The embedded services implement the SDK's HTTP client and frame events with its library, and
            // `app` hands the client over.
            "local" => matches!(
                file.as_str(),
                "local/http_client.rs" | "local/event_stream.rs"
            ),
            "app" => file == "app/wiring.rs",
            _ => false,
        };
        if !allowed {
            for word in [
                "aws_sdk_",
                "aws_smithy_types::",
                "aws_smithy_runtime_api::",
                "aws_config::",
                "aws_credential_types::",
            ] {
                assert!(!code.contains(word), "{file} mentions {word}");
            }
        }
    }
}

#[test]
fn clippy_bans_ambient_effects_and_only_os_lifts_the_ban() {
    let config =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("clippy.toml")).unwrap();
    for banned in [
        "Instant::now",
        "SystemTime::now",
        "tokio::spawn",
        "std::env::var",
        "Command::new",
    ] {
        assert!(config.contains(banned), "clippy.toml does not ban {banned}");
    }
    for (file, module, code) in files() {
        if module != "os" {
            assert!(
                !code.contains("clippy::disallowed_methods"),
                "{file} lifts the ban on ambient effects"
            );
        }
    }
}

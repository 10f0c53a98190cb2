//! The samples of `sample-processors`, each with its own properties file.

use std::process::Stdio;
use std::time::Duration;

use crate::lives::{Source, Style};
use crate::scenario::{self, Client, Program, Speaks};
use crate::support::properties::Endpoints;
use crate::support::{Daemon, Properties, Sandbox, skipped};
use crate::{AMAZON_KCLPY_3, AWS_KCL_2, tools};

/// What a sample needs beside its files.
#[derive(Default)]
struct Needs {
    environment: Vec<(&'static str, String)>,
    /// In place of the `executableName` of its file.
    executable: Option<String>,
}

/// Nothing.
fn nothing() -> Result<Needs, String> {
    Ok(Needs::default())
}

fn python3() -> Result<Needs, String> {
    tools::python3().map(|_| Needs::default())
}

fn amazon_kclpy() -> Result<Needs, String> {
    let modules = tools::python_modules(&AMAZON_KCLPY_3)?;
    Ok(Needs {
        environment: vec![("PYTHONPATH", modules.display().to_string())],
        ..Needs::default()
    })
}

fn aws_kcl() -> Result<Needs, String> {
    let node = tools::node()?;
    let modules = node.package("aws-kcl", AWS_KCL_2)?;
    Ok(Needs {
        environment: vec![
            ("NODE_PATH", modules.display().to_string()),
            ("PATH", node.path()),
        ],
        ..Needs::default()
    })
}

fn aws_kclrb() -> Result<Needs, String> {
    let (_, gems) = tools::gem("aws-kclrb")?;
    Ok(Needs {
        environment: vec![("GEM_PATH", gems.display().to_string())],
        ..Needs::default()
    })
}

/// Its file names the release build, which tests do not make.
fn rust() -> Result<Needs, String> {
    let built = tools::rust_sample()?;
    assert!(
        scenario::sample_property("rust", "executableName").ends_with("/examples/rust_processor")
    );
    Ok(Needs {
        executable: Some(built.display().to_string()),
        ..Needs::default()
    })
}

/// The whole scenario, on services of their own.
fn sample(folder: &'static str, style: Style, needs: Result<Needs, String>) {
    let Some(needs) = have(folder, needs) else {
        return;
    };
    let sandbox = Sandbox::new(folder);
    let client = Client {
        program: Program::Sample(folder, needs.executable),
        environment: needs.environment,
        source: Source::Printed(sandbox.path().join("printed"), style),
        speaks: Speaks::P2,
    };
    scenario::run(&client, &sandbox);
}

/// `--local` with the file as it is: what its first line tells people to run. `said` is in the log when a
/// record was processed, `end` when the sample was asked to stop.
fn local(folder: &'static str, needs: Result<Needs, String>, said: &str, end: &str) {
    let Some(needs) = have(folder, needs) else {
        return;
    };
    let sandbox = Sandbox::new(folder);
    let nowhere = Endpoints {
        kinesis: String::new(),
        dynamodb: String::new(),
    };
    let mut properties = Properties::new(&nowhere, "", "", "")
        .environment("PYTHONDONTWRITEBYTECODE", "1")
        .environment("AWS_ACCESS_KEY_ID", "")
        .environment("AWS_SECRET_ACCESS_KEY", "");
    for (name, value) in &needs.environment {
        properties = properties.environment(name, value);
    }
    let file = scenario::sample_file(folder);
    let mut arguments = vec![
        "--local",
        "--local-generate",
        "5",
        "--properties",
        file.to_str().expect("UTF-8"),
    ];
    let define = needs
        .executable
        .map(|executable| format!("executableName={executable}"));
    if let Some(define) = &define {
        arguments.extend(["-D", define]);
    }
    let mut daemon = Daemon::run(&sandbox, &properties, &arguments, Stdio::null());
    daemon.wait_log(said, Duration::from_secs(60));
    daemon.stop_gracefully();
    daemon.wait_log(end, Duration::from_secs(1));
    let log = daemon.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

fn have(folder: &str, needs: Result<Needs, String>) -> Option<Needs> {
    needs
        .map_err(|why| skipped(&format!("sample-processors/{folder}"), &why))
        .ok()
}

const RECORD: &str = "of kcl-daemon --local";
const ASKED: &str = ": asked to stop";

#[test]
fn python() {
    sample("python", Style::Records, python3());
}

#[test]
fn python_kclpy() {
    sample("python-kclpy", Style::Records, amazon_kclpy());
}

#[test]
fn python_kclpy_locally() {
    local("python-kclpy", amazon_kclpy(), RECORD, ASKED);
}

#[test]
fn node() {
    sample("node", Style::Records, aws_kcl());
}

#[test]
fn node_locally() {
    local("node", aws_kcl(), RECORD, ASKED);
}

#[test]
fn ruby() {
    sample("ruby", Style::Records, aws_kclrb());
}

#[test]
fn ruby_locally() {
    local("ruby", aws_kclrb(), RECORD, ASKED);
}

#[test]
fn rust_with_our_crate() {
    sample("rust", Style::Counts, rust());
}

#[test]
fn rust_with_our_crate_locally() {
    local("rust", rust(), "records,", ASKED);
}

#[test]
fn shell() {
    sample("shell", Style::Messages, nothing());
}

#[test]
fn shell_locally() {
    local(
        "shell",
        nothing(),
        r#"{"action":"processRecords""#,
        r#"{"action":"shutdownRequested"}"#,
    );
}

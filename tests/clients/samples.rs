//! The samples of `sample-processors`, each with its own properties file, and those that the client
//! libraries ship.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::lives::{Source, Style};
use crate::scenario::{self, Client, Program, Speaks};
use crate::support::properties::Endpoints;
use crate::support::recorder::python as python_program;
use crate::support::until;
use crate::support::{Daemon, Properties, Sandbox, skipped};
use crate::tools::Sdist;
use crate::{AMAZON_KCLPY_1, AMAZON_KCLPY_2, AMAZON_KCLPY_3, AWS_KCL_2, tools};

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
    let mut daemon = run_locally(&sandbox, &properties, &file, needs.executable.as_deref());
    daemon.wait_log(said, Duration::from_secs(60));
    daemon.stop_gracefully();
    daemon.wait_log(end, Duration::from_secs(1));
    let log = daemon.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

/// `--local` with a file as it is, but for the executable.
fn run_locally(
    sandbox: &Sandbox,
    properties: &Properties,
    file: &Path,
    executable: Option<&str>,
) -> Daemon {
    let mut arguments = vec![
        "--local",
        "--local-generate",
        "5",
        "--properties",
        file.to_str().expect("UTF-8"),
    ];
    let define = executable.map(|executable| format!("executableName={executable}"));
    if let Some(define) = &define {
        arguments.extend(["-D", define]);
    }
    Daemon::run(sandbox, properties, &arguments, Stdio::null())
}

/// The sample that a published library ships: its own file, unedited, with its own program, under
/// `--local`. It runs for a while without a child that fails; warnings are only those expected.
fn shipped(name: &str, needs: Result<Shipped, String>, expected: &[&str]) {
    let Ok(shipped) = needs.map_err(|why| skipped(&format!("the sample of {name}"), &why)) else {
        return;
    };
    let sandbox = Sandbox::new("shipped");
    let nowhere = Endpoints {
        kinesis: String::new(),
        dynamodb: String::new(),
    };
    let mut properties = Properties::new(&nowhere, "", "", "")
        .environment("PYTHONDONTWRITEBYTECODE", "1")
        .without_environment("AWS_ACCESS_KEY_ID")
        .without_environment("AWS_SECRET_ACCESS_KEY");
    for (name, value) in &shipped.environment {
        properties = properties.environment(name, value);
    }
    let mut daemon = run_locally(
        &sandbox,
        &properties,
        &shipped.file,
        Some(&shipped.executable),
    );
    daemon.wait_log("the lease shard=", Duration::from_secs(60));
    // The samples write no line ends, so that what they say is logged at their end only.
    until("a record is processed", Duration::from_secs(60), || {
        daemon.signal(Signal::QUIT);
        std::thread::sleep(Duration::from_millis(200));
        daemon.log().lines().any(|line| {
            line.split_once("records=")
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| ('1'..='9').contains(&c)))
        })
    });
    daemon.stop_gracefully();
    let log = daemon.log();
    assert!(log.contains(shipped.said), "{log}");
    let problems: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .filter(|line| !expected.iter().any(|text| line.contains(text)))
        .collect();
    assert!(problems.is_empty(), "{problems:#?} in:\n{log}");
    for text in expected {
        assert!(log.contains(text), "{text:?} is not said in:\n{log}");
    }
}

/// A sample with its program.
struct Shipped {
    file: PathBuf,
    executable: String,
    environment: Vec<(&'static str, String)>,
    /// In the log once a record was processed and the program has ended.
    said: &'static str,
}

/// What the samples of 2.x and 3.x print of each record; that of 1.x prints nothing.
const EACH_RECORD: &str = "Record (Partition Key: ";

fn of_amazon_kclpy(sdist: &Sdist, said: &'static str) -> Result<Shipped, String> {
    let modules = tools::python_modules(sdist)?;
    let samples = modules.join("samples");
    Ok(Shipped {
        file: samples.join("sample.properties"),
        executable: format!(
            "{} {}",
            python_program().display(),
            samples.join("sample_kclpy_app.py").display()
        ),
        environment: vec![("PYTHONPATH", modules.display().to_string())],
        said,
    })
}

fn of_aws_kclrb() -> Result<Shipped, String> {
    let (ruby, gems) = tools::gem("aws-kclrb")?;
    let installed = std::fs::read_dir(gems.join("gems")).map_err(|error| error.to_string())?;
    let samples = installed
        .flatten()
        .map(|entry| entry.path().join("samples"))
        .find(|samples| samples.join("sample.properties").exists())
        .ok_or("the gem ships no sample")?;
    Ok(Shipped {
        file: samples.join("sample.properties"),
        executable: format!(
            "{} {}",
            ruby.display(),
            samples.join("sample_kcl.rb").display()
        ),
        environment: vec![("GEM_PATH", gems.display().to_string())],
        said: "created the lease",
    })
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

/// Its `streamArn` is a dummy of another region.
#[test]
fn shipped_with_amazon_kclpy_3_2_0() {
    shipped(
        "amazon_kclpy 3.2.0",
        of_amazon_kclpy(&AMAZON_KCLPY_3, EACH_RECORD),
        &["streamArn is the dummy of the sample files"],
    );
}

#[test]
fn shipped_with_amazon_kclpy_2_1_5() {
    shipped(
        "amazon_kclpy 2.1.5",
        of_amazon_kclpy(&AMAZON_KCLPY_2, EACH_RECORD),
        &["streamArn is the dummy of the sample files"],
    );
}

#[test]
fn shipped_with_amazon_kclpy_1_5_1() {
    shipped(
        "amazon_kclpy 1.5.1",
        of_amazon_kclpy(&AMAZON_KCLPY_1, "created the lease"),
        &[],
    );
}

#[test]
fn shipped_with_aws_kclrb() {
    shipped(
        "aws-kclrb",
        of_aws_kclrb(),
        &["streamArn is the dummy of the sample files"],
    );
}

//! `kcl-daemon check` with the real binary: offline, against the embedded services, and against fakes
//! that refuse, lie about the time or do not answer.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start processes and read clocks"
)]

#[path = "../support/mod.rs"]
mod support;

mod fake;
mod offline;
mod online;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use support::{Properties, Sandbox};

/// What a check printed, and how it ended.
#[derive(Debug)]
struct Checked {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Checked {
    /// The JSON on STDOUT.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Outcome and message of an online step.
    #[track_caller]
    fn step(&self, name: &str) -> (String, String) {
        let report = self.json();
        let steps = report["online"].as_array().expect("it was online");
        let step = steps
            .iter()
            .find(|step| {
                let names = step["name"].as_str().unwrap_or_default();
                names.split(", ").any(|one| one == name)
            })
            .unwrap_or_else(|| panic!("no step '{name}' in {steps:#?}"));
        let text = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("message"))
    }

    /// Sees how a step ended, and that its message contains a text.
    #[track_caller]
    fn assert_step(&self, name: &str, outcome: &str, says: &str) {
        let (found, message) = self.step(name);
        assert_eq!(found, outcome, "{name}: {message}");
        assert!(
            message.contains(says),
            "{name}: {says:?} not in {message:?}"
        );
    }
}

/// Runs `kcl-daemon check` with these arguments; of the properties only the environment counts.
fn run(sandbox: &Sandbox, properties: &Properties, arguments: &[&str]) -> Checked {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kcl-daemon"));
    for (name, _) in std::env::vars_os() {
        // What this machine has set up must not reach into the tests.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("AWS_") || name.starts_with("KCL_"))
        {
            command.env_remove(name);
        }
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .arg("check")
        .args(arguments)
        .envs(properties.variables())
        .env("HOME", sandbox.path())
        .stdin(Stdio::null())
        .output()
        .expect("kcl-daemon can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let checked = Checked {
        code: status.code().expect("it ended by itself"),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    assert!(!checked.stderr.contains("panicked"), "{checked:?}");
    checked
}

/// Checks a file made of properties.
fn check(sandbox: &Sandbox, properties: &Properties, arguments: &[&str]) -> Checked {
    let file = properties.write(sandbox, "app.properties");
    let mut all = vec!["--properties", file.to_str().expect("UTF-8")];
    all.extend(arguments);
    run(sandbox, properties, &all)
}

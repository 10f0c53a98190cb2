//! The command line and the properties file.

use std::process::Stdio;

use super::support::properties::Endpoints;
use super::support::{Daemon, Exit, Properties, Sandbox};
use super::{one_line_says, refuses};

/// Properties that nobody gets as far as using.
fn unused() -> Properties {
    let nowhere = Endpoints {
        kinesis: "http://127.0.0.1:9".to_owned(),
        dynamodb: "http://127.0.0.1:9".to_owned(),
    };
    Properties::new(&nowhere, "app", "stream", "cat")
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Daemon {
    Daemon::run(sandbox, &unused(), arguments, Stdio::null())
}

#[test]
fn no_properties_file() {
    let sandbox = Sandbox::new("no-file");
    one_line_says(
        &refuses(run(&sandbox, &[])),
        &["Properties file missing", "--properties"],
    );
}

#[test]
fn a_properties_file_that_is_not_there_or_no_file() {
    let sandbox = Sandbox::new("missing-file");
    let log = refuses(run(&sandbox, &["--properties", "/nowhere/app.properties"]));
    one_line_says(&log, &["/nowhere/app.properties", "No such file"]);
    let log = refuses(run(&sandbox, &["-p", "/tmp"]));
    one_line_says(&log, &["'/tmp'", "directory"]);
}

#[test]
fn an_unknown_option_names_it() {
    let sandbox = Sandbox::new("option");
    let log = refuses(run(&sandbox, &["--propertis", "x"]));
    assert!(log.contains("--propertis"), "{log}");
    let log = refuses(run(&sandbox, &["run", "--no-such-thing"]));
    assert!(log.contains("--no-such-thing"), "{log}");
}

#[test]
fn wrong_use_of_a_sub_command_ends_with_two() {
    let sandbox = Sandbox::new("sub-command");
    for arguments in [
        &["local", "serve", "--port", "many"][..],
        &["local", "serve", "--stream", "s:x", "--port", "0"],
    ] {
        let mut daemon = run(&sandbox, arguments);
        let exit = daemon.wait_exit(super::seconds(10));
        assert_eq!(exit, Exit::code(2), "{arguments:?}: {}", daemon.log());
        let last = arguments
            .iter()
            .find(|word| ["many", "s:x"].contains(word))
            .expect("the wrong word");
        assert!(daemon.log().contains(last), "{}", daemon.log());
    }
}

#[test]
fn an_invalid_log_filter_names_it() {
    let sandbox = Sandbox::new("filter");
    let file = unused().write(&sandbox, "app.properties");
    let log = refuses(run(
        &sandbox,
        &[
            "-p",
            file.to_str().expect("UTF-8"),
            "--log",
            "kcl_daemon=loud",
        ],
    ));
    one_line_says(&log, &["log filter", "kcl_daemon=loud"]);
}

#[test]
fn a_definition_without_a_value_names_it() {
    let sandbox = Sandbox::new("define");
    let file = unused().write(&sandbox, "app.properties");
    let log = refuses(run(
        &sandbox,
        &["-p", file.to_str().expect("UTF-8"), "-D", "maxRecords"],
    ));
    one_line_says(&log, &["-D maxRecords", "KEY=VALUE"]);
}

/// All mistakes at once, each with its line.
#[test]
fn a_broken_file_is_told_as_a_whole() {
    let sandbox = Sandbox::new("broken");
    let file = sandbox.write(
        "broken.properties",
        "# comment\n\
         streamName = stream\n\
         \n\
         retrievalMode = PUSH\n\
         initialPositionInStream = MIDDLE\n\
         timeoutInSeconds = -1\n\
         childFailurePolicy = sometimes\n\
         failoverTimeMillis = ten\n",
    );
    let log = refuses(run(&sandbox, &["-p", file.to_str().expect("UTF-8")]));
    for (key, line) in [
        ("retrievalMode", 4),
        ("initialPositionInStream", 5),
        ("timeoutInSeconds", 6),
        ("childFailurePolicy", 7),
    ] {
        one_line_says(&log, &["ERROR", key, &format!("broken.properties:{line}:")]);
    }
    // What Java takes for 0 stays the default, with a warning.
    one_line_says(
        &log,
        &["WARN", "failoverTimeMillis = 'ten'", "broken.properties:8:"],
    );
    // What is missing has no line.
    one_line_says(&log, &["ERROR", "applicationName"]);
    one_line_says(&log, &["ERROR", "executableName"]);
}

#[test]
fn a_file_of_no_text_is_refused_in_words() {
    let sandbox = Sandbox::new("binary");
    let file = sandbox.write(
        "binary.properties",
        [0, 159, 146, 150, b'\\', b'u', b'1', b'z', b'\n', 255],
    );
    let log = refuses(run(&sandbox, &["-p", file.to_str().expect("UTF-8")]));
    assert!(log.contains("ERROR"), "{log}");
    let empty = sandbox.write("empty.properties", "");
    let log = refuses(run(&sandbox, &["-p", empty.to_str().expect("UTF-8")]));
    for key in ["executableName", "applicationName", "streamName"] {
        one_line_says(&log, &["ERROR", key]);
    }
}

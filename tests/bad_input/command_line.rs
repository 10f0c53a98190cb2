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

const CLASS: &str = "software.amazon.kinesis.multilang.MultiLangDaemon";

/// A line for Java ends with 1 whatever is wrong with it, as Java's does.
#[test]
fn wrong_lines_for_java() {
    let sandbox = Sandbox::new("java");
    for (arguments, texts) in [
        (&[CLASS][..], &["Properties file missing"][..]),
        (&[CLASS, "a", "b"], &["multiple arguments", "a, b"]),
        (&[CLASS, "-p"], &["Expected a value after parameter -p"]),
        (&[CLASS, "-p", "a", "-p", "b"], &["-p once"]),
        (&[CLASS, "@/nowhere"], &["/nowhere"]),
        (&[CLASS, "--help"], &["'--help'", "working directory"]),
        (
            &["-cp", "/tmp:/nowhere:/x/*", CLASS, "missing.properties"],
            &["'missing.properties'", "class path: /tmp)"],
        ),
        (
            &["-cp", "x", "com.example.Main"],
            &["starts com.example.Main", CLASS],
        ),
        (&["-jar", "app.jar"], &["starts app.jar"]),
    ] {
        one_line_says(&refuses(run(&sandbox, arguments)), texts);
    }
}

/// An unreadable one ends the start before the properties file is read; an unusable one does not.
#[test]
fn log_configurations() {
    let sandbox = Sandbox::new("logback");
    let garbage = sandbox.write("garbage.xml", "<configuration><root level=\"WARN\">");
    let garbage = garbage.to_str().expect("UTF-8");
    let class_and_own: [&[&str]; 2] = [&[CLASS], &[]];
    for before in class_and_own {
        let line = |rest: &[&'static str]| [before, rest].concat();
        let log = refuses(run(
            &sandbox,
            &line(&["-p", "/nowhere/a", "-l", "/nowhere/l.xml"]),
        ));
        one_line_says(
            &log,
            &[
                "Error while loading log configuration: /nowhere/l.xml",
                "No such file",
            ],
        );
        assert!(!log.contains("/nowhere/a"), "{log}");
        let mut arguments = line(&["-p", "/nowhere/a", "-l"]);
        arguments.push(garbage);
        let log = refuses(run(&sandbox, &arguments));
        one_line_says(&log, &["WARN", garbage, "not XML"]);
        one_line_says(&log, &["ERROR", "/nowhere/a"]);
    }
    let silent = sandbox.write(
        "silent.xml",
        "<configuration><root level=\"OFF\"/></configuration>",
    );
    let silent = silent.to_str().expect("UTF-8");
    let option = format!("-Dlogback.configurationFile={silent}");
    // OFF is off, but not for the reason of the end.
    let log = refuses(run(&sandbox, &[&option, CLASS, "/nowhere/a"]));
    assert!(
        log.starts_with("kcl-daemon: cannot read the properties file '/nowhere/a'"),
        "{log}"
    );
    assert_eq!(log.lines().count(), 1, "{log}");
    // `--log` counts more.
    let log = refuses(run(
        &sandbox,
        &["-l", silent, "--log", "info", "/nowhere/a"],
    ));
    one_line_says(&log, &["INFO", "not the levels of", silent]);
    let log = refuses(run(
        &sandbox,
        &[
            "-Dlogback.configurationFile=/nowhere/l.xml",
            CLASS,
            "/nowhere/a",
        ],
    ));
    one_line_says(&log, &["WARN", "/nowhere/l.xml", "No such file"]);
}

#[test]
fn argument_files() {
    let sandbox = Sandbox::new("argument-file");
    let file = sandbox.write("line", "# file\n-p\n/nowhere/with blank.properties\n\n");
    let file = format!("@{}", file.display());
    for arguments in [&[file.as_str()][..], &[CLASS, &file], &["run", &file]] {
        let log = refuses(run(&sandbox, arguments));
        one_line_says(&log, &["'/nowhere/with blank.properties'", "No such file"]);
    }
    one_line_says(
        &refuses(run(&sandbox, &["@/nowhere/line"])),
        &["/nowhere/line", "No such file"],
    );
}

#[test]
fn help_that_cannot_be_given_ends_with_two() {
    let sandbox = Sandbox::new("help");
    for (arguments, text) in [
        (
            &["help", "properties", "failoverTimeMilis"][..],
            "failoverTimeMillis",
        ),
        (&["help", "nothing"], "no command 'nothing'"),
        (&["man", "nothing"], "no command 'nothing'"),
        (&["completions", "cobol"], "cobol"),
        (&["completions"], "<SHELL>"),
    ] {
        let mut daemon = run(&sandbox, arguments);
        let exit = daemon.wait_exit(super::seconds(10));
        assert_eq!(exit, Exit::code(2), "{arguments:?}: {}", daemon.log());
        assert!(daemon.log().contains(text), "{}", daemon.log());
    }
    for (arguments, text) in [
        (&["help"][..], "Exit codes:"),
        (&["--help"], "Exit codes:"),
        (&["help", "run"], "--log-configuration"),
        (&["help", "properties"], "failoverTimeMillis (10000 ms)"),
        (
            &["help", "properties", "maxRecords"],
            "KCL_DAEMON_MAX_RECORDS",
        ),
        (&["completions", "fish"], "complete -c kcl-daemon"),
        (&["man"], ".SH NOTES"),
        (&["--version"], "kcl-daemon "),
    ] {
        let mut daemon = run(&sandbox, arguments);
        let exit = daemon.wait_exit(super::seconds(10));
        assert_eq!(exit, Exit::OK, "{arguments:?}: {}", daemon.log());
        assert!(daemon.log().contains(text), "{}", daemon.log());
    }
}

#[test]
fn wrong_lines_of_sylvite() {
    let sandbox = Sandbox::new("sylvite");
    let log = refuses(run(&sandbox, &["--config="]));
    one_line_says(&log, &["--config=FILE"]);
    let log = refuses(run(
        &sandbox,
        &[
            "--config=/nowhere/app.properties",
            "--strem-name=x",
            "--local",
        ],
    ));
    one_line_says(&log, &["WARN", "--strem-name"]);
    one_line_says(&log, &["WARN", "--local"]);
    one_line_says(&log, &["ERROR", "/nowhere/app.properties", "No such file"]);
}

use super::*;
use crate::cli::args::Args;
use crate::cli::shape::{self, Shape};
use crate::config::Severity;
use clap::Parser as _;
use std::ffi::OsString;
use std::io;

fn classified(line: &str) -> Shape {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let read = |_: &std::path::Path| Err(io::Error::from(io::ErrorKind::NotFound));
    shape::classify(words, &|_| false, &read).unwrap()
}

fn start(line: &str, environment: &[(&str, &str)]) -> Start {
    let environment = Environment::from_iter(environment.iter().copied());
    match classified(line) {
        Shape::Own(words) => Start::own(&Args::try_parse_from(words).unwrap().run).unwrap(),
        Shape::Java(line) => Start::java(line, &environment),
        Shape::Sylvite(line) => Start::sylvite(line, &environment),
        Shape::JavaVersion { .. } => panic!("{line}"),
    }
}

fn said(start: &Start, severity: Severity) -> String {
    let all: Vec<String> = start
        .notices
        .iter()
        .filter(|notice| notice.severity == severity)
        .map(ToString::to_string)
        .collect();
    all.join("\n")
}

const CLASS: &str = "software.amazon.kinesis.multilang.MultiLangDaemon";

#[test]
fn system_properties_that_count_and_those_that_do_not() {
    let line = format!(
        "java -server -Daws.region=eu-west-1 -Daws.accessKeyId=AK -Daws.secretAccessKey=SECRET -Daws.sessionToken=TOKEN \
         -DCUSTOM_PREFIX=MINE -Dlogback.configurationFile=l.xml -Daws.profile=SECRET -Dmy.password=SECRET {CLASS} f"
    );
    let start = start(&line, &[]);
    let names: Vec<&str> = start.system_properties.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "CUSTOM_PREFIX",
            "aws.accessKeyId",
            "aws.region",
            "aws.secretAccessKey",
            "aws.sessionToken"
        ]
    );
    assert_eq!(start.fallback_log_configuration, Some("l.xml".into()));
    assert_eq!(
        said(&start, Severity::Warn),
        "-Daws.profile has no effect here; set AWS_PROFILE in the environment instead"
    );
    assert_eq!(
        said(&start, Severity::Info),
        "the JVM's own and without effect here: -server -Dmy.password"
    );
    for notice in start.notices.iter() {
        let text = notice.to_string();
        assert!(
            !text.contains("SECRET") && !text.contains("TOKEN"),
            "{text}"
        );
    }
    let mut variables = BTreeMap::from([("AWS_REGION".to_owned(), "us-east-1".to_owned())]);
    system_properties::lay_over(&start.system_properties, &mut variables);
    assert_eq!(variables["AWS_REGION"], "eu-west-1");
    assert_eq!(variables["CUSTOM_PREFIX"], "MINE");
    assert_eq!(
        variables.len(),
        2,
        "keys do not go through the configuration"
    );
}

#[test]
fn the_class_path_comes_from_the_line_or_the_environment() {
    for (options, environment, expected) in [
        ("-cp a ", &[("CLASSPATH", "b")][..], "a"),
        ("", &[("CLASSPATH", "b")], "b"),
        ("", &[], "."),
    ] {
        let start = start(&format!("java {options}{CLASS} f"), environment);
        assert_eq!(start.class_path, Some(ClassPath::parse(expected.as_ref())));
    }
    assert_eq!(
        start("kcl-daemon f", &[("CLASSPATH", "b")]).class_path,
        None
    );
}

#[test]
fn modes() {
    assert_eq!(start("kcl-daemon f", &[]).mode, Mode::Daemon);
    assert_eq!(start(&format!("java {CLASS} f"), &[]).mode, Mode::Daemon);
    let v1 = start(&format!("java {CLASS_V1} f extra"), &[]);
    assert_eq!(v1.mode, Mode::KclV1);
    assert!(said(&v1, Severity::Warn).contains("1 more"), "{v1:?}");
}

#[test]
fn both_ways_of_naming_the_file() {
    for line in [
        format!("java {CLASS} a -p b"),
        "kcl-daemon a -p b".to_owned(),
    ] {
        let start = start(&line, &[]);
        assert_eq!(start.properties, Some("b".into()), "{line}");
        assert_eq!(said(&start, Severity::Warn), OVERRIDDEN, "{line}");
    }
}

#[test]
fn definitions_of_our_own_line() {
    let start = start(
        "kcl-daemon -p f -D maxRecords=5 -Daws.region=x -D aws.bogus=y --local",
        &[],
    );
    let flags: Vec<(&str, &str, &str)> = start
        .flags
        .iter()
        .map(|flag| (flag.flag.as_str(), flag.key.as_str(), flag.value.as_str()))
        .collect();
    assert_eq!(
        flags,
        [
            ("-D maxRecords", "maxRecords", "5"),
            ("--local", "local", "true")
        ]
    );
    assert_eq!(start.system_properties.len(), 1);
    assert!(
        said(&start, Severity::Info).ends_with("-Daws.bogus"),
        "{start:?}"
    );
    let wrong = Args::try_parse_from(["kcl-daemon", "-D", "maxRecords"]).unwrap();
    assert_eq!(
        Start::own(&wrong.run).unwrap_err(),
        "-D maxRecords: expected KEY=VALUE"
    );
}

#[test]
fn sylvite_asks_the_environment_for_its_file_only() {
    for (line, environment, expected) in [
        ("sylvite", &[("CONFIG", "c")][..], Some("c")),
        ("sylvite", &[("CONFIG", "c"), ("config", "d")], Some("d")),
        ("sylvite --config=f", &[("CONFIG", "c")], Some("f")),
        ("sylvite", &[], None),
        ("kcl-daemon --local", &[("CONFIG", "c")], None),
    ] {
        let start = start(line, environment);
        assert_eq!(start.properties, expected.map(PathBuf::from), "{line}");
    }
}

#[test]
fn sylvite_takes_system_properties_below_arguments() {
    let start = start(
        "java -DstreamName=a -Dfile.encoding=UTF-8 -Daws.region=r -jar sylvite.jar --stream-name=b --strem=c loose",
        &[],
    );
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        start.mode,
        Mode::Sylvite(vec![
            own("streamName", "a"),
            own("stream-name", "b"),
            own("strem", "c")
        ])
    );
    assert_eq!(start.system_properties["aws.region"], "r");
    let warnings = said(&start, Severity::Warn);
    assert!(
        warnings.contains("--strem is no property") && warnings.contains("without effect: loose"),
        "{warnings}"
    );
    assert!(!warnings.contains("--stream-name"), "{warnings}");
    assert!(said(&start, Severity::Info).contains("-Dfile.encoding"));
}

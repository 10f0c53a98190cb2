//! Without asking any service.

use super::support::properties::Endpoints;
use super::support::{Properties, Sandbox};
use super::{check, run};

fn usual() -> Properties {
    let nowhere = Endpoints {
        kinesis: "http://127.0.0.1:9".to_owned(),
        dynamodb: "http://127.0.0.1:9".to_owned(),
    };
    // metricsLevel has no effect yet, and says so.
    Properties::new(&nowhere, "app", "orders", "cat").without("metricsLevel")
}

#[test]
fn a_good_file_is_clean_even_strictly() {
    let sandbox = Sandbox::new("clean");
    let checked = check(&sandbox, &usual(), &["--strict"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    for text in [
        "orders",
        "/cat)",
        "retrievalMode is POLLING",
        "idleTimeBetweenReadsInMillis",
        "line ",
        "The daemon would start",
    ] {
        assert!(checked.stdout.contains(text), "{text}: {}", checked.stdout);
    }
    assert_eq!(checked.stderr, "");
}

#[test]
fn warnings_count_when_they_should() {
    let sandbox = Sandbox::new("warnings");
    let file = usual()
        .set("maxRecord", 5)
        .set("cleanupLeasesUponShardCompletion", false);
    let checked = check(&sandbox, &file, &[]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("did you mean 'maxRecords'"));
    let java = checked.stdout.split("Java would do otherwise").nth(1);
    assert!(
        java.is_some_and(|java| java.contains("`false` has no effect")),
        "{}",
        checked.stdout
    );
    assert_eq!(check(&sandbox, &file, &["--strict"]).code, 1);
    let strict = check(&sandbox, &file, &["--strict", "--format", "json"]);
    assert_eq!(strict.json()["exitCode"], 1);
    assert_eq!(strict.json()["result"], "warnings");
}

#[test]
fn all_errors_are_listed_in_both_formats() {
    let sandbox = Sandbox::new("errors");
    let file = usual()
        .set("retrievalMode", "PUSH")
        .set("timeoutInSeconds", "soon")
        .without("applicationName");
    let text = check(&sandbox, &file, &[]);
    assert_eq!(text.code, 1);
    let json = check(&sandbox, &file, &["--format", "json"]);
    assert_eq!(json.code, 1);
    let report = json.json();
    let errors = report["errors"].as_array().expect("errors");
    for key in ["retrievalMode", "timeoutInSeconds", "applicationName"] {
        assert!(text.stdout.contains(key), "{key}: {}", text.stdout);
        assert!(errors.iter().any(|error| error["key"] == key), "{errors:?}");
    }
    let push = errors.iter().find(|error| error["key"] == "retrievalMode");
    let line = &push.expect("found above")["origin"]["line"];
    assert!(line.as_u64().is_some_and(|line| line > 0), "{line}");
}

#[test]
fn an_executable_that_is_not_there_is_an_error() {
    let sandbox = Sandbox::new("executable");
    let file = usual().set("executableName", "/nowhere/app.py --fast");
    let checked = check(&sandbox, &file, &["--format", "json"]);
    assert_eq!(checked.code, 1);
    let error = &checked.json()["errors"][0];
    assert_eq!(error["key"], "executableName");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("/nowhere/app.py"))
    );
}

#[test]
fn the_origin_of_each_value_is_told() {
    let sandbox = Sandbox::new("origins");
    let file = usual()
        .set("maxRecords", 10)
        .environment("KCL_DAEMON_FAILOVER_TIME_MILLIS", "20000");
    let checked = check(
        &sandbox,
        &file,
        &["--format", "json", "-D", "maxRecords=20"],
    );
    assert_eq!(checked.code, 0, "{checked:?}");
    let report = checked.json();
    let setting = |key: &str| {
        let settings = report["settings"].as_array().expect("settings");
        let found = settings.iter().find(|setting| setting["key"] == key);
        let setting = found.unwrap_or_else(|| panic!("no {key}"));
        (
            setting["value"].as_str().unwrap_or_default().to_owned(),
            setting["origin"]["kind"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    for (key, value, origin) in [
        ("maxRecords", "20", "flag"),
        ("failoverTimeMillis", "20000", "environment"),
        ("streamName", "orders", "file"),
        ("taskBackoffTimeMillis", "500", "default"),
    ] {
        assert_eq!(setting(key), (value.to_owned(), origin.to_owned()), "{key}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let sandbox = Sandbox::new("secrets");
    let file = usual()
        .set(
            "AwsCredentialsProvider",
            "KclStsAssumeRoleCredentialsProvider|arn:aws:iam::111122223333:role/r|s|externalId=hush",
        )
        .set("kinesisEndpoint", "http://me:hush@127.0.0.1:9")
        .set("dynamoDBCredentialsProviderSecret", "hush");
    for format in ["text", "json"] {
        let checked = check(&sandbox, &file, &["--all", "--format", format]);
        assert!(!checked.stdout.contains("hush"), "{}", checked.stdout);
        assert!(!checked.stderr.contains("hush"), "{}", checked.stderr);
    }
}

#[test]
fn the_policy_is_json_and_nothing_else() {
    let sandbox = Sandbox::new("iam");
    let checked = check(&sandbox, &usual(), &["--iam"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let policy = checked.json();
    assert_eq!(policy["Version"], "2012-10-17");
    let statements = policy["Statement"].as_array().expect("statements");
    let read = statements
        .iter()
        .find(|statement| statement["Sid"] == "ReadStream")
        .expect("ReadStream");
    assert_eq!(
        read["Resource"][0],
        "arn:aws:kinesis:us-east-1:*:stream/orders"
    );
    assert!(checked.stderr.contains("account is not known"));
    assert!(checked.stderr.contains("kms:Decrypt"));
    // A file with errors has no policy.
    let broken = check(&sandbox, &usual().without("streamName"), &["--iam"]);
    assert_eq!((broken.code, broken.stdout.as_str()), (1, ""));
    assert!(broken.stderr.contains("streamName"), "{broken:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_and_wrong_use_is_two() {
    let sandbox = Sandbox::new("usage");
    for (arguments, code, says) in [
        (
            &["-p", "/nowhere/app.properties"][..],
            1,
            "/nowhere/app.properties",
        ),
        (
            &["-p", "/nowhere/app.properties", "--format", "json"],
            1,
            "No such file",
        ),
        (
            &["-p", "/nowhere/app.properties", "--iam"],
            1,
            "No such file",
        ),
        (&[], 2, "Properties file missing"),
        (&["--onlin"], 2, "--onlin"),
        (&["--format", "yaml"], 2, "yaml"),
        (&["x", "--iam", "--online"], 2, "--online"),
        (&["x", "--workers", "0"], 2, "--workers"),
    ] {
        let checked = run(&sandbox, &usual(), arguments);
        assert_eq!(checked.code, code, "{arguments:?}: {checked:?}");
        let all = format!("{}{}", checked.stdout, checked.stderr);
        assert!(all.contains(says), "{arguments:?}: {all}");
    }
    let definition = check(&sandbox, &usual(), &["-D", "maxRecords"]);
    assert_eq!(definition.code, 2, "{definition:?}");
}

#[test]
fn the_calls_are_those_of_the_size_that_is_said() {
    let sandbox = Sandbox::new("calls");
    let arguments = ["--format", "json", "--shards", "10", "--workers", "2"];
    let report = check(&sandbox, &usual(), &arguments).json();
    let calls = &report["callsPerHour"];
    assert_eq!(
        (&calls["shards"], &calls["workers"]),
        (&10.into(), &2.into())
    );
    // Ten shards, five reads a second each.
    let reads = calls["calls"]
        .as_array()
        .expect("calls")
        .iter()
        .find(|call| call["operation"] == "GetRecords")
        .expect("reads");
    assert_eq!(reads["perHour"], 180_000.0);
}

#[test]
fn help_says_what_it_does() {
    let sandbox = Sandbox::new("help");
    let checked = run(&sandbox, &usual(), &["--help"]);
    assert_eq!(checked.code, 0);
    for text in [
        "--online",
        "--strict",
        "--iam",
        "Nothing is written",
        "Exit codes",
    ] {
        assert!(checked.stdout.contains(text), "{text}: {}", checked.stdout);
    }
}

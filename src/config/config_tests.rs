//! Whole configurations: cases as data, and properties that hold for all bytes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[path = "cases_tests.rs"]
mod cases;
#[path = "effects_tests.rs"]
mod effects;

/// What makes a file start.
const BASE: [(&str, &str); 6] = [
    ("executableName", "python3 orders.py"),
    ("applicationName", "orders-app"),
    ("streamName", "orders"),
    ("AwsCredentialsProvider", "DefaultCredentialsProvider"),
    ("regionName", "eu-west-1"),
    ("retrievalMode", "POLLING"),
];

fn load_bytes(
    bytes: &[u8],
    environment: &BTreeMap<String, String>,
) -> Result<(DaemonConfig, Notices), ConfigErrors> {
    load(&Sources {
        file: Some(PropertiesFile { path: "f", bytes }),
        environment,
        flags: &[],
        mode: Mode::Daemon,
    })
}

#[test]
fn every_set_key_has_its_line_as_origin_and_every_other_is_default() {
    let text: String = BASE.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
    let (config, _) = load_bytes(text.as_bytes(), &BTreeMap::new()).unwrap();
    assert_eq!(config.values().len(), keys::all().count());
    for value in config.values() {
        let line = BASE
            .iter()
            .position(|(key, _)| *key == value.key)
            .map(|i| i + 1);
        let expected = line.map_or(Origin::Default, |line| Origin::File {
            path: "f".into(),
            line,
        });
        assert_eq!(value.origin, expected, "{}", value.key);
    }
}

/// A value that a key does not have by itself.
fn another_value(spec: &keys::KeySpec) -> &'static str {
    let is_narrow = matches!(spec.range, keys::Range::Within(_, most) if most < 7777.0);
    match spec.value {
        keys::ValueType::Int | keys::ValueType::Long if is_narrow => "33",
        keys::ValueType::Int | keys::ValueType::Long => "7777",
        keys::ValueType::Double => "0.25",
        keys::ValueType::Bool => {
            if spec.default == "true" {
                "no"
            } else {
                "yes"
            }
        }
        keys::ValueType::Text if spec.name == "streamArn" => {
            "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
        }
        keys::ValueType::Text | keys::ValueType::CommandLine | keys::ValueType::Anything => {
            "some-text"
        }
        keys::ValueType::Word(words) => words.iter().rev().find(|w| **w != spec.default).unwrap(),
        keys::ValueType::Instant => "1700000000",
        keys::ValueType::Duration => "PT3H",
        keys::ValueType::Tags => "a=b",
        keys::ValueType::Dimensions => "ShardId",
        keys::ValueType::Uri => "http://127.0.0.1:1",
        keys::ValueType::Region => "us-east-2",
        keys::ValueType::Credentials => "AnonymousCredentialsProvider",
    }
}

/// Each key of the table is set to a value of its own and shows it: none is accepted and dropped.
#[test]
fn every_key_that_is_set_is_in_the_result_or_spoken_of() {
    for spec in keys::all() {
        let text = another_value(spec);
        let mut file = format!(
            "{} = {text}\ninitialPositionInStreamExtended = 5\n",
            spec.name
        );
        if spec.name == "initialPositionInStreamExtended" {
            file = format!("{} = {text}\n", spec.name);
        }
        for (key, value) in BASE.iter().filter(|(key, _)| *key != spec.name) {
            file.push_str(&format!("{key} = {value}\n"));
        }
        let (config, notices) = load_bytes(file.as_bytes(), &BTreeMap::new())
            .unwrap_or_else(|e| panic!("{}: {e}", spec.name));
        assert_eq!(
            config.origin(spec.name).unwrap().to_string(),
            "f:1",
            "{}",
            spec.name
        );
        let shown = config.values().iter().find(|v| v.key == spec.name).unwrap();
        assert_ne!(
            shown.value.as_deref().unwrap_or_default(),
            spec.default,
            "{}",
            spec.name
        );
        let spoken_of = notices
            .iter()
            .any(|n| n.to_string().starts_with(&format!("f:1: {} ", spec.name)));
        let effective = spec.status == keys::Status::Effective;
        assert!(
            effective || spoken_of,
            "{} has no effect and nobody is told",
            spec.name
        );
    }
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let file = "timeoutInSeconds = soon\nretrievalMode = SLOW\nkinesisEndpoint = ftp://x\nx = \\u12\nmaxRecords[1] = 2\n";
    let errors = load_bytes(file.as_bytes(), &BTreeMap::new()).unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.errors.len(), 8, "{text}");
    for part in [
        "f:1: timeoutInSeconds",
        "f:2: retrievalMode",
        "f:3: kinesisEndpoint",
        "f:4: ",
        "f:5: maxRecords[1]",
        "executableName is missing",
        "applicationName is missing",
        "streamName (or streamArn) is missing",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn secrets_are_in_no_message() {
    let secret = "wJalrXUtnFEMIK7MDENG";
    let file = format!(
        "AwsCredentialsProvider = {secret}\nAWSCredentialsProvider = {secret}x\nawsSecretKey = {secret}\n\
         AwsCredentialsProviderDynamoDB = {secret}|{secret}\nkinesisEndpoint = user:{secret}@a b\n\
         stsEndpoint = ftp://user:{secret}@host\nexpandEnvironment = true\ntimeoutInSeconds = ${{PW}}\n\
         maxRecords = ${{PW}}\nworkerMetricsTags = ${{PW}}\n"
    );
    let environment = [("PW".to_owned(), format!("{secret} /"))].into();
    let errors = load_bytes(file.as_bytes(), &environment).unwrap_err();
    let told = format!("{errors} {:?}", errors.notices);
    assert!(!told.contains(secret), "{told}");
}

#[test]
fn a_url_with_a_password_is_shown_without_it() {
    let mut file = "kinesisEndpoint = http://user:hunter2@localhost:4567/x\n".to_owned();
    for (key, value) in BASE {
        file.push_str(&format!("{key} = {value}\n"));
    }
    let (config, _) = load_bytes(file.as_bytes(), &BTreeMap::new()).unwrap();
    let shown = config
        .values()
        .iter()
        .find(|v| v.key == "kinesisEndpoint")
        .unwrap();
    assert_eq!(shown.value.as_deref(), Some("http://localhost:4567/x"));
    assert_eq!(
        config.endpoints.kinesis.endpoint.as_deref(),
        Some("http://user:hunter2@localhost:4567/x")
    );
}

#[test]
fn without_a_file_flags_are_enough() {
    let flags: Vec<Override> = BASE
        .iter()
        .map(|(key, value)| Override {
            flag: format!("-D {key}"),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    let (config, _) = load(&Sources {
        file: None,
        environment: &BTreeMap::new(),
        flags: &flags,
        mode: Mode::Daemon,
    })
    .unwrap();
    assert_eq!(config.identity.stream.name, "orders");
    assert_eq!(
        config.origin("streamName").unwrap().to_string(),
        "-D streamName"
    );
}

/// A result is a configuration that holds what its documentation promises, or at least one error.
fn check_result(
    result: Result<(DaemonConfig, Notices), ConfigErrors>,
    lines: usize,
) -> Result<(), TestCaseError> {
    match result {
        Ok((config, notices)) => {
            for notice in &notices {
                check_message(&notice.message, notice.origin.as_ref(), lines)?;
            }
            prop_assert_eq!(config.values().len(), keys::all().count());
            prop_assert!(
                config
                    .child
                    .argv
                    .first()
                    .is_some_and(|word| !word.is_empty())
            );
            prop_assert!(!config.identity.application_name.is_empty());
            prop_assert!(!config.identity.stream.name.is_empty());
            prop_assert!((1..=10_000).contains(&config.retrieval.polling.max_records));
            prop_assert!(config.leases.failover_time.as_millis() >= 100);
            prop_assert!(config.retrieval.polling.idle_time_between_reads.as_millis() >= 200);
            prop_assert!(config.child.message_timeout.is_none_or(|d| !d.is_zero()));
        }
        Err(errors) => {
            prop_assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                check_message(&error.message, error.origin.as_ref(), lines)?;
                // Only what is missing altogether has no place.
                prop_assert!(
                    error.origin.is_some() || error.message.contains("is missing"),
                    "{error}"
                );
            }
            for notice in &errors.notices {
                check_message(&notice.message, notice.origin.as_ref(), lines)?;
            }
        }
    }
    Ok(())
}

/// A message is one line that a terminal can show, and names a line that the file has.
fn check_message(
    message: &str,
    origin: Option<&Origin>,
    lines: usize,
) -> Result<(), TestCaseError> {
    prop_assert!(message.len() > 10, "{message:?} says nothing");
    prop_assert!(!message.contains(char::is_control), "{message:?}");
    match origin {
        Some(Origin::File { path, line }) => {
            prop_assert_eq!(&**path, "f");
            prop_assert!(
                (1..=lines).contains(line),
                "{message}: line {line} of {lines}"
            );
        }
        Some(Origin::Default) => prop_assert!(false, "{message}: a default is nobody's fault"),
        _ => {}
    }
    Ok(())
}

/// Line ends as the reader counts them, and one.
fn lines_of(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1
}

/// One entry as people and accidents write it: known and mangled keys, every separator, escapes,
/// continuations, bytes beyond ASCII.
fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        6 => any_key().prop_map(str::to_owned),
        1 => any_key().prop_map(str::to_uppercase),
        1 => any_key().prop_map(|key| format!("fanoutConfig.{key}")),
        1 => (any_key(), "[\\[(][0-9a-z]{0,3}[\\])]?").prop_map(|(key, index)| format!("{key}{index}")),
        1 => (any_key(), 0_usize..40).prop_map(|(key, at)| {
            let at = at.min(key.len());
            format!("{}\\\n   {}", &key[..at], &key[at..])
        }),
        1 => "[a-zA-Z.]{0,30}",
    ];
    let separator = proptest::sample::select(vec![" = ", "=", " : ", " ", "\t", "\u{c}", "==", ""]);
    let value = proptest::collection::vec(
        prop_oneof![
            4 => "[ -~]{0,12}".prop_map(String::into_bytes),
            2 => "-?[0-9]{1,20}(\\.[0-9])?".prop_map(String::into_bytes),
            2 => proptest::sample::select(vec!["true", "AT_TIMESTAMP", "ProfileCredentialsProvider|x,", "${A}", "PT1H", "arn:aws:kinesis:"]).prop_map(|s| s.as_bytes().to_vec()),
            1 => proptest::sample::select(vec!["\\u00e9", "\\ud83d", "\\u12", "\\uXYZW", "\\", "\\\\", "\\q"]).prop_map(|s| s.as_bytes().to_vec()),
            1 => Just(b"\\\r\n  ".to_vec()),
            1 => proptest::collection::vec(0x80_u8.., 1..4),
            1 => Just("é€😀".as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..6),
        ],
        0..4,
    );
    let end = proptest::sample::select(vec!["\n", "\r\n", "\r", "\n\n# x\n"]);
    (key, separator, value, end).prop_map(|(key, separator, value, end)| {
        let mut bytes = key.into_bytes();
        bytes.extend(separator.bytes());
        bytes.extend(value.concat());
        bytes.extend(end.bytes());
        bytes
    })
}

fn any_key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(keys::all().map(|spec| spec.name).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_bytes_give_a_configuration_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check_result(load_bytes(&bytes, &BTreeMap::new()), lines_of(&bytes))?;
    }

    #[test]
    fn entries_as_accidents_write_them_give_a_configuration_or_an_error(
        entries in proptest::collection::vec(any_entry(), 0..8),
        base: bool,
        mode in 0..3,
        arguments in proptest::collection::vec(("[a-zA-Z-]{0,20}|maxRecords|stream-name", "[ -~]{0,9}"), 0..3),
        flags in proptest::collection::vec((any_key(), "[ -~é]{0,9}"), 0..2),
    ) {
        let mut file = entries.concat();
        if base {
            file.extend(BASE.iter().flat_map(|(k, v)| format!("{k} = {v}\n").into_bytes()));
        }
        let flags: Vec<Override> = flags
            .into_iter()
            .map(|(key, value)| Override { flag: format!("-D {key}"), key: key.to_owned(), value })
            .collect();
        let result = load(&Sources {
            file: Some(PropertiesFile { path: "f", bytes: &file }),
            environment: &[("A".to_owned(), "x\ny".to_owned())].into(),
            flags: &flags,
            mode: match mode {
                0 => Mode::Daemon,
                1 => Mode::KclV1,
                _ => Mode::Sylvite { arguments: &arguments },
            },
        });
        check_result(result, lines_of(&file))?;
    }

    #[test]
    fn known_keys_with_any_values_give_a_configuration_or_an_error(
        entries in proptest::collection::vec((any_key(), "[ -~]{0,20}|-?[0-9]{1,20}|[a-zA-Z]{1,12}|\\$\\{[A-Z]\\}"), 0..12),
        base: bool,
        variables in proptest::collection::btree_map("(KCL_DAEMON_|AWS_)[A-Z_]{1,20}", "[ -~]{0,12}", 0..4),
    ) {
        let mut file: String = entries.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
        if base {
            file.push_str(&BASE.iter().map(|(k, v)| format!("{k} = {v}\n")).collect::<String>());
        }
        check_result(load_bytes(file.as_bytes(), &variables), lines_of(file.as_bytes()))?;
    }
}

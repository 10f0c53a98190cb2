use super::*;
use crate::cli::shape::java::{CLASS, CLASS_V1, JavaClass};
use proptest::strategy::Strategy as _;
use std::path::PathBuf;

/// `@args` holds some lines, every other file is missing.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("args") => Ok(b"-p\n# comment\n\n  spaced name.properties  \n@args\n".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn is_command(word: &OsStr) -> bool {
    word == "run" || word == "check"
}

/// Words are separated by blanks; `_` stands for a blank within one, `""` for an empty one.
fn line(text: &str) -> Result<Shape, Misuse> {
    let words = text
        .replace("MLD1", CLASS_V1)
        .replace("MLD", CLASS)
        .split(' ')
        .map(|word| word.replace('_', " ").replace("\"\"", "").into())
        .collect();
    classify(words, &is_command, &read)
}

fn java(text: &str) -> JavaLine {
    match line(text) {
        Ok(Shape::Java(line)) => line,
        other => panic!("{text}: {other:?}"),
    }
}

fn sylvite_line(text: &str) -> SylviteLine {
    match line(text) {
        Ok(Shape::Sylvite(line)) => line,
        other => panic!("{text}: {other:?}"),
    }
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// `properties.md` §9, row by row, as data.
#[test]
fn the_arguments_of_the_java_daemon() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        name: String,
        arguments: Vec<String>,
        /// The properties file.
        properties: Option<PathBuf>,
        /// The logback configuration.
        log: Option<PathBuf>,
        /// Whether `-p` overrides another file.
        #[serde(default)]
        overridden: bool,
        /// The message instead.
        error: Option<String>,
        /// What Java does, for the reader.
        java: String,
        /// Argument files.
        #[serde(default)]
        files: std::collections::BTreeMap<PathBuf, String>,
    }
    let text = include_str!("../../../tests/cases/command_line/java.json");
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        assert!(!case.java.is_empty(), "{}", case.name);
        let read = |path: &Path| match case.files.get(path) {
            Some(text) => Ok(text.clone().into_bytes()),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let words = ["java", "-cp", "x", CLASS]
            .into_iter()
            .chain(case.arguments.iter().map(String::as_str))
            .map(Into::into)
            .collect();
        match (classify(words, &is_command, &read), case.error) {
            (Ok(Shape::Java(found)), None) => {
                assert_eq!(found.properties, case.properties, "{}", case.name);
                assert_eq!(found.log_configuration, case.log, "{}", case.name);
                assert_eq!(found.overridden, case.overridden, "{}", case.name);
                assert_eq!(found.class, JavaClass::Current, "{}", case.name);
            }
            (Err(misuse), Some(error)) => assert_eq!(misuse.to_string(), error, "{}", case.name),
            (found, error) => panic!("{}: {found:?}, expected {error:?}", case.name),
        }
    }
}

#[test]
fn kcl_1_takes_its_first_argument() {
    for (arguments, properties, unread) in [
        ("a", "a", 0),
        ("a b c", "a", 2),
        ("-p a", "-p", 1),
        ("@args", "@args", 0),
        ("", "", 0),
    ] {
        let found = java(format!("java -cp x MLD1 {arguments}").trim_end());
        assert_eq!(found.class, JavaClass::V1);
        assert_eq!(found.properties, path(properties), "{arguments}");
        assert_eq!(found.unread, unread, "{arguments}");
    }
}

#[test]
fn what_stands_before_the_class() {
    for (options, class_path, properties, ignored) in [
        ("-cp a:b", "a:b", "", ""),
        ("-classpath a", "a", "", ""),
        ("--class-path a", "a", "", ""),
        ("--class-path=a", "a", "", ""),
        ("-cp a -cp b", "b", "", ""),
        (
            "-server -Xmx512m -cp a -XX:+UseG1GC",
            "a",
            "",
            "-server -Xmx512m -XX",
        ),
        ("-Da=b=c -Dd -De=", "", "a=b=c d= e=", ""),
        ("-Da=1 -Da=2", "", "a=2", ""),
        ("-javaagent:/x.jar=secret -cp a", "a", "", "-javaagent"),
        (
            "--add-opens java.base/java.lang=ALL-UNNAMED -cp a",
            "a",
            "",
            "--add-opens",
        ),
        (
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            "",
            "",
            "--add-opens",
        ),
        ("-p mods -cp a", "a", "", "-p"),
        ("@options -cp a", "a", "", "@options"),
        // Behind an option that nobody here knows.
        ("--new-option value -cp a", "a", "", "--new-option value"),
        ("-jar x.jar -cp a", "a", "", "-jar"),
    ] {
        let found = java(&format!("kcl-daemon {options} MLD f"));
        let found_path = found.jvm.class_path.unwrap_or_default();
        assert_eq!(found_path, class_path, "{options}");
        let found_properties: Vec<String> = found
            .jvm
            .system_properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found_properties.join(" "), properties, "{options}");
        assert_eq!(found.jvm.ignored.join(" "), ignored, "{options}");
        assert_eq!(found.properties, path("f"), "{options}");
    }
}

/// What the helpers of `protocol.md` §16 start.
#[test]
fn lines_of_the_helpers() {
    for (text, class, properties, logging) in [
        (
            "/usr/bin/kcl-daemon -cp /x/jars/a.jar:/app MLD --properties-file app.properties",
            JavaClass::Current,
            "app.properties",
            "",
        ),
        (
            "./kcl-daemon -cp /x/a.jar:/app MLD --properties-file app.properties --log-configuration logback.xml",
            JavaClass::Current,
            "app.properties",
            "logback.xml",
        ),
        (
            "/opt/jre/bin/java -cp x MLD1 app.properties",
            JavaClass::V1,
            "app.properties",
            "",
        ),
        (
            "/opt/jre/bin/java -classpath a:b MLD --properties-file app.properties",
            JavaClass::Current,
            "app.properties",
            "",
        ),
        (
            "java.exe -cp a software/amazon/kinesis/multilang/MultiLangDaemon f",
            JavaClass::Current,
            "f",
            "",
        ),
    ] {
        let found = java(text);
        assert_eq!(found.class, class, "{text}");
        assert_eq!(found.properties, path(properties), "{text}");
        assert_eq!(found.log_configuration, path(logging), "{text}");
    }
}

#[test]
fn questions_for_the_version() {
    for (text, to_stderr) in [
        ("java -version", Some(true)),
        ("/x/bin/java -Xmx1g -version", Some(true)),
        ("java -fullversion", Some(true)),
        ("java --version", Some(false)),
        ("kcl-daemon -version", Some(true)),
        ("kcl-daemon --version", None),
        ("kcl-daemon run -version", None),
    ] {
        match (line(text), to_stderr) {
            (Ok(Shape::JavaVersion { to_stderr }), Some(expected)) => {
                assert_eq!(to_stderr, expected, "{text}");
            }
            (Ok(Shape::Own(_)), None) => {}
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn java_for_something_else_is_refused() {
    for (text, found) in [
        ("java", "names no class"),
        ("java -cp x", "names no class"),
        ("java -jar app.jar", "starts app.jar"),
        ("kcl-daemon -jar app.jar", "starts app.jar"),
        (
            "java -Xmx1g -cp x com.example.Main arg",
            "starts com.example.Main",
        ),
        (
            "kcl-daemon -cp x com.amazonaws.services.dynamodbv2.streamsadapter.StreamsMultiLangDaemon f",
            "starts com.amazonaws.services.dynamodbv2.streamsadapter.StreamsMultiLangDaemon",
        ),
        ("kcl-daemon -cp x", "names no class"),
        ("java app.properties", "starts app.properties"),
    ] {
        let message = line(text).unwrap_err().to_string();
        assert!(message.ends_with(found), "{text}: {message}");
        assert!(message.contains(CLASS), "{message}");
    }
    for text in ["java -help", "java --help", "java -h", "java -?"] {
        assert_eq!(
            line(text),
            Ok(Shape::Own(vec!["java".into(), "--help".into()])),
            "{text}"
        );
    }
}

#[test]
fn lines_of_our_own() {
    for (text, expected) in [
        ("kcl-daemon", "kcl-daemon"),
        ("kcl-daemon --properties f --local", ""),
        ("kcl-daemon -p f -D a=b -Dc=d", ""),
        ("kcl-daemon f", ""),
        ("kcl-daemon --help", ""),
        // A sub-command takes its whole line.
        ("kcl-daemon check -cp x MLD -p f", ""),
        ("kcl-daemon run --config=f", ""),
        (
            "kcl-daemon @args",
            "kcl-daemon -p spaced_name.properties @args",
        ),
        (
            "kcl-daemon run @args",
            "kcl-daemon run -p spaced_name.properties @args",
        ),
        ("sylvite --help", ""),
        ("sylvite --version", ""),
    ] {
        let expected = if expected.is_empty() { text } else { expected };
        let words: Vec<OsString> = expected
            .replace("MLD", CLASS)
            .split(' ')
            .map(|word| word.replace('_', " ").into())
            .collect();
        assert_eq!(line(text), Ok(Shape::Own(words)), "{text}");
    }
    let message = line("kcl-daemon @nowhere").unwrap_err().to_string();
    assert!(
        message.starts_with("Could not read file nowhere"),
        "{message}"
    );
}

#[test]
fn lines_of_sylvite() {
    for (text, config, settings, ignored) in [
        ("sylvite", "", "", ""),
        ("sylvite --config=f", "f", "", ""),
        (
            "/opt/bin/sylvite --config=f --streamName=s --x=",
            "f",
            "streamName=s x=",
            "",
        ),
        ("kcl-daemon --config=f", "f", "", ""),
        (
            "kcl-daemon --stream-name=a=b --config=f",
            "f",
            "stream-name=a=b",
            "",
        ),
        ("java -jar sylvite.jar", "", "", ""),
        (
            "java -Xmx1g -jar /x/sylvite-0.0.6.jar --config=f --maxRecords=5",
            "f",
            "maxRecords=5",
            "",
        ),
        ("java -jar app.jar --config=f", "f", "", ""),
        ("java -Dconfig=d -jar sylvite.jar", "d", "", ""),
        ("java -Dconfig=d -jar sylvite.jar --config=f", "f", "", ""),
        ("sylvite --config=a --config=b", "b", "", ""),
        (
            "sylvite extra --debug --streamName=s -v",
            "",
            "streamName=s",
            "extra --debug -v",
        ),
    ] {
        let found = sylvite_line(text);
        assert_eq!(found.config, path(config), "{text}");
        let found_settings: Vec<String> = found
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found_settings.join(" "), settings, "{text}");
        assert_eq!(found.ignored.join(" "), ignored, "{text}");
    }
    for text in [
        "sylvite --config",
        "sylvite --config=",
        "kcl-daemon --config=",
    ] {
        assert_eq!(line(text), Err(Misuse::NoConfig), "{text}");
    }
    // The class counts, whatever else is said.
    assert_eq!(java("java MLD --config=f").properties, path("--config=f"));
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_kept() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let words = |first: &[&str]| {
        let words = first.iter().map(OsString::from);
        words.chain([odd.clone()]).collect::<Vec<_>>()
    };
    match classify(words(&["java", CLASS, "-p"]), &is_command, &read) {
        Ok(Shape::Java(line)) => assert_eq!(line.properties, Some(odd.clone().into())),
        other => panic!("{other:?}"),
    }
    let own = words(&["kcl-daemon"]);
    assert_eq!(
        classify(own.clone(), &is_command, &read),
        Ok(Shape::Own(own))
    );
    assert!(classify(words(&["java"]), &is_command, &read).is_err());
    assert!(classify(Vec::new(), &is_command, &read).is_ok());
}

proptest::proptest! {
    /// Whatever comes: an answer, and never a panic.
    #[test]
    fn any_line_has_an_answer(
        words in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::sample::select(vec![
                    "java", "sylvite", "kcl-daemon", "-p", "-l", "--", "-cp", "-jar", "-D", "-Da=b", CLASS, CLASS_V1,
                    "--config=f", "--config", "@args", "@nowhere", "", "-version", "run", "\"", "--class-path=",
                ]).prop_map(str::to_owned),
                proptest::string::string_regex("[-@=\"a-z ]{0,6}").unwrap(),
            ],
            0..8,
        )
    ) {
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let names_the_class = words.iter().skip(1).any(|word| JavaClass::named(word).is_some());
        let first_is_command = words.get(1).is_some_and(|first| is_command(first));
        let as_java = words.first().is_some_and(|name| name == "java");
        let shape = classify(words, &is_command, &read);
        if names_the_class && (as_java || !first_is_command) {
            proptest::prop_assert!(matches!(shape, Ok(Shape::Java(_)) | Err(_)));
        }
    }
}

use super::*;

fn read_text(text: &str) -> Logback {
    let variable = |name: &str| (name == "FROM_OUTSIDE").then(|| "ERROR".to_owned());
    read(text.as_bytes(), &variable)
}

/// The level that the directives give a target; `::` begins a module of ours.
fn effective(logback: &Logback, target: &str) -> String {
    let target = match target.strip_prefix("::") {
        Some(module) => format!("{}::{module}", env!("CARGO_CRATE_NAME")),
        None => target.to_owned(),
    };
    let filter = logback.filter.clone().unwrap_or_default();
    let mut best = (0, "none".to_owned());
    for directive in filter.split(',') {
        let (name, level) = directive.split_once('=').unwrap_or(("", directive));
        if target.starts_with(name) && name.len() >= best.0 {
            best = (name.len(), level.to_owned());
        }
    }
    best.1
}

#[test]
fn levels_of_root_and_loggers() {
    let cases: [(&str, &[(&str, &str)]); 15] = [
        (
            r#"<root level="DEBUG"/>"#,
            &[("::worker", "debug"), ("hyper", "warn")],
        ),
        (
            r#"<root level="error"/>"#,
            &[("kcl_daemon", "error"), ("aws_config", "error")],
        ),
        (
            r#"<root level="OFF"/>"#,
            &[("kcl_daemon", "off"), ("hyper", "off"), ("child", "off")],
        ),
        (r#"<root level="ALL"/>"#, &[("kcl_daemon", "trace")]),
        (
            r#"<root><level value="WARN"/></root>"#,
            &[("kcl_daemon", "warn")],
        ),
        (
            r#"<logger name="software.amazon.kinesis" level="DEBUG"/>"#,
            &[
                ("::fetch", "debug"),
                ("child", "debug"),
                ("aws_config", "none"),
            ],
        ),
        (
            r#"<logger name="software.amazon.kinesis.multilang" level="WARN"/><root level="INFO"/>"#,
            &[("child", "warn"), ("::child", "warn"), ("::worker", "info")],
        ),
        (
            r#"<logger name="software.amazon.kinesis.retrieval" level="TRACE"/>"#,
            &[("::fetch::polling", "trace"), ("::worker", "none")],
        ),
        (
            r#"<logger name="software.amazon.kinesis.lifecycle" level="DEBUG"/>
               <logger name="software.amazon.kinesis.coordinator" level="WARN"/>"#,
            &[("::worker::consumer", "debug"), ("::worker", "warn")],
        ),
        (
            r#"<logger name="software.amazon" level="WARN"/><logger name="software.amazon.awssdk" level="DEBUG"/>"#,
            &[("kcl_daemon", "warn"), ("aws_sdk", "debug")],
        ),
        (
            r#"<logger name="com.amazonaws" level="ERROR"/>"#,
            &[("kcl_daemon", "error"), ("aws_config", "error")],
        ),
        (
            r#"<logger name="com.amazonaws" level="ERROR"/><logger name="software.amazon.kinesis" level="INFO"/>"#,
            &[("kcl_daemon", "info")],
        ),
        (
            r#"<logger name="io.netty" level="DEBUG"/><root level="INFO"/>"#,
            &[("hyper", "debug"), ("kcl_daemon", "info")],
        ),
        (
            r#"<logger name="ROOT" level="WARN"/>"#,
            &[("kcl_daemon", "warn")],
        ),
        (
            r#"<logger name="software.amazon.kinesis" level="WARN"/><logger name="software.amazon.kinesis" level="INHERITED"/>
               <root level="ERROR"/>"#,
            &[("kcl_daemon", "error")],
        ),
    ];
    for (body, expected) in cases {
        let found = read_text(&format!("<configuration>{body}</configuration>"));
        for (target, level) in expected {
            assert_eq!(
                &effective(&found, target),
                level,
                "{target} in {body}: {found:?}"
            );
        }
        assert!(found.warnings.is_empty(), "{found:?}");
        let filter = found.filter.unwrap_or_default();
        assert!(
            tracing_subscriber::EnvFilter::try_new(&filter).is_ok(),
            "{filter}"
        );
    }
}

#[test]
fn variables_are_replaced() {
    for (value, expected) in [
        ("${LEVEL}", "debug"),
        ("${FROM_OUTSIDE}", "error"),
        ("${MISSING:-WARN}", "warn"),
        ("${LEVEL:-WARN}", "debug"),
    ] {
        let found = read_text(&format!(
            r#"<configuration><property name="LEVEL" value="DEBUG"/><root level="{value}"/></configuration>"#
        ));
        assert_eq!(effective(&found, "kcl_daemon"), expected, "{value}");
    }
    let found = read_text(r#"<configuration><root level="${MISSING}"/></configuration>"#);
    assert_eq!(found.filter, None);
    assert!(
        found.warnings[0].contains("MISSING_IS_UNDEFINED"),
        "{found:?}"
    );
}

#[test]
fn what_has_no_effect_is_told_once() {
    let found = read_text(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE configuration>
        <configuration scan="true">
          <include resource="x.xml"/>
          <appender name="A" class="ch.qos.logback.core.ConsoleAppender"><encoder/></appender>
          <appender name="B" class="ch.qos.logback.core.FileAppender"/>
          <logger name="com.example" level="DEBUG"/>
          <root level="INFO"><appender-ref ref="A"/></root>
        </configuration>"#,
    );
    assert_eq!(effective(&found, "kcl_daemon"), "info");
    assert_eq!(
        found.remarks,
        [
            "<include>",
            "appenders: lines go to STDERR",
            "the logger com.example, which has no counterpart"
        ]
    );
}

#[test]
fn nothing_in_the_file_stops_the_daemon() {
    for (bytes, warned) in [
        (&b"<configuration><root level=\"INFO\">"[..], true),
        (b"", true),
        (b"no xml", true),
        (&[0xff, 0xfe, 0x3c], true),
        (
            b"<configuration><root level=\"LOUD\"/></configuration>",
            true,
        ),
        (
            b"<configuration><logger level=\"INFO\"/></configuration>",
            true,
        ),
        (b"<configuration/>", false),
        (b"\xef\xbb\xbf<configuration/>", false),
        (b"<configuration><root/></configuration>", false),
        (
            b"<configuration><root level=\"${A\"/></configuration>",
            true,
        ),
    ] {
        let found = read(bytes, &|_| None);
        assert_eq!(found.filter, None, "{bytes:?}");
        assert_eq!(!found.warnings.is_empty(), warned, "{bytes:?}: {found:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = read(&bytes, &|_| None);
    }

    #[test]
    fn any_level_and_name_give_a_filter_that_can_be_read(
        name in "[a-zA-Z0-9.=,\\[\\]{}$:-]{0,20}",
        level in "[A-Za-z${}:,=-]{0,8}",
    ) {
        let found = read_text(&format!(r#"<configuration><logger name="{name}" level="{level}"/></configuration>"#));
        if let Some(filter) = found.filter {
            proptest::prop_assert!(tracing_subscriber::EnvFilter::try_new(&filter).is_ok(), "{filter}");
        }
    }
}

//! `properties.md` §3: what Java's converters accept, beside what they do not.

use super::*;
use proptest::prelude::*;

#[test]
fn whole_numbers() {
    for (text, expected) in [
        ("8", Some(8)),
        (" 8\t", Some(8)),
        ("+8", Some(8)),
        ("-8", Some(-8)),
        ("-0", Some(0)),
        ("0010", Some(10)),
        ("2147483647", Some(2_147_483_647)),
        ("-2147483648", Some(-2_147_483_648)),
        ("2147483648", None),
        ("100nf", None),
        ("10.0", None),
        ("1e4", None),
        ("1_000", None),
        ("10000L", None),
        ("0x10", None),
        ("1 0", None),
        ("", None),
        ("+", None),
    ] {
        assert_eq!(whole_number(text, 32), expected, "{text}");
    }
    assert_eq!(whole_number("2147483648", 64), Some(2_147_483_648));
    assert_eq!(whole_number("9223372036854775808", 64), None);
}

#[test]
fn doubles() {
    for (text, expected) in [
        ("1e3", Some(1000.0)),
        (" 0.5 ", Some(0.5)),
        (".5", Some(0.5)),
        ("5.", Some(5.0)),
        ("1d", Some(1.0)),
        ("1.5F", Some(1.5)),
        ("+2", Some(2.0)),
        ("-2", Some(-2.0)),
        ("Infinity", Some(f64::INFINITY)),
        ("-Infinity", Some(f64::NEG_INFINITY)),
        ("0x1.8p3", Some(12.0)),
        ("0X.8P-1f", Some(0.25)),
        ("0x1.8", None),
        ("0xp3", None),
        ("infinity", None),
        ("inf", None),
        ("nan", None),
        ("10,000", None),
        ("+-2", None),
        ("--2", None),
        ("d", None),
        (".", None),
        ("", None),
    ] {
        assert_eq!(double(text), expected, "{text}");
    }
    assert!(double("NaN").unwrap().is_nan());
}

#[test]
fn booleans() {
    for text in ["true", "TRUE", "yes", "Y", "on", "1"] {
        assert_eq!(boolean(text), Some(true), "{text}");
    }
    for text in ["false", "no", "N", "Off", "0"] {
        assert_eq!(boolean(text), Some(false), "{text}");
    }
    for text in ["", "on ", "t", "2", "ja"] {
        assert_eq!(boolean(text), None, "{text}");
    }
}

#[test]
fn durations() {
    for (text, millis) in [
        ("PT24H", Some(86_400_000)),
        ("pt12h", Some(43_200_000)),
        (" P1D ", Some(86_400_000)),
        ("P1DT2H3M4.5S", Some(93_784_500)),
        ("PT0.001S", Some(1)),
        ("PT1,5S", Some(1500)),
        ("PT-1H+61M", Some(60_000)),
        ("PT0S", Some(0)),
        ("P", None),
        ("PT", None),
        ("P1DT", None),
        ("PT1H1H", None),
        ("PT1S1M", None),
        ("P1H", None),
        ("1D", None),
        ("P1W", None),
        ("PT1.5H", None),
        ("PT1.0000000001S", None),
        ("-PT1H", None),
        ("PT-1H", None),
        ("24h", None),
        ("", None),
        ("PT99999999999999999999S", None),
    ] {
        assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn instants() {
    for (text, millis) in [
        ("0", Some(0)),
        ("1700000000", Some(1_700_000_000_000)),
        ("-5", Some(-5000)),
        (" 5 ", Some(5000)),
        ("1970-01-01", Some(0)),
        ("2000-03-01", Some(951_868_800_000)),
        ("2024-02-29", Some(1_709_164_800_000)),
        ("2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
        ("2023-11-14t22:13:20z", Some(1_700_000_000_000)),
        ("2023-11-15T00:13:20+02:00", Some(1_700_000_000_000)),
        ("2023-11-14T17:13:20-0500", Some(1_700_000_000_000)),
        ("2023-11-14T22:13Z", Some(1_699_999_980_000)),
        ("2023-11-14 22:13:20.5Z", Some(1_700_000_000_500)),
        ("2023-11-14T22:13:20.123456789Z", Some(1_700_000_000_123)),
        ("1969-12-31T23:59:59Z", Some(-1000)),
        ("2023-02-29", None),
        ("2023-13-01", None),
        ("2023-00-01", None),
        ("2023-01-00", None),
        ("2023-11-14T22:13:20", None),
        ("2023-11-14T24:00:00Z", None),
        ("2023-11-14T22:60:00Z", None),
        ("2023-11-14T22:13:20+1Z", None),
        ("2023-11-14T22:13:20.Z", None),
        ("2023-1-4", None),
        ("yesterday", None),
        ("1.5", None),
        ("", None),
        ("9223372036854775807", None),
        ("２０２３-11-14", None),
    ] {
        assert_eq!(instant(text).ok(), millis, "{text}");
    }
    assert!(
        instant("2023-11-14T22:13:20")
            .unwrap_err()
            .contains("time zone")
    );
}

#[test]
fn tag_lists() {
    let tag = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(
        tags("a=1, b = 2 "),
        (vec![tag("a", "1"), tag("b", "2")], vec![])
    );
    assert_eq!(tags("a=1,"), (vec![tag("a", "1")], vec![]));
    let bad = |text: &str| tags(text).1;
    assert_eq!(bad("a=1,x=y=z"), ["x=y=z"]);
    assert_eq!(bad("a=,b"), ["a=", "b"]);
    assert_eq!(bad("a=1,,b=2"), [""]);
    assert_eq!(bad("=v"), ["=v"]);
    assert_eq!(bad(""), [""]);
}

#[test]
fn name_lists() {
    for (text, expected) in [
        ("ALL", &["ALL"][..]),
        ("Operation,ShardId", &["Operation", "ShardId"]),
        (
            "{Operation; ShardId WorkerIdentifier}",
            &["Operation", "ShardId", "WorkerIdentifier"],
        ),
        ("a,,a;a", &["a"]),
        ("a-1", &["a-1"]),
        ("", &[]),
        ("{}", &[]),
    ] {
        assert_eq!(names(text), expected, "{text}");
    }
}

#[test]
fn endpoints() {
    for (text, expected) in [
        (
            "https://kinesis.us-east-1.amazonaws.com",
            Some(("https://kinesis.us-east-1.amazonaws.com", None)),
        ),
        (
            "http://127.0.0.1:4567/",
            Some(("http://127.0.0.1:4567/", None)),
        ),
        ("HTTP://x", Some(("http://x", None))),
        ("http://[::1]:4567", Some(("http://[::1]:4567", None))),
        (
            "kinesis.us-east-1.amazonaws.com",
            Some(("https://kinesis.us-east-1.amazonaws.com", Some("https"))),
        ),
        (
            "localhost:4567",
            Some(("http://localhost:4567", Some("http"))),
        ),
        ("127.0.0.5", Some(("http://127.0.0.5", Some("http")))),
        ("[::1]:1", Some(("http://[::1]:1", Some("http")))),
        (
            "localhost.example.com",
            Some(("https://localhost.example.com", Some("https"))),
        ),
        (" http://a ", Some(("http://a", None))),
        ("", None),
        ("http://", None),
        ("http://:80", None),
        ("http://a:0", None),
        ("http://a:65536", None),
        ("http://a:x", None),
        ("http://a:", None),
        ("http://a:+1", None),
        ("ftp://a", None),
        ("http://a b", None),
        ("http://a|b", None),
        ("http://ä", None),
    ] {
        let expected = expected.map(|(text, added)| (text.to_owned(), added));
        assert_eq!(endpoint(text).ok(), expected, "{text}");
    }
}

#[test]
fn regions() {
    assert_eq!(region(" eu-west-1 ").as_deref(), Ok("eu-west-1"));
    for text in ["", "  ", "eu west", "eu/west", "é"] {
        assert!(region(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = (whole_number(&text, 32), double(&text), boolean(&text), duration(&text), instant(&text));
        let _ = (tags(&text), names(&text), endpoint(&text), region(&text));
    }

    #[test]
    fn odd_numbers_do_not_panic(text in "[-+PTDHMSZ0-9.,:xpe]{0,30}") {
        let _ = (double(&text), duration(&text), instant(&text));
    }

    /// The calendar against counting day by day.
    #[test]
    fn days_follow_each_other(days in 0i64..200_000) {
        let (mut year, mut rest) = (1970, days);
        let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
        while rest >= 365 + i64::from(leap(year)) {
            rest -= 365 + i64::from(leap(year));
            year += 1;
        }
        let mut month = 1;
        for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if rest < length { break; }
            rest -= length;
            month += 1;
        }
        let text = format!("{year:04}-{month:02}-{:02}", rest + 1);
        prop_assert_eq!(instant(&text), Ok(days * 86_400_000), "{}", text);
    }
}

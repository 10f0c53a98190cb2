//! Every row of protocol.md §5.1, and what the daemon accepts beyond Java.

use super::FromChild;
use crate::message::CheckpointRequest;

fn status(response_for: &str) -> FromChild {
    FromChild::Status {
        response_for: Some(response_for.to_owned()),
    }
}

fn checkpoint(sequence: Option<&str>, sub: Option<i64>) -> FromChild {
    request(sequence, sub, false)
}

fn legacy(sequence: Option<&str>) -> FromChild {
    request(sequence, None, true)
}

fn request(sequence: Option<&str>, sub: Option<i64>, legacy: bool) -> FromChild {
    FromChild::Checkpoint(CheckpointRequest {
        sequence_number: sequence.map(str::to_owned),
        sub_sequence_number: sub,
        legacy,
    })
}

fn other(action: &str) -> FromChild {
    FromChild::Other {
        action: action.to_owned(),
    }
}

const NOISE: FromChild = FromChild::Noise {
    looks_like_protocol: false,
};
const SUSPECT: FromChild = FromChild::Noise {
    looks_like_protocol: true,
};

fn check(table: &[(&str, FromChild)]) {
    for (line, expected) in table {
        assert_eq!(&FromChild::parse(line.as_bytes()), expected, "{line:?}");
    }
}

#[test]
fn what_clients_really_send() {
    check(&[
        ("", FromChild::Empty),
        (
            r#"{"action": "status", "responseFor": "initialize"}"#,
            status("initialize"),
        ),
        (
            r#"{"action":"status","responseFor":"processRecords"}"#,
            status("processRecords"),
        ),
        (
            r#"{"action": "checkpoint", "sequenceNumber": "101", "subSequenceNumber": 1}"#,
            checkpoint(Some("101"), Some(1)),
        ),
        (
            r#"{"action": "checkpoint", "sequenceNumber": null, "subSequenceNumber": null}"#,
            checkpoint(None, None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":"230"}"#,
            checkpoint(Some("230"), None),
        ),
        (
            r#"{"action":"checkpoint","error":null,"sequenceNumber":"5"}"#,
            checkpoint(Some("5"), None),
        ),
        (r#"{"action":"checkpoint"}"#, checkpoint(None, None)),
    ]);
}

#[test]
fn noise_is_skipped() {
    check(&[
        ("   ", NOISE),
        ("\t", NOISE),
        ("debugging text", NOISE),
        ("42", NOISE),
        ("\"x\"", NOISE),
        ("true", NOISE),
        ("null", NOISE),
        ("[]", NOISE),
        ("{}", NOISE),
        ("[1,2]", NOISE),
        ("[\"status\"]", NOISE),
        ("[\"x\",{}]", NOISE),
        ("{", NOISE),
        ("{\"n\":1", NOISE),
        (r#"{"level":"info","action":"buy"}"#, NOISE),
        (r#"{"action":null}"#, NOISE),
        (r#"{"action":"record"}"#, NOISE),
        (r#"{"action":["status"]}"#, NOISE),
        (r#"{"sequenceNumber":"5"}"#, NOISE),
        (r#"{"Action":"buy"}"#, NOISE),
        ("the status of the action is fine", NOISE),
    ]);
}

#[test]
fn noise_that_was_meant_as_a_message_is_flagged() {
    check(&[
        // byte order mark, single quotes, comments, truncation
        (
            "\u{feff}{\"action\":\"status\",\"responseFor\":\"initialize\"}",
            SUSPECT,
        ),
        ("{'action':'status','responseFor':'initialize'}", SUSPECT),
        (
            r#"/* done */{"action":"status","responseFor":"a"}"#,
            SUSPECT,
        ),
        (r#"{"action":"status","responseFor":"initialize""#, SUSPECT),
        (r#"{"action":"checkpoint","sequenceN"#, SUSPECT),
        (
            r#"progress 5%{"action":"status","responseFor":"a"}"#,
            SUSPECT,
        ),
        // wrong case, missing or null action
        (r#"{"action":"Status","responseFor":"initialize"}"#, SUSPECT),
        (r#"{"action":"CHECKPOINT"}"#, SUSPECT),
        (r#"{"action":" status "}"#, SUSPECT),
        (r#"{"Action":"status","responseFor":"initialize"}"#, SUSPECT),
        (r#"{"action":null,"responseFor":"initialize"}"#, SUSPECT),
        (r#"{"responseFor":"initialize"}"#, SUSPECT),
        (r#"{"responsefor":"initialize"}"#, SUSPECT),
        (r#"{"ACTION":"checkpoint","sequenceNumber":"5"}"#, SUSPECT),
        (r#"{"action":5,"responseFor":"initialize"}"#, SUSPECT),
        // values that cannot be coerced
        (r#"{"action":"checkpoint","sequenceNumber":[1]}"#, SUSPECT),
        (
            r#"{"action":"checkpoint","sequenceNumber":{"a":1}}"#,
            SUSPECT,
        ),
        (r#"{"action":"checkpoint","checkpoint":[1]}"#, SUSPECT),
        (
            r#"{"action":"checkpoint","sequenceNumber":"1","subSequenceNumber":"x"}"#,
            SUSPECT,
        ),
        (
            r#"{"action":"checkpoint","subSequenceNumber":"1.9"}"#,
            SUSPECT,
        ),
        (
            r#"{"action":"checkpoint","subSequenceNumber":true}"#,
            SUSPECT,
        ),
        (r#"{"action":"checkpoint","subSequenceNumber":[]}"#, SUSPECT),
        (
            r#"{"action":"checkpoint","subSequenceNumber":9223372036854775808}"#,
            SUSPECT,
        ),
        (
            r#"{"action":"checkpoint","subSequenceNumber":-9223372036854775809}"#,
            SUSPECT,
        ),
        (
            r#"{"action":"checkpoint","subSequenceNumber":1e19}"#,
            SUSPECT,
        ),
        (r#"{"action":"status","responseFor":{}}"#, SUSPECT),
        // the array form with more than two elements
        (r#"["status",{"responseFor":"a"},1]"#, SUSPECT),
    ]);
}

#[test]
fn shapes_that_java_accepts() {
    check(&[
        (
            r#"{"action":"status","responseFor":"a"} and more {{{"#,
            status("a"),
        ),
        (
            r#"{"action":"status","responseFor":"a"}{"action":"status","responseFor":"b"}"#,
            status("a"),
        ),
        (r#"{"responseFor":"a","action":"status"}"#, status("a")),
        (
            r#"{"action":"status","responseFor":"a","responseFor":"b"}"#,
            status("b"),
        ),
        (
            r#"{"action":"status","action":"checkpoint","responseFor":"b"}"#,
            checkpoint(None, None),
        ),
        (
            "  \t{ \"action\" :\"status\" , \"responseFor\":\t\"a\" }  ",
            status("a"),
        ),
        (
            r#"{"\u0061ction":"st\u0061tus","responseFor":"a"}"#,
            status("a"),
        ),
        (r#"["status",{"responseFor":"a"}]"#, status("a")),
        (r#"["status",{"responseFor":"a"}] tail"#, status("a")),
        (
            r#" [ "checkpoint" , {"sequenceNumber":7} ]"#,
            checkpoint(Some("7"), None),
        ),
        (r#"["leaseLost",{}]"#, other("leaseLost")),
        (
            r#"{"action":"status"}"#,
            FromChild::Status { response_for: None },
        ),
        (
            r#"{"action":"status","responseFor":null}"#,
            FromChild::Status { response_for: None },
        ),
        (r#"{"action":"status","responseFor":5}"#, status("5")),
    ]);
}

#[test]
fn coercions_of_the_sequence_number() {
    let huge = "49650000000000000000000000000000000000000000000000000002";
    check(&[
        (
            &format!(r#"{{"action":"checkpoint","sequenceNumber":{huge}}}"#),
            checkpoint(Some(huge), None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":-1.50}"#,
            checkpoint(Some("-1.50"), None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":1E400}"#,
            checkpoint(Some("1E400"), None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":true}"#,
            checkpoint(Some("true"), None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":""}"#,
            checkpoint(Some(""), None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":"null"}"#,
            checkpoint(Some("null"), None),
        ),
        (
            r#"{"action":"checkpoint","sequenceNumber":"a\"\\\u00fc\ud83d\ude00"}"#,
            checkpoint(Some("a\"\\ü😀"), None),
        ),
    ]);
}

#[test]
fn a_lone_surrogate_is_replaced_and_the_request_survives() {
    let parsed = FromChild::parse(br#"{"action":"checkpoint","sequenceNumber":"1\ud83d2"}"#);
    let FromChild::Checkpoint(request) = parsed else {
        panic!("{parsed:?}");
    };
    let text = request.sequence_number.unwrap();
    assert!(
        text.starts_with('1') && text.ends_with('2') && text.contains('\u{fffd}'),
        "{text:?}"
    );
}

#[test]
fn coercions_of_the_sub_sequence_number() {
    for (written, expected) in [
        ("0", Some(0)),
        ("5", Some(5)),
        ("-1", Some(-1)),
        ("-0", Some(0)),
        ("\"5\"", Some(5)),
        ("\" 5 \"", Some(5)),
        ("\"+5\"", Some(5)),
        ("1.9", Some(1)),
        ("-1.9", Some(-1)),
        ("1e3", Some(1000)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("null", None),
        ("\"\"", None),
        ("\"  \"", None),
        ("\"null\"", None),
    ] {
        let line = format!(
            r#"{{"action":"checkpoint","sequenceNumber":"1","subSequenceNumber":{written}}}"#
        );
        assert_eq!(
            FromChild::parse(line.as_bytes()),
            checkpoint(Some("1"), expected),
            "{line}"
        );
    }
}

#[test]
fn more_than_java_accepts() {
    check(&[
        // Unknown properties, also of other types than scalars.
        (
            r#"{"action":"status","responseFor":"initialize","took":5}"#,
            status("initialize"),
        ),
        (
            r#"{"x":{"y":[1,{"action":"no"}]},"action":"status","responseFor":"a","z":"\ud800"}"#,
            status("a"),
        ),
        // `error` may be anything: it is ignored.
        (
            r#"{"action":"checkpoint","error":{"a":1},"sequenceNumber":"5"}"#,
            checkpoint(Some("5"), None),
        ),
        // P0's key.
        (
            r#"{"action": "checkpoint", "checkpoint": "7"}"#,
            legacy(Some("7")),
        ),
        (
            r#"{"action": "checkpoint", "checkpoint": null}"#,
            legacy(None),
        ),
        (
            r#"{"action":"checkpoint","checkpoint":7}"#,
            legacy(Some("7")),
        ),
        // Both keys: the newer one counts, and no P0 client knows it.
        (
            r#"{"action":"checkpoint","checkpoint":"7","sequenceNumber":"8"}"#,
            checkpoint(Some("8"), None),
        ),
        (
            r#"{"action":"checkpoint","checkpoint":"7","sequenceNumber":null}"#,
            checkpoint(Some("7"), None),
        ),
    ]);
}

#[test]
fn the_daemons_own_words_are_ignored() {
    for word in super::DAEMON_WORDS {
        let line = format!(r#"{{"action":"{word}","anything":[1]}}"#);
        assert_eq!(FromChild::parse(line.as_bytes()), other(word));
    }
}

#[test]
fn bytes_that_are_no_utf8_do_not_hide_a_message() {
    assert_eq!(
        FromChild::parse(b"{\"action\":\"status\",\"responseFor\":\"a\",\"x\":\"\xff\"}\xfe"),
        status("a")
    );
    assert_eq!(FromChild::parse(b"\xff\xfe\x00"), NOISE);
}

#[test]
fn deep_nesting_neither_overflows_nor_hides_a_message() {
    let deep = "[".repeat(200_000);
    let closed = format!("{deep}{}", "]".repeat(200_000));
    assert_eq!(FromChild::parse(deep.as_bytes()), NOISE);
    assert_eq!(FromChild::parse(closed.as_bytes()), NOISE);
    let inside = format!(r#"{{"x":{closed},"action":"status","responseFor":"a"}}"#);
    assert_eq!(FromChild::parse(inside.as_bytes()), status("a"));
}

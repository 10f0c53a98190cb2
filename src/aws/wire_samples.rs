//! Answers of Kinesis as text, ordinary, hostile and damaged, for the tests of the hot path.

use base64::Engine as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

pub(super) fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", "", " ", "\n\t", "\r\n  "])
}

/// A string of JSON that every reader takes in the same way.
pub(super) fn plain_string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,20}".prop_map(|text| format!("\"{text}\"")),
        1 => ".{0,12}".prop_map(|text: String| serde_json::to_string(&text).unwrap()),
        1 => select(vec![r#""\u0041\/\\\"\n\ud83d\ude00""#, r#""}{][,:""#, r#""\\""#, "\"ü}\u{2028}\""])
            .prop_map(str::to_owned),
    ]
}

pub(super) fn payload() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..200).prop_map(|bytes| {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("\"{text}\"")
    })
}

pub(super) fn time() -> impl Strategy<Value = String> {
    let millis = 0..4_102_444_800_000_u64;
    prop_oneof![
        4 => millis.clone().prop_map(|m| format!("{}.{:03}", m / 1000, m % 1000)),
        1 => millis.clone().prop_map(|m| format!("{}", m / 1000)),
        1 => millis.clone().prop_map(|m| format!("{:E}", m as f64 / 1000.0)),
        1 => (millis.clone(), 0..1_000_000_000_u32).prop_map(|(m, n)| format!("{}.{n:09}", m / 1000)),
        1 => millis.prop_map(|m| format!("{}.{}", m / 1000, m % 10)),
        1 => select(vec!["null", "0", "0.0", "1e3", "-1.5", "1.7E+9", "17356896001.23e-1"]).prop_map(str::to_owned),
    ]
}

pub(super) fn unknown() -> impl Strategy<Value = String> {
    let name = select(vec!["Extra", "Encryption", "__type", "records", ""]);
    let value = prop_oneof![
        plain_string(),
        select(vec![
            "null",
            "true",
            "-1.5e3",
            "[]",
            "{}",
            r#"[1,{"a":[null,"}"]}]"#,
            r#"{"Data":"x"}"#,
            r#""KMS""#,
            "1",
        ])
        .prop_map(str::to_owned),
    ];
    (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
}

/// Members in any order, with white space.
pub(super) fn object(members: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = String> {
    (members.prop_shuffle(), vec(space(), 4)).prop_map(|(members, space)| {
        let members: Vec<_> = members
            .iter()
            .map(|member| format!("{}{member}{}", space[0], space[1]))
            .collect();
        format!("{}{{{}{}}}", space[3], members.join(","), space[2])
    })
}

pub(super) fn ordinary_record() -> impl Strategy<Value = String> {
    let key = prop_oneof![4 => plain_string().boxed(), 1 => Just("null".to_owned()).boxed()];
    let members = (
        "[1-9][0-9]{0,55}",
        payload(),
        key,
        time(),
        vec(unknown(), 0..2),
    )
        .prop_map(|(sequence, data, key, time, unknown)| {
            let mut members = vec![
                format!("\"SequenceNumber\":\"{sequence}\""),
                format!("\"Data\":{data}"),
                format!("\"PartitionKey\":{key}"),
                format!("\"ApproximateArrivalTimestamp\":{time}"),
            ];
            members.extend(unknown);
            members
        });
    object(members)
}

/// An answer to GetRecords.
pub(super) fn answer(record: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    page(
        record,
        select(vec![
            r#""NextShardIterator":"AAAA==""#,
            r#""NextShardIterator":null"#,
            r#""NextShardIterator" : "\u0041""#,
        ]),
    )
}

/// An event of SubscribeToShard.
pub(super) fn event(record: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    page(
        record,
        select(vec![
            r#""ContinuationSequenceNumber":"495""#,
            r#""ContinuationSequenceNumber":null"#,
            r#""ContinuationSequenceNumber":"""#,
            r#""ContinuationSequenceNumber":"x""#,
        ]),
    )
}

fn page(
    record: impl Strategy<Value = String>,
    next: impl Strategy<Value = &'static str>,
) -> impl Strategy<Value = String> {
    let child = r#"[{"ShardId":"c","ParentShards":["a","b"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}]"#;
    let records =
        vec(record, 0..5).prop_map(|records| format!("\"Records\":[{}]", records.join(",")));
    let others = (
        next,
        select(vec![
            "\"MillisBehindLatest\":0",
            "\"MillisBehindLatest\":86400000",
            "\"MillisBehindLatest\":null",
        ]),
        select(vec![
            "\"ChildShards\":[]".to_owned(),
            format!("\"ChildShards\":{child}"),
            "\"ChildShards\":null".to_owned(),
        ]),
        vec(unknown(), 0..2),
    );
    let members = (records, others).prop_map(|(records, (next, behind, children, unknown))| {
        let mut members = vec![records, next.to_owned(), behind.to_owned(), children];
        members.extend(unknown);
        members
    });
    object(members)
}

/// What ordinary services do not send.
pub(super) fn hostile_record() -> impl Strategy<Value = String> {
    let member = select(vec![
        r#""SequenceNumber":"TRIM_HORIZON""#,
        r#""SequenceNumber":"""#,
        r#""SequenceNumber":7"#,
        r#""SequenceNumber":"\u0037""#,
        r#""SequenceNumber":null"#,
        r#""SequenceNumber":"12"#,
        r#""S\u0065quenceNumber":"8""#,
        r#""Data":"AA""#,
        r#""Data":"AB==""#,
        r#""Data":"A\/8=""#,
        r#""Data":"A-8=""#,
        r#""Data":"\u0041P8=""#,
        r#""Data":null"#,
        r#""Data":[]"#,
        r#""Data":"84mawgoBYRoFCAAaAWI=""#,
        r#""PartitionKey":"\ud800""#,
        "\"PartitionKey\":\"\u{1}\"",
        r#""PartitionKey":true"#,
        r#""PartitionKey":"k",,"#,
        r#""ApproximateArrivalTimestamp":"2026-01-01T00:00:00Z""#,
        r#""ApproximateArrivalTimestamp":1e400"#,
        r#""ApproximateArrivalTimestamp":99999999999999999999"#,
        r#""ApproximateArrivalTimestamp":1."#,
        r#""ApproximateArrivalTimestamp":01.5"#,
        r#""ApproximateArrivalTimestamp":-0"#,
        r#""ApproximateArrivalTimestamp":nullx"#,
        r#""EncryptionType":true"#,
        r#""EncryptionType":"\udc00""#,
        r#""Unknown":"\udc00""#,
        r#""Unknown":["\udc00"]"#,
        r#""Unknown":nul"#,
        r#""Unknown":01"#,
        r#"5"#,
        r#""#,
    ]);
    let text = prop_oneof![
        member.prop_map(str::to_owned),
        (
            select(vec!["SequenceNumber", "Data", "PartitionKey"]),
            plain_string()
        )
            .prop_map(|(name, value)| format!("\"{name}\":{value}")),
    ];
    let good = [r#""SequenceNumber":"495""#, r#""Data":"AP8=""#];
    let members = (vec(text, 1..3), any::<bool>()).prop_map(move |(mut members, whole)| {
        if whole {
            members.extend(good.map(str::to_owned));
        }
        members
    });
    object(members)
}

/// An answer after an accident.
pub(super) fn damaged(body: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let scraps = vec![
        "", "}", "]", "{", "[", ",", ":", "\"", "\\", "\u{0}", "é", "null", "0", " ", "\\u00",
        "1e9", "{}",
    ];
    let kind = prop_oneof![
        (any::<Index>(), any::<Index>(), select(scraps)).prop_map(|(a, b, scrap)| (
            a,
            b,
            scrap.as_bytes().to_vec()
        )),
        (any::<Index>(), any::<Index>(), vec(any::<u8>(), 1..3)),
    ];
    (body, kind, 0..3_usize).prop_map(|(body, (a, b, scrap), how)| {
        let mut body = body.into_bytes();
        let at = a.index(body.len() + 1);
        match how {
            0 => body.truncate(at),
            1 => drop(body.splice(at..at, scrap)),
            _ => {
                let to = usize::min(body.len(), at + b.index(4));
                drop(body.splice(at..to, scrap));
            }
        }
        body
    })
}

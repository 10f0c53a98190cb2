use base64::Engine as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::aws::clients::kinesis;
use crate::aws::kinesis::StreamRef;
use crate::aws::testing::{FakeService, Reply, settings};
use crate::core::stream::{Record, RecordView};
use crate::ports::{RecordsPage, Stream, StreamErrorKind};
use multilang_protocol::Data;

const JSON: &str = "application/x-amz-json-1.1";

/// Makes records again of what it gets.
#[derive(Default)]
struct Collected(Vec<Record>);

impl RecordSink for Collected {
    fn restart(&mut self) {
        self.0.clear();
    }

    fn record(&mut self, record: RecordView<'_>) {
        let mut data = Vec::new();
        match record.data {
            Data::Raw(bytes) => data.extend_from_slice(bytes),
            Data::Base64(text) => text.decode_into(&mut data),
        }
        self.0.push(Record {
            sequence_number: record.sequence_number.into(),
            partition_key: record.partition_key.to_owned(),
            data: data.into(),
            arrival_millis: record.arrival_millis,
        });
    }
}

async fn stream(service: &FakeService) -> KinesisStream {
    let client = kinesis(&settings(), &service.access()).await.unwrap();
    KinesisStream::new(client, StreamRef::Name("orders".to_owned()))
}

fn wire(body: &[u8], cuts: &[Index]) -> Reply {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|cut| body[cut[0]..cut[1]].to_vec());
    Reply::Wire {
        content_type: JSON,
        pieces: pieces.collect(),
        breaks: false,
    }
}

/// What both ways make of an answer, and how many calls the hot one took.
fn both(
    replies: Vec<Reply>,
) -> (
    Result<RecordsPage, StreamError>,
    Result<RecordsPage, StreamError>,
    usize,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (shard, iterator) = (ShardId::new("shardId-1"), ShardIterator("it".to_owned()));
        let service = FakeService::script(replies.clone());
        let reference = stream(&service)
            .await
            .get_records(&shard, &iterator, 10)
            .await;
        let service = FakeService::script(replies);
        let mut sink = Collected::default();
        // Of an answer that broke off before.
        sink.0.push(Record::clone(&Record {
            sequence_number: crate::core::sequence::SequenceNumber::parse("1").unwrap(),
            partition_key: "left over".to_owned(),
            data: Default::default(),
            arrival_millis: 0,
        }));
        let end = stream(&service)
            .await
            .read_records(&shard, &iterator, 10, &mut sink)
            .await;
        let hot = end.map(|end| RecordsPage {
            records: sink.0,
            next: end.next,
            millis_behind_latest: end.millis_behind_latest,
            children: end.children,
        });
        (reference, hot, service.seen().len())
    })
}

/// An answer that is always the same, with room for another try.
fn answered(
    body: &[u8],
    cuts: &[Index],
) -> (
    Result<RecordsPage, StreamError>,
    Result<RecordsPage, StreamError>,
    usize,
) {
    both(vec![wire(body, cuts); 4])
}

// ----------------------------------------------------------------------------------------- generators

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", "", " ", "\n\t", "\r\n  "])
}

/// A string of JSON that every reader takes in the same way.
fn plain_string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,20}".prop_map(|text| format!("\"{text}\"")),
        1 => ".{0,12}".prop_map(|text: String| serde_json::to_string(&text).unwrap()),
        1 => select(vec![r#""\u0041\/\\\"\n\ud83d\ude00""#, r#""}{][,:""#, r#""\\""#, "\"ü}\u{2028}\""])
            .prop_map(str::to_owned),
    ]
}

fn payload() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..200).prop_map(|bytes| {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("\"{text}\"")
    })
}

fn time() -> impl Strategy<Value = String> {
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

fn unknown() -> impl Strategy<Value = String> {
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
fn object(members: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = String> {
    (members.prop_shuffle(), vec(space(), 4)).prop_map(|(members, space)| {
        let members: Vec<_> = members
            .iter()
            .map(|member| format!("{}{member}{}", space[0], space[1]))
            .collect();
        format!("{}{{{}{}}}", space[3], members.join(","), space[2])
    })
}

fn ordinary_record() -> impl Strategy<Value = String> {
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

fn answer(record: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let child = r#"[{"ShardId":"c","ParentShards":["a","b"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}]"#;
    let records =
        vec(record, 0..5).prop_map(|records| format!("\"Records\":[{}]", records.join(",")));
    let others = (
        select(vec![
            "\"NextShardIterator\":\"AAAA==\"",
            "\"NextShardIterator\":null",
            "\"NextShardIterator\" : \"\\u0041\"",
        ]),
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
fn hostile_record() -> impl Strategy<Value = String> {
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
fn damaged(body: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
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

proptest! {
    #[test]
    fn ordinary_answers_are_scanned_and_mean_the_same(
        body in answer(ordinary_record()),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let (reference, hot, calls) = answered(body.as_bytes(), &cuts);
        prop_assert!(reference.is_ok(), "{:?}", reference);
        prop_assert_eq!(hot, reference);
        prop_assert_eq!(calls, 1, "the scanner left it to the SDK");
    }

    #[test]
    fn hostile_answers_mean_the_same(
        body in answer(prop_oneof![ordinary_record(), hostile_record()]),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let (reference, hot, _) = answered(body.as_bytes(), &cuts);
        prop_assert_eq!(hot, reference);
    }

    #[test]
    fn damaged_answers_mean_the_same(
        body in damaged(answer(ordinary_record())),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let (reference, hot, _) = answered(&body, &cuts);
        prop_assert_eq!(hot, reference);
    }

    #[test]
    fn every_cut_gives_the_same(body in answer(ordinary_record())) {
        let (reference, _, _) = answered(body.as_bytes(), &[]);
        let pieces = body.bytes().map(|byte| vec![byte]).collect();
        let reply = Reply::Wire { content_type: JSON, pieces, breaks: false };
        let (_, hot, calls) = both(vec![reply; 2]);
        prop_assert_eq!((hot, calls), (reference, 1));
    }
}

// -------------------------------------------------------------------------------------------- examples

fn good(pieces: Vec<Vec<u8>>, content_type: &'static str, breaks: bool) -> Reply {
    Reply::Wire {
        content_type,
        pieces,
        breaks,
    }
}

const PAGE: &str = r#"{"Records":[{"SequenceNumber":"7","Data":"AP8=","PartitionKey":"k","ApproximateArrivalTimestamp":1.5}],"NextShardIterator":"n"}"#;

#[test]
fn what_is_not_marked_as_json_is_read_by_the_sdk() {
    for kind in ["application/x-amz-cbor-1.1", "text/html", ""] {
        let (reference, hot, calls) = both(vec![good(vec![PAGE.into()], kind, false)]);
        assert_eq!(reference.as_ref().unwrap().records.len(), 1);
        assert_eq!((hot, calls), (reference, 1), "{kind}");
    }
    // CBOR is garbage to the SDK's JSON reader: a failure, and nothing is handed over.
    let cbor = vec![vec![0xbf, 0x67, b'R', b'e', b'c', 0xff]];
    let replies = vec![good(cbor, "application/x-amz-cbor-1.1", false); 2];
    let (reference, hot, calls) = both(replies);
    assert_eq!(reference.as_ref().unwrap_err().kind, StreamErrorKind::Retry);
    assert_eq!((hot, calls), (reference, 2));
    let (_, hot, calls) = both(vec![good(
        vec![PAGE.into()],
        "application/x-amz-json-1.1; charset=utf-8",
        false,
    )]);
    assert_eq!((hot.unwrap().records.len(), calls), (1, 1));
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_once_more_and_its_records_are_forgotten() {
    let half = PAGE.as_bytes()[..PAGE.len() - 30].to_vec();
    let broken = good(vec![half], JSON, true);
    let whole = good(vec![PAGE.into()], JSON, false);
    let (reference, hot, calls) = both(vec![broken.clone(), whole]);
    assert_eq!(reference.as_ref().unwrap().records.len(), 1);
    assert_eq!((hot, calls), (reference, 2));
    let (reference, hot, calls) = both(vec![broken; 3]);
    assert_eq!(reference.as_ref().unwrap_err().kind, StreamErrorKind::Retry);
    assert_eq!((hot, calls), (reference, 2));
}

#[test]
fn errors_of_the_service_are_the_same() {
    for (status, code) in [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ExpiredIteratorException"),
        (400, "ResourceNotFoundException"),
        (400, "KMSAccessDeniedException"),
        (500, "InternalFailure"),
    ] {
        let (reference, hot, calls) = both(vec![Reply::error(status, code, "words"); 2]);
        assert!(reference.is_err());
        assert_eq!(hot, reference, "{code}");
        assert_eq!(calls, if status == 500 { 2 } else { 1 });
    }
    for reply in [Reply::Refused, Reply::Broken] {
        let (reference, hot, _) = both(vec![reply; 2]);
        assert_eq!(hot, reference);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_in_time_is_a_time_out() {
    let service = FakeService::new(|_, _| Reply::Trickle);
    let stream = stream(&service).await;
    let (shard, iterator) = (ShardId::new("shardId-1"), ShardIterator("it".to_owned()));
    let mut sink = Collected::default();
    let error = stream
        .read_records(&shard, &iterator, 10, &mut sink)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Retry);
    assert!(error.message.contains("in time"), "{}", error.message);
}

#[tokio::test]
async fn a_service_that_is_always_unusual_is_soon_left_to_the_sdk() {
    let doubled = PAGE.replace("\"Data\"", "\"Data\":\"AP8=\",\"Data\"");
    let service = FakeService::new(move |_, _| good(vec![doubled.clone().into()], JSON, false));
    let stream = stream(&service).await;
    let (shard, iterator) = (ShardId::new("shardId-1"), ShardIterator("it".to_owned()));
    for reads in 1..10 {
        let mut sink = Collected::default();
        stream
            .read_records(&shard, &iterator, 10, &mut sink)
            .await
            .unwrap();
        assert_eq!(sink.0.len(), 1);
        assert_eq!(
            service.seen().len(),
            reads + usize::min(reads, MOST_STRANGE)
        );
    }
}

#[test]
fn a_record_of_ten_megabytes_comes_in_pieces() {
    let data = base64::engine::general_purpose::STANDARD.encode(vec![0xA5; 10 << 20]);
    let body = PAGE.replace("AP8=", &data).into_bytes();
    let pieces: Vec<Vec<u8>> = body.chunks(400_000).map(<[u8]>::to_vec).collect();
    let (reference, hot, calls) = both(vec![good(pieces, JSON, false)]);
    assert_eq!(reference.as_ref().unwrap().records[0].data.len(), 10 << 20);
    assert!(hot == reference);
    assert_eq!(calls, 1);
}

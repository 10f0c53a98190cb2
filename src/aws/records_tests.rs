use base64::Engine as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::aws::clients::kinesis;
use crate::aws::kinesis::StreamRef;
use crate::aws::testing::{FakeService, Reply, cut, settings};
use crate::aws::wire_samples::{answer, damaged, hostile_record, ordinary_record};
use crate::core::stream::Record;
use crate::ports::{RecordsPage, Stream, StreamErrorKind};

const JSON: &str = "application/x-amz-json-1.1";

async fn stream(service: &FakeService) -> KinesisStream {
    let client = kinesis(&settings(), &service.access()).await.unwrap();
    KinesisStream::new(client, StreamRef::Name("orders".to_owned()))
}

fn wire(body: &[u8], cuts: &[Index]) -> Reply {
    good(cut(body, cuts), JSON, false)
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
        let mut sink = Vec::<Record>::new();
        // Of an answer that broke off before.
        sink.push(Record::clone(&Record {
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
            records: sink,
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
    let mut sink = Vec::<Record>::new();
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
        let mut sink = Vec::<Record>::new();
        stream
            .read_records(&shard, &iterator, 10, &mut sink)
            .await
            .unwrap();
        assert_eq!(sink.len(), 1);
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

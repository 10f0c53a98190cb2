use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEventStream as Heard,
};
use aws_smithy_types::event_stream::{Header, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::aws::clients::kinesis;
use crate::aws::errors::{Call, stream_error};
use crate::aws::fanout::{cause_of, from_event, scanned_event};
use crate::aws::testing::{FakeService, Reply, cut, settings};
use crate::aws::wire_samples::{damaged, event, hostile_record, ordinary_record};
use crate::ports::{StreamErrorKind, SubscriptionEvent};

fn frame(kind: &str, name: &str, value: &str, payload: Vec<u8>) -> Vec<u8> {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let message = Message::new(payload)
        .add_header(Header::new(":message-type", text(kind)))
        .add_header(Header::new(name.to_owned(), text(value)))
        .add_header(Header::new(":content-type", text("application/json")));
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame).unwrap();
    frame
}

fn event_frame(json: impl Into<Vec<u8>>) -> Vec<u8> {
    frame("event", ":event-type", EVENT, json.into())
}

/// What a subscription told, event by event, and how it ended; and how many events the SDK read.
fn told(
    pieces: Vec<Vec<u8>>,
    tapped: bool,
) -> (
    Vec<Result<SubscriptionEvent, String>>,
    Option<StreamErrorKind>,
    usize,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let service = FakeService::new(move |_, _| Reply::Wire {
            content_type: "application/vnd.amazon.eventstream",
            pieces: pieces.clone(),
            breaks: false,
        });
        let client = kinesis(&settings(), &service.access()).await.unwrap();
        let latest = StartingPosition::builder()
            .r#type(ShardIteratorType::Latest)
            .build()
            .unwrap();
        let request = client
            .subscribe_to_shard()
            .consumer_arn("c")
            .shard_id("s")
            .starting_position(latest);
        let tap = EventTap::default();
        let sent = match tapped {
            true => request.customize().interceptor(tap.clone()).send().await,
            false => request.send().await,
        };
        let (mut events, mut by_sdk) = (Vec::new(), 0);
        let mut output = match sent {
            Ok(output) => output,
            // The first frame cannot be read.
            Err(_) => return (events, Some(StreamErrorKind::Retry), by_sdk),
        };
        let end = loop {
            match output.event_stream.recv().await {
                Ok(Some(Heard::SubscribeToShardEvent(event))) => events.push(match tap.take() {
                    Some(json) => {
                        let mut records = Vec::new();
                        scanned_event(&json, &mut records).map(|end| SubscriptionEvent {
                            records,
                            continuation: end.continuation,
                            millis_behind_latest: end.millis_behind_latest,
                            children: end.children,
                        })
                    }
                    None => {
                        by_sdk += 1;
                        from_event(event)
                    }
                }),
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => {
                    let call = Call {
                        service: "kinesis",
                        operation: "SubscribeToShard",
                        subject: "s",
                    };
                    break Some(stream_error(call, &cause_of(&error)).kind);
                }
            }
        };
        (events, end, by_sdk)
    })
}

fn compare(frames: &[Vec<u8>], cuts: &[Index]) -> Result<usize, TestCaseError> {
    let body = frames.concat();
    let (expected, expected_end, _) = told(vec![body.clone()], false);
    let (events, end, by_sdk) = told(cut(&body, cuts), true);
    prop_assert_eq!(events, expected);
    prop_assert_eq!(end, expected_end);
    Ok(by_sdk)
}

proptest! {
    #[test]
    fn ordinary_events_mean_the_same_and_are_not_read_by_the_sdk(
        events in vec(event(ordinary_record()), 0..4),
        cuts in vec(any::<Index>(), 0..8),
        begins in any::<bool>(),
    ) {
        let mut frames: Vec<_> = events.into_iter().map(event_frame).collect();
        if begins {
            frames.insert(0, frame("event", ":event-type", "initial-response", b"{}".to_vec()));
        }
        prop_assert_eq!(compare(&frames, &cuts)?, 0);
    }

    #[test]
    fn hostile_and_damaged_events_mean_the_same(
        hostile in event(prop_oneof![ordinary_record(), hostile_record()]),
        damaged in damaged(event(ordinary_record())),
        good in event(ordinary_record()),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        compare(&[event_frame(good.clone()), event_frame(hostile), event_frame(good.clone())], &cuts)?;
        compare(&[event_frame(good.clone()), event_frame(damaged), event_frame(good)], &cuts)?;
    }

    #[test]
    fn damaged_frames_end_the_subscription_in_the_same_way(
        good in event(ordinary_record()),
        at in any::<Index>(),
        byte in any::<u8>(),
        length in any::<Index>(),
    ) {
        let first = event_frame(good.clone());
        let mut second = event_frame(good);
        let at = at.index(second.len());
        second[at] = byte;
        second.truncate(length.index(second.len() + 1));
        compare(&[first, second], &[])?;
    }
}

#[test]
fn exceptions_and_unknown_frames_pass() {
    let good =
        event_frame(r#"{"Records":[],"ContinuationSequenceNumber":"5","MillisBehindLatest":0}"#);
    for (code, kind) in [
        ("ResourceInUseException", StreamErrorKind::InUse),
        ("ResourceNotFoundException", StreamErrorKind::Gone),
        ("KMSAccessDeniedException", StreamErrorKind::Denied),
        ("InternalFailureException", StreamErrorKind::Retry),
        ("SomethingNew", StreamErrorKind::Retry),
    ] {
        let frames = [
            good.clone(),
            frame("event", ":event-type", "NewKind", b"{}".to_vec()),
            good.clone(),
            frame(
                "exception",
                ":exception-type",
                code,
                br#"{"message":"words"}"#.to_vec(),
            ),
        ];
        let (events, end, by_sdk) = told(vec![frames.concat()], true);
        assert_eq!((events.len(), end, by_sdk), (2, Some(kind), 0), "{code}");
        compare(&frames, &[]).unwrap();
    }
}

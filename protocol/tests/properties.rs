//! Properties that hold for any input: round trips, one ASCII line per message, no panics, and
//! lines that do not depend on how the pipe was cut.

use base64::Engine;
use multilang_protocol::codec::{
    write_action, write_checkpoint_reply, write_checkpoint_request, write_status,
};
use multilang_protocol::to_child::{Initialization, Reply};
use multilang_protocol::{
    Action, ActionKind, Base64, BatchEncoder, CheckpointReply, CheckpointRequest, Data, Dialect,
    DialectSetting, FromChild, Heard, Knowledge, Line, LineSplitter, Phase, RecordRef, Session,
    ToChild,
};
use proptest::prelude::*;

/// Text with everything that encoders and line readers stumble over, and beyond it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(
            prop_oneof![
                any::<char>(),
                (0u8..0x20).prop_map(char::from),
                proptest::sample::select(vec![
                    '"',
                    '\\',
                    '/',
                    '\u{7f}',
                    '\u{85}',
                    '\u{a0}',
                    '\u{2028}',
                    '\u{2029}',
                    '\u{feff}',
                    '\u{fffd}',
                    '\u{d7ff}',
                    '\u{e000}',
                    '\u{ffff}',
                    '\u{10000}',
                    '\u{1f600}',
                    '\u{10ffff}',
                ]),
            ],
            0..80,
        )
        .prop_map(String::from_iter),
    ]
}

fn request() -> impl Strategy<Value = CheckpointRequest> {
    (
        proptest::option::of(text()),
        proptest::option::of(any::<i64>()),
        any::<bool>(),
    )
        .prop_map(|(sequence_number, sub, legacy)| CheckpointRequest {
            sequence_number,
            // P0 has no field for it.
            sub_sequence_number: if legacy { None } else { sub },
            legacy,
        })
}

fn dialect() -> impl Strategy<Value = Dialect> {
    proptest::sample::select(vec![Dialect::P0, Dialect::P1, Dialect::P2])
}

fn assert_one_ascii_line(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (last, body) = bytes.split_last().expect("a line");
    prop_assert_eq!(*last, b'\n');
    prop_assert!(body.iter().all(|byte| (0x20..=0x7e).contains(byte)));
    Ok(())
}

/// A line that a child may print, from the very right to the very wrong.
fn child_line() -> impl Strategy<Value = Vec<u8>> {
    let names = proptest::sample::select(vec![
        "initialize",
        "processRecords",
        "shutdownRequested",
        "leaseLost",
        "shardEnded",
        "shutdown",
        "nonsense",
    ]);
    prop_oneof![
        6 => names.prop_map(|name| {
            let mut line = Vec::new();
            write_status(&mut line, name);
            line
        }),
        4 => request().prop_map(|request| {
            let mut line = Vec::new();
            write_checkpoint_request(&mut line, &request);
            line
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => Just(Vec::new()),
    ]
}

fn action_of(kind: ActionKind) -> Action {
    match kind {
        ActionKind::Initialize => Action::Initialize {
            shard_id: "s".into(),
            sequence_number: "LATEST".into(),
            sub_sequence_number: 0,
        },
        ActionKind::ProcessRecords => Action::ProcessRecords(BatchEncoder::new().finish(None)),
        ActionKind::ShutdownRequested => Action::ShutdownRequested,
        ActionKind::LeaseLost => Action::LeaseLost,
        ActionKind::ShardEnded => Action::ShardEnded,
    }
}

#[derive(Clone, Debug)]
enum Move {
    Send(ActionKind),
    Hear(Vec<u8>),
    /// The child answers as it should.
    Answer,
    Reply(Option<String>),
    NextHeld,
    Close,
    Eof,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => proptest::sample::select(ActionKind::ALL.to_vec()).prop_map(Move::Send),
        8 => Just(Move::Answer),
        8 => child_line().prop_map(Move::Hear),
        6 => proptest::option::of(text()).prop_map(Move::Reply),
        4 => Just(Move::NextHeld),
        1 => Just(Move::Close),
        1 => Just(Move::Eof),
    ]
}

proptest! {
    #[test]
    fn initialize_comes_back_as_it_went(
        shard_id in text(),
        sequence_number in text(),
        sub in 0..=i64::MAX as u64,
        dialect in dialect(),
    ) {
        let action = Action::Initialize {
            shard_id: shard_id.clone(),
            sequence_number: sequence_number.clone(),
            sub_sequence_number: sub,
        };
        let mut line = Vec::new();
        write_action(&mut line, &action, dialect);
        assert_one_ascii_line(&line)?;
        prop_assert_eq!(ToChild::decode(&line).unwrap(), ToChild::Initialize(Initialization {
            shard_id,
            sequence_number: Some(sequence_number),
            sub_sequence_number: Some(sub as i64),
        }));
    }

    #[test]
    fn records_come_back_as_they_went(
        records in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..200), text(), text(), any::<i64>(), 0..=i64::MAX as u64),
            0..8,
        ),
        behind in proptest::option::of(any::<i64>()),
    ) {
        let (mut raw, mut encoded) = (BatchEncoder::new(), BatchEncoder::new());
        for (data, key, sequence, arrival, sub) in &records {
            let base64 = base64::engine::general_purpose::STANDARD.encode(data);
            let record = |data| RecordRef {
                data,
                partition_key: key,
                sequence_number: sequence,
                arrival_millis: *arrival,
                sub_sequence_number: *sub,
            };
            raw.push(&record(Data::Raw(data)));
            encoded.push(&record(Data::Base64(Base64::new(base64.as_bytes()).unwrap())));
        }
        let batch = raw.finish(behind);
        assert_one_ascii_line(batch.bytes())?;
        prop_assert_eq!(batch.records(), records.len());
        prop_assert_eq!(&encoded.finish(behind), &batch, "both kinds of data give the same line");

        let ToChild::ProcessRecords(read) = ToChild::decode(batch.bytes()).unwrap() else {
            return Err(TestCaseError::fail("not a batch"));
        };
        prop_assert_eq!(read.millis_behind_latest, behind);
        let read: Vec<_> = read.records.into_iter().map(|record| (
            record.data,
            record.partition_key,
            record.sequence_number,
            record.approximate_arrival_timestamp.unwrap(),
            record.sub_sequence_number.unwrap() as u64,
        )).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn a_request_comes_back_as_it_went(request in request()) {
        let mut line = Vec::new();
        write_checkpoint_request(&mut line, &request);
        assert_one_ascii_line(&line)?;
        prop_assert_eq!(FromChild::parse(&line), FromChild::Checkpoint(request));
    }

    #[test]
    fn a_reply_comes_back_as_it_went(
        request in request(),
        error in proptest::option::of(text()),
        error_message in proptest::option::of(text()),
    ) {
        let reply = CheckpointReply { request: request.clone(), error: error.clone(), error_message: error_message.clone() };
        let mut line = Vec::new();
        write_checkpoint_reply(&mut line, &reply);
        assert_one_ascii_line(&line)?;
        prop_assert_eq!(ToChild::decode(&line).unwrap(), ToChild::Checkpoint(Reply {
            sequence_number: request.sequence_number.clone(),
            sub_sequence_number: request.sub_sequence_number,
            error_message: error.as_ref().and(error_message),
            error,
        }));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(value.get("checkpoint").is_some(), request.legacy);
    }

    #[test]
    fn a_status_comes_back_as_it_went(word in text()) {
        let mut line = Vec::new();
        write_status(&mut line, &word);
        assert_one_ascii_line(&line)?;
        prop_assert_eq!(FromChild::parse(&line), FromChild::Status { response_for: Some(word) });
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ToChild::decode(&bytes);
        prop_assert_eq!(FromChild::parse(&bytes) == FromChild::Empty, bytes.is_empty());
    }

    #[test]
    fn no_damage_to_a_message_makes_the_parser_panic(
        line in child_line(),
        at in any::<proptest::sample::Index>(),
        insert in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut line = line;
        let at = at.index(line.len() + 1);
        line.splice(at..at, insert.iter().copied());
        prop_assert_eq!(FromChild::parse(&line) == FromChild::Empty, line.is_empty());
    }

    #[test]
    fn lines_do_not_depend_on_how_the_pipe_was_cut(
        parts in proptest::collection::vec(
            prop_oneof![Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"\r\n".to_vec()), proptest::collection::vec(b'a'..=b'c', 0..12)],
            0..30,
        ),
        sizes in proptest::collection::vec(1usize..10, 1..10),
        cap in 0usize..12,
    ) {
        let stream = parts.concat();
        let mut splitter = LineSplitter::new(cap);
        let mut found = Vec::new();
        let mut take = |line: Line<'_>| found.push((line.bytes.to_vec(), line.truncated));
        let (mut rest, mut sizes) = (&stream[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            splitter.feed(chunk, &mut take);
            rest = after;
        }
        splitter.finish(&mut take);

        // The plain definition: a line per ending, a last one if something is left.
        let unified = String::from_utf8(stream).unwrap().replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<_> = unified.split('\n').collect();
        if lines.last() == Some(&"") {
            lines.pop();
        }
        let expected: Vec<_> = lines.into_iter().map(|line| {
            let kept = line.len().min(cap);
            (line.as_bytes()[..kept].to_vec(), (line.len() - kept) as u64)
        }).collect();
        prop_assert_eq!(found, expected);
    }

    /// Whatever daemon and child do, the child sees a sane conversation: `initialize` first, one
    /// action at a time, each checkpoint answered once and in order, nothing after the end.
    #[test]
    fn a_child_always_sees_a_sane_conversation(
        moves in proptest::collection::vec(a_move(), 0..60),
        auto in any::<bool>(),
        start in dialect(),
    ) {
        let setting = if auto { DialectSetting::Auto } else { DialectSetting::Fixed(start) };
        let mut session = Session::new(setting, Knowledge::Guess(start));
        let mut sent: Vec<ActionKind> = Vec::new();
        let mut answered = 0;
        let mut asked: Vec<CheckpointRequest> = Vec::new();
        let mut replied = 0;
        let mut over = false;
        for step in moves {
            let mut out = Vec::new();
            let mut heard = None;
            match step {
                Move::Send(kind) => if session.send(&action_of(kind), &mut out).is_ok() {
                    assert_one_ascii_line(&out)?;
                    prop_assert!(!over, "{} after the end", kind);
                    prop_assert_eq!(kind == ActionKind::Initialize, sent.is_empty());
                    prop_assert_eq!(answered, sent.len(), "{} while another is unanswered", kind);
                    prop_assert_eq!(replied, asked.len(), "{} while a reply is owed", kind);
                    prop_assert!(!sent.contains(&ActionKind::LeaseLost));
                    if sent.contains(&ActionKind::ShardEnded) {
                        prop_assert!(kind.is_last());
                    }
                    if !auto && start == Dialect::P0 {
                        prop_assert_ne!(kind, ActionKind::ShutdownRequested);
                    }
                    sent.push(kind);
                } else {
                    prop_assert!(out.is_empty());
                },
                Move::Hear(line) => heard = Some(session.hear(&line)),
                Move::Answer => if let Phase::Awaiting(kind) = session.phase() {
                    let mut line = Vec::new();
                    write_status(&mut line, kind.wire_name(session.dialect()));
                    heard = Some(session.hear(&line));
                },
                Move::NextHeld => heard = session.next_held(),
                Move::Reply(error) => {
                    let owed = session.owed().cloned();
                    let request = owed.clone().unwrap_or_default();
                    let reply = CheckpointReply { request, error, error_message: None };
                    let result = session.reply(&reply, &mut out);
                    prop_assert_eq!(result.is_ok(), owed.is_some());
                    if owed.is_some() {
                        assert_one_ascii_line(&out)?;
                        prop_assert_eq!(asked.get(replied), owed.as_ref());
                        replied += 1;
                    }
                }
                Move::Close => { session.close(); over = true; }
                Move::Eof => { session.eof(); over = true; }
            }
            match heard {
                Some(Heard::Answered(kind)) => {
                    prop_assert_eq!(sent.get(answered), Some(&kind));
                    answered += 1;
                }
                Some(Heard::Checkpoint(request) | Heard::UnsolicitedCheckpoint(request)) => asked.push(request),
                Some(Heard::BadOutput(_)) => match session.phase() {
                    Phase::Broken => over = true,
                    // A wrong status for `shutdownRequested` ends that action only.
                    phase => {
                        prop_assert_eq!(phase, Phase::Idle { last: ActionKind::ShutdownRequested });
                        answered += 1;
                    }
                },
                _ => {}
            }
            if !auto {
                prop_assert_eq!(session.dialect(), start, "a fixed dialect never switches");
                prop_assert_eq!(session.learned(), None);
            }
        }
    }
}

//! What the transcripts cannot show: lines without end, floods, and the order of actions as a
//! whole table. The conversations themselves are in `transcripts/`.

use super::*;

fn session() -> Session {
    Session::new(DialectSetting::Auto, Knowledge::Nothing)
}

fn status(word: &str) -> Vec<u8> {
    let mut line = Vec::new();
    codec::write_status(&mut line, word);
    line.trim_ascii_end().to_vec()
}

/// Brings a fresh session to where `action` was answered.
fn answered(actions: &[ActionKind]) -> Session {
    let mut session = session();
    for &action in actions {
        session.begin(action).unwrap();
        let word = action.wire_name(session.dialect());
        assert_eq!(session.hear(&status(word)), Heard::Answered(action));
    }
    session
}

const REQUEST: &[u8] = br#"{"action":"checkpoint","sequenceNumber":"5"}"#;

fn request() -> CheckpointRequest {
    CheckpointRequest {
        sequence_number: Some("5".into()),
        ..Default::default()
    }
}

#[test]
fn what_another_child_taught_counts_from_the_next_action_on() {
    use ActionKind::*;
    let proof = Knowledge::Proof(Dialect::P0);
    let mut idle = answered(&[Initialize]);
    idle.take_over(proof);
    assert_eq!(idle.dialect(), Dialect::P0);
    assert!(!idle.accepts(ShutdownRequested));

    let mut busy = answered(&[Initialize]);
    busy.begin(ProcessRecords).unwrap();
    busy.take_over(proof);
    assert_eq!(
        busy.dialect(),
        Dialect::P2,
        "not in the middle of an action"
    );

    let mut fixed = Session::new(DialectSetting::Fixed(Dialect::P2), Knowledge::Nothing);
    fixed.take_over(proof);
    assert_eq!(fixed.dialect(), Dialect::P2);
}

#[test]
fn which_action_may_follow_which() {
    use ActionKind::*;
    // answered so far → allowed next
    let table: [(&[ActionKind], &[ActionKind]); 7] = [
        (&[], &[Initialize]),
        (
            &[Initialize],
            &[ProcessRecords, ShutdownRequested, LeaseLost, ShardEnded],
        ),
        (
            &[Initialize, ProcessRecords],
            &[ProcessRecords, ShutdownRequested, LeaseLost, ShardEnded],
        ),
        (
            &[Initialize, ShutdownRequested],
            &[ShutdownRequested, LeaseLost, ShardEnded],
        ),
        (&[Initialize, ShardEnded], &[LeaseLost, ShardEnded]),
        (&[Initialize, LeaseLost], &[]),
        (&[Initialize, ShardEnded, LeaseLost], &[]),
    ];
    for (before, allowed) in table {
        for next in ActionKind::ALL {
            let mut session = answered(before);
            let phase = session.phase();
            let result = session.begin(next);
            assert_eq!(
                result.is_ok(),
                allowed.contains(&next),
                "{before:?} then {next}: {result:?}"
            );
            let expected = match result {
                Ok(()) => Phase::Awaiting(next),
                Err(_) => phase,
            };
            assert_eq!(session.phase(), expected);
        }
    }
}

#[test]
fn nothing_may_be_sent_while_an_action_or_a_reply_is_outstanding() {
    for next in ActionKind::ALL {
        let mut session = answered(&[ActionKind::Initialize]);
        session.begin(ActionKind::ProcessRecords).unwrap();
        assert_eq!(
            session.begin(next),
            Err(Misuse::Unanswered {
                action: next,
                outstanding: ActionKind::ProcessRecords
            })
        );
        session.hear(REQUEST);
        assert_eq!(session.begin(next), Err(Misuse::ReplyOwed { action: next }));
    }
}

#[test]
fn a_reply_must_answer_the_owed_request() {
    let mut session = answered(&[ActionKind::Initialize]);
    let mut out = Vec::new();
    let reply = CheckpointReply::stored(request());
    assert_eq!(session.reply(&reply, &mut out), Err(Misuse::NothingOwed));

    session.begin(ActionKind::ProcessRecords).unwrap();
    assert_eq!(session.hear(REQUEST), Heard::Checkpoint(request()));
    assert_eq!(session.owed(), Some(&request()));
    let other = CheckpointReply::stored(CheckpointRequest::default());
    assert_eq!(session.reply(&other, &mut out), Err(Misuse::OtherRequest));
    assert!(out.is_empty());
    assert_eq!(
        session.phase(),
        Phase::Owing {
            during: Some(ActionKind::ProcessRecords)
        }
    );
    session.reply(&reply, &mut out).unwrap();
    assert_eq!(session.reply(&reply, &mut out), Err(Misuse::NothingOwed));
    assert_eq!(session.phase(), Phase::Awaiting(ActionKind::ProcessRecords));
}

#[test]
fn a_line_beyond_the_cap_is_bad_output_in_a_living_conversation_only() {
    let line = Line {
        bytes: b"xxxx",
        truncated: 6,
    };
    let mut running = answered(&[ActionKind::Initialize]);
    running.begin(ActionKind::ProcessRecords).unwrap();
    assert_eq!(
        running.hear_line(line),
        Heard::BadOutput(Bad::LineTooLong { bytes: 10, kept: 4 })
    );
    assert_eq!(running.phase(), Phase::Broken);
    assert_eq!(
        running.eof(),
        Eof::Failed {
            during: Some(ActionKind::ProcessRecords)
        }
    );

    let mut closed = answered(&[ActionKind::Initialize]);
    closed.close();
    assert_eq!(
        closed.hear_line(line),
        Heard::Noise {
            looks_like_protocol: false
        }
    );
    assert_eq!(closed.eof(), Eof::Finished);

    let mut whole = session();
    whole.begin(ActionKind::Initialize).unwrap();
    let status = status("initialize");
    let line = Line {
        bytes: &status,
        truncated: 0,
    };
    assert_eq!(
        whole.hear_line(line),
        Heard::Answered(ActionKind::Initialize)
    );
}

#[test]
fn a_flood_ahead_of_a_reply_is_bad_output_and_a_burst_is_not() {
    let mut session = answered(&[ActionKind::Initialize]);
    session.begin(ActionKind::ProcessRecords).unwrap();
    let burst = HELD_LIMIT / REQUEST.len();
    assert_eq!(session.hear(REQUEST), Heard::Checkpoint(request()));
    for _ in 0..burst {
        assert_eq!(session.hear(REQUEST), Heard::Held);
    }
    let mut out = Vec::new();
    for _ in 0..burst {
        session
            .reply(&CheckpointReply::stored(request()), &mut out)
            .unwrap();
        assert_eq!(session.next_held(), Some(Heard::Checkpoint(request())));
    }
    // All were taken, so the next burst starts from zero.
    for _ in 0..burst {
        assert_eq!(session.hear(REQUEST), Heard::Held);
    }
    assert_eq!(
        session.hear(REQUEST),
        Heard::BadOutput(Bad::TooMuchAhead { limit: HELD_LIMIT })
    );
    assert_eq!(session.phase(), Phase::Broken);
    assert_eq!(session.next_held(), None);
}

#[test]
fn the_verdict_at_the_end_is_repeated() {
    let mut session = answered(&[ActionKind::Initialize]);
    session.begin(ActionKind::ShardEnded).unwrap();
    assert_eq!(session.eof(), Eof::ShardEndedUnanswered);
    assert_eq!(session.phase(), Phase::Ended);
    session.close();
    assert_eq!(session.eof(), Eof::ShardEndedUnanswered);
    assert_eq!(
        session.learned(),
        Some(Knowledge::Guess(Dialect::P1)),
        "one lesson, not two"
    );
}

#[test]
fn a_shared_batch_is_sent_as_it_is() {
    let batch = crate::BatchEncoder::new().finish(Some(3));
    let mut session = answered(&[ActionKind::Initialize]);
    let mut out = b"before ".to_vec();
    session
        .send(&Action::ProcessRecords(batch.clone()), &mut out)
        .unwrap();
    assert_eq!(out, [b"before ", batch.bytes()].concat());
}

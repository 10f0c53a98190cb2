//! Replays the golden conversations of `transcripts/*.jsonl`.
//!
//! Each line of a transcript is one JSON object. `who` says what happens:
//!
//! | who | other fields | what it stands for |
//! |---|---|---|
//! | `start` | `setting` (`auto`, `p0`…), `known` (`nothing`, `guess p1`, `proof p0`…), `note` | a new child; the lines up to the next `start` are its conversation |
//! | `daemon` | `line` | the daemon writes exactly these bytes and `\n` |
//! | `child` | `line`, `expect`, `permission` for a checkpoint | the child prints the line; what the session makes of it |
//! | `held` | `expect` | the next message that was held back (`nothing` if none) |
//! | `refused` | `line`, `expect` | the session refuses to send this, with this sentence |
//! | `close` | | the daemon closes the child's input |
//! | `eof` | `expect` | the child's output ends; what that means |
//! | `learned` | `expect` | what the conversation has taught so far (`nothing new`, `nothing`, `guess p1`…) |
//!
//! `note` is a comment, allowed everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use multilang_protocol::to_child::{Initialization, Record};
use multilang_protocol::{
    Action, BatchEncoder, CheckpointReply, Data, DialectSetting, EncodedBatch, Eof, Heard,
    Knowledge, RecordRef, Session, ToChild,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "who", rename_all = "lowercase", deny_unknown_fields)]
enum Step {
    Start {
        setting: String,
        known: String,
        note: String,
    },
    Daemon {
        line: String,
        #[serde(rename = "note")]
        _note: Option<String>,
    },
    Child {
        line: String,
        expect: String,
        permission: Option<String>,
    },
    Held {
        expect: String,
    },
    Refused {
        line: String,
        expect: String,
    },
    Close {},
    Eof {
        expect: String,
    },
    Learned {
        expect: String,
    },
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "jsonl"))
        .collect();
    files.sort();
    files
}

fn steps(file: &Path) -> Vec<Step> {
    fs::read_to_string(file)
        .unwrap()
        .lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), number + 1))
        })
        .collect()
}

fn knowledge(text: &str) -> Knowledge {
    let dialect = |name: &str| match name.parse().unwrap() {
        DialectSetting::Fixed(dialect) => dialect,
        DialectSetting::Auto => panic!("auto is no dialect"),
    };
    match text.split_once(' ') {
        None if text == "nothing" => Knowledge::Nothing,
        Some(("guess", name)) => Knowledge::Guess(dialect(name)),
        Some(("proof", name)) => Knowledge::Proof(dialect(name)),
        _ => panic!("`{text}` is no knowledge"),
    }
}

fn lesson(learned: Option<Knowledge>) -> String {
    match learned {
        None => "nothing new".into(),
        Some(Knowledge::Nothing) => "nothing".into(),
        Some(Knowledge::Guess(dialect)) => format!("guess {dialect}"),
        Some(Knowledge::Proof(dialect)) => format!("proof {dialect}"),
    }
}

fn heard(heard: &Heard) -> String {
    match heard {
        Heard::Answered(action) => format!("answered {action}"),
        Heard::Checkpoint(_) => "checkpoint".into(),
        Heard::UnsolicitedCheckpoint(_) => "unsolicited checkpoint".into(),
        Heard::Held => "held".into(),
        Heard::Noise {
            looks_like_protocol: false,
        } => "noise".into(),
        Heard::Noise {
            looks_like_protocol: true,
        } => "suspicious noise".into(),
        Heard::Ignored { action } => format!("ignored {action}"),
        Heard::Empty => "empty".into(),
        Heard::BadOutput(bad) => format!("bad: {bad}"),
    }
}

fn verdict(eof: Eof) -> String {
    match eof {
        Eof::Finished => "finished".into(),
        Eof::Failed { during: None } => "failed".into(),
        Eof::Failed {
            during: Some(action),
        } => format!("failed during {action}"),
        Eof::LeftAfterShutdownRequested => "left after shutdownRequested".into(),
        Eof::LeaseLostUnanswered => "leaseLost unanswered".into(),
        Eof::ShutdownRequestedUnanswered => "shutdownRequested unanswered".into(),
        Eof::ShardEndedUnanswered => "shardEnded unanswered".into(),
    }
}

fn encode(records: &[Record], behind: Option<i64>) -> EncodedBatch {
    let mut encoder = BatchEncoder::new();
    for record in records {
        encoder.push(&RecordRef {
            data: Data::Raw(&record.data),
            partition_key: &record.partition_key,
            sequence_number: &record.sequence_number,
            arrival_millis: record.approximate_arrival_timestamp.unwrap(),
            sub_sequence_number: record.sub_sequence_number.unwrap().try_into().unwrap(),
        });
    }
    encoder.finish(behind)
}

/// The action that a daemon's line stands for; `None` for a checkpoint reply.
fn action(message: ToChild) -> Option<Action> {
    Some(match message {
        ToChild::Initialize(Initialization {
            shard_id,
            sequence_number,
            sub_sequence_number,
        }) => Action::Initialize {
            shard_id,
            sequence_number: sequence_number.unwrap(),
            sub_sequence_number: sub_sequence_number.unwrap().try_into().unwrap(),
        },
        ToChild::ProcessRecords(batch) => {
            Action::ProcessRecords(encode(&batch.records, batch.millis_behind_latest))
        }
        ToChild::ShutdownRequested => Action::ShutdownRequested,
        ToChild::LeaseLost => Action::LeaseLost,
        ToChild::ShardEnded => Action::ShardEnded,
        ToChild::Shutdown { reason } => match reason.as_deref() {
            Some("ZOMBIE") => Action::LeaseLost,
            Some("TERMINATE") => Action::ShardEnded,
            other => panic!("no such reason: {other:?}"),
        },
        ToChild::Checkpoint(_) => return None,
    })
}

fn daemon_says(session: &mut Session, line: &str) -> Vec<u8> {
    let message = ToChild::decode(line.as_bytes()).unwrap();
    let mut out = Vec::new();
    match message {
        ToChild::Checkpoint(reply) => {
            let request = session.owed().expect("a reply is owed").clone();
            let reply = CheckpointReply {
                request,
                error: reply.error,
                error_message: reply.error_message,
            };
            session.reply(&reply, &mut out).unwrap();
        }
        other => {
            let action = action(other).expect("replies are handled above");
            session.send(&action, &mut out).unwrap();
        }
    }
    out
}

fn replay(file: &Path) {
    let mut session = None;
    let mut story = String::new();
    for (number, step) in steps(file).into_iter().enumerate() {
        if let Step::Start {
            setting,
            known,
            note,
        } = step
        {
            session = Some(Session::new(setting.parse().unwrap(), knowledge(&known)));
            story = note;
            continue;
        }
        let at = format!("{}:{} ({story})", file.display(), number + 1);
        let session = session.as_mut().expect("a transcript begins with a start");
        match step {
            Step::Start { .. } => unreachable!("handled above"),
            Step::Daemon { line, .. } => {
                let said = daemon_says(session, &line);
                assert_eq!(
                    String::from_utf8(said).unwrap(),
                    format!("{line}\n"),
                    "{at}"
                );
            }
            Step::Child {
                line,
                expect,
                permission,
            } => {
                assert_eq!(heard(&session.hear(line.as_bytes())), expect, "{at}");
                if let Some(permission) = permission {
                    let found = session.owed_permission().expect("a reply is owed");
                    assert_eq!(found.error_name().unwrap_or("yes"), permission, "{at}");
                }
            }
            Step::Held { expect } => {
                let next = session.next_held();
                let found = next.map_or("nothing".into(), |next| heard(&next));
                assert_eq!(found, expect, "{at}");
            }
            Step::Refused { line, expect } => {
                let action = action(ToChild::decode(line.as_bytes()).unwrap()).unwrap();
                let (phase, mut out) = (session.phase(), Vec::new());
                let misuse = session.send(&action, &mut out).unwrap_err();
                assert_eq!(misuse.to_string(), expect, "{at}");
                assert!(out.is_empty(), "{at}: nothing is written");
                assert_eq!(session.phase(), phase, "{at}: nothing changes");
            }
            Step::Close {} => session.close(),
            Step::Eof { expect } => assert_eq!(verdict(session.eof()), expect, "{at}"),
            Step::Learned { expect } => assert_eq!(lesson(session.learned()), expect, "{at}"),
        }
    }
}

#[test]
fn every_conversation_goes_as_written() {
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        replay(&file);
    }
}

/// The transcripts are also the daemon's test data, so they have to show everything.
#[test]
fn together_they_show_every_outcome() {
    let mut seen = BTreeSet::new();
    for step in files().iter().flat_map(|file| steps(file)) {
        match step {
            Step::Child { expect, .. } | Step::Held { expect } => {
                seen.insert(format!("heard {}", shape(&expect)));
            }
            Step::Eof { expect } => {
                seen.insert(format!("eof {expect}"));
            }
            Step::Daemon { line, .. } => {
                if let ToChild::Checkpoint(reply) = ToChild::decode(line.as_bytes()).unwrap() {
                    let name = reply.error.as_deref().unwrap_or("none");
                    seen.insert(format!("error {name}"));
                }
            }
            _ => {}
        }
    }
    for expected in [
        "heard answered initialize",
        "heard answered processRecords",
        "heard answered shutdownRequested",
        "heard answered leaseLost",
        "heard answered shardEnded",
        "heard checkpoint",
        "heard unsolicited checkpoint",
        "heard held",
        "heard noise",
        "heard suspicious noise",
        "heard empty",
        "heard bad: the child answered",
        "heard bad: the child sent",
        "eof finished",
        "eof failed",
        "eof failed during initialize",
        "eof failed during processRecords",
        "eof failed during shutdownRequested",
        "eof failed during leaseLost",
        "eof failed during shardEnded",
        "eof left after shutdownRequested",
        "eof leaseLost unanswered",
        "eof shutdownRequested unanswered",
        "eof shardEnded unanswered",
        "error none",
        "error ShutdownException",
        "error ThrottlingException",
        "error KinesisClientLibDependencyException",
        "error InvalidStateException",
        "error IllegalArgumentException",
        "error RuntimeException",
    ] {
        assert!(seen.contains(expected), "no transcript shows: {expected}");
    }
}

/// An expectation without the details of a sentence.
fn shape(expect: &str) -> String {
    match expect.strip_prefix("bad: ") {
        Some(sentence) => {
            let words: Vec<_> = sentence.split(' ').take(3).collect();
            format!("bad: {}", words.join(" "))
        }
        None => expect.to_owned(),
    }
}

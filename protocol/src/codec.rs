//! Messages → one line of ASCII JSON, ended by `\n`. Field order is Java's; no client depends on
//! it. The way back is [`crate::from_child`] and [`crate::to_child`].

use crate::json::{push_integer, push_optional_integer, push_optional_string, push_string};
use crate::message::{Action, ActionKind, CheckpointReply, CheckpointRequest, Dialect};

/// Appends an action as a child of `dialect` understands it. A P2 `initialize` or batch satisfies
/// older children too; only the words for the end differ (protocol.md §14.1).
pub fn write_action(out: &mut Vec<u8>, action: &Action, dialect: Dialect) {
    match action {
        Action::Initialize {
            shard_id,
            sequence_number,
            sub_sequence_number,
        } => {
            out.extend_from_slice(br#"{"action":"initialize","shardId":"#);
            push_string(out, shard_id);
            out.extend_from_slice(br#","sequenceNumber":"#);
            push_string(out, sequence_number);
            out.extend_from_slice(br#","subSequenceNumber":"#);
            push_integer(out, *sub_sequence_number);
            out.extend_from_slice(b"}\n");
        }
        Action::ProcessRecords(batch) => out.extend_from_slice(batch.bytes()),
        Action::ShutdownRequested => write_bare(out, ActionKind::ShutdownRequested, dialect),
        Action::LeaseLost => write_bare(out, ActionKind::LeaseLost, dialect),
        Action::ShardEnded => write_bare(out, ActionKind::ShardEnded, dialect),
    }
}

fn write_bare(out: &mut Vec<u8>, kind: ActionKind, dialect: Dialect) {
    out.extend_from_slice(br#"{"action":"#);
    push_string(out, kind.wire_name(dialect));
    if let Some(reason) = kind.wire_reason(dialect) {
        out.extend_from_slice(br#","reason":"#);
        push_string(out, reason);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the daemon's answer to a checkpoint request. A request that used P0's key gets its
/// value under both keys; `errorMessage` is there only beside an error.
pub fn write_checkpoint_reply(out: &mut Vec<u8>, reply: &CheckpointReply) {
    let CheckpointRequest {
        sequence_number,
        sub_sequence_number,
        legacy,
    } = &reply.request;
    out.extend_from_slice(br#"{"action":"checkpoint""#);
    if *legacy {
        out.extend_from_slice(br#","checkpoint":"#);
        push_optional_string(out, sequence_number.as_deref());
    }
    out.extend_from_slice(br#","sequenceNumber":"#);
    push_optional_string(out, sequence_number.as_deref());
    out.extend_from_slice(br#","subSequenceNumber":"#);
    push_optional_integer(out, *sub_sequence_number);
    out.extend_from_slice(br#","error":"#);
    push_optional_string(out, reply.error.as_deref());
    if let (Some(_), Some(message)) = (&reply.error, &reply.error_message) {
        out.extend_from_slice(br#","errorMessage":"#);
        push_string(out, message);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a child's status: the answer to the action of that wire name.
pub fn write_status(out: &mut Vec<u8>, response_for: &str) {
    out.extend_from_slice(br#"{"action":"status","responseFor":"#);
    push_string(out, response_for);
    out.extend_from_slice(b"}\n");
}

/// Appends a child's checkpoint request, in P0's form if it is marked so.
pub fn write_checkpoint_request(out: &mut Vec<u8>, request: &CheckpointRequest) {
    out.extend_from_slice(br#"{"action":"checkpoint","#);
    if request.legacy {
        out.extend_from_slice(br#""checkpoint":"#);
        push_optional_string(out, request.sequence_number.as_deref());
    } else {
        out.extend_from_slice(br#""sequenceNumber":"#);
        push_optional_string(out, request.sequence_number.as_deref());
        out.extend_from_slice(br#","subSequenceNumber":"#);
        push_optional_integer(out, request.sub_sequence_number);
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchEncoder;

    fn action(action: &Action, dialect: Dialect) -> String {
        let mut out = Vec::new();
        write_action(&mut out, action, dialect);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn actions_in_every_dialect() {
        let initialize = Action::Initialize {
            shard_id: "shardId-000000000003".into(),
            sequence_number: "TRIM_HORIZON".into(),
            sub_sequence_number: 0,
        };
        let table = [
            (
                initialize,
                r#"{"action":"initialize","shardId":"shardId-000000000003","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#,
                r#"{"action":"initialize","shardId":"shardId-000000000003","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#,
            ),
            (
                Action::ProcessRecords(BatchEncoder::new().finish(Some(5))),
                r#"{"action":"processRecords","records":[],"millisBehindLatest":5}"#,
                r#"{"action":"processRecords","records":[],"millisBehindLatest":5}"#,
            ),
            (
                Action::LeaseLost,
                r#"{"action":"shutdown","reason":"ZOMBIE"}"#,
                r#"{"action":"leaseLost"}"#,
            ),
            (
                Action::ShardEnded,
                r#"{"action":"shutdown","reason":"TERMINATE"}"#,
                r#"{"action":"shardEnded"}"#,
            ),
            (
                Action::ShutdownRequested,
                r#"{"action":"shutdownRequested"}"#,
                r#"{"action":"shutdownRequested"}"#,
            ),
        ];
        for (given, old, new) in table {
            assert_eq!(action(&given, Dialect::P0), format!("{old}\n"));
            assert_eq!(action(&given, Dialect::P1), format!("{old}\n"));
            assert_eq!(action(&given, Dialect::P2), format!("{new}\n"));
        }
    }

    #[test]
    fn replies_echo_the_request() {
        let request = |sequence: Option<&str>, sub, legacy| CheckpointRequest {
            sequence_number: sequence.map(str::to_owned),
            sub_sequence_number: sub,
            legacy,
        };
        let silent = CheckpointReply {
            request: request(Some("1"), None, false),
            error: None,
            error_message: Some("belongs to no error".into()),
        };
        let table = [
            (
                CheckpointReply::stored(request(Some("101"), Some(1), false)),
                r#"{"action":"checkpoint","sequenceNumber":"101","subSequenceNumber":1,"error":null}"#,
            ),
            (
                CheckpointReply::stored(request(None, None, true)),
                r#"{"action":"checkpoint","checkpoint":null,"sequenceNumber":null,"subSequenceNumber":null,"error":null}"#,
            ),
            (
                CheckpointReply::refused(
                    request(Some("7"), None, true),
                    "ThrottlingException",
                    "später",
                ),
                r#"{"action":"checkpoint","checkpoint":"7","sequenceNumber":"7","subSequenceNumber":null,"error":"ThrottlingException","errorMessage":"sp\u00E4ter"}"#,
            ),
            (
                silent,
                r#"{"action":"checkpoint","sequenceNumber":"1","subSequenceNumber":null,"error":null}"#,
            ),
        ];
        for (reply, expected) in table {
            let mut out = Vec::new();
            write_checkpoint_reply(&mut out, &reply);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
        }
    }
}

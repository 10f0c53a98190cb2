//! The processor's side of the conversation, so that a record processor in Rust is a page of code
//! (see `examples/rust_processor.rs`). Works under this daemon and under Java's, in all dialects.
//!
//! STDOUT belongs to the protocol: a processor logs to STDERR.

use std::error::Error;
use std::io::{self, BufRead, Write};

use crate::codec;
use crate::message::{ActionKind, CheckpointRequest, error_name};
use crate::to_child::ToChild;
pub use crate::to_child::{Batch, DecodeError, Initialization, Record, Reply};

/// What a callback returns. An error ends [`run`] without acknowledging the action, so the daemon
/// delivers the records again, from the last checkpoint, to a new process.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// What to do at each step of a shard's life. One process serves one shard.
pub trait RecordProcessor {
    /// First and once.
    fn initialize(&mut self, _start: &Initialization) -> Outcome {
        Ok(())
    }

    /// A batch, in the order of the shard. Checkpoint what is safely done, not necessarily each
    /// time: whatever was not checkpointed comes again after a restart.
    fn process_records(&mut self, batch: Batch, checkpointer: &mut Checkpointer<'_>) -> Outcome;

    /// The lease is gone and checkpoints are refused: let go. Another worker goes on from the last
    /// checkpoint.
    fn lease_lost(&mut self) -> Outcome {
        Ok(())
    }

    /// All records of the shard were delivered. Must checkpoint, or the shards that follow it are
    /// held up.
    fn shard_ended(&mut self, checkpointer: &mut Checkpointer<'_>) -> Outcome {
        checkpointer.checkpoint()?;
        Ok(())
    }

    /// The lease will be given up soon: the last chance to checkpoint. Not always called.
    fn shutdown_requested(&mut self, _checkpointer: &mut Checkpointer<'_>) -> Outcome {
        Ok(())
    }
}

/// Stores progress during a callback.
pub struct Checkpointer<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

impl Checkpointer<'_> {
    /// Stores everything delivered so far, including the whole current batch.
    ///
    /// # Errors
    /// [`CheckpointError`]; the action goes on and the checkpoint may be tried again.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        self.ask(&CheckpointRequest::default())
    }

    /// Stores everything up to and including this record: its `sequence_number` and, for records
    /// of an aggregate, its `sub_sequence_number`. `None` is the first of an aggregate.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint`].
    pub fn checkpoint_at(
        &mut self,
        sequence_number: &str,
        sub_sequence_number: Option<i64>,
    ) -> Result<(), CheckpointError> {
        self.ask(&CheckpointRequest {
            sequence_number: Some(sequence_number.to_owned()),
            sub_sequence_number,
            legacy: false,
        })
    }

    fn ask(&mut self, request: &CheckpointRequest) -> Result<(), CheckpointError> {
        let mut line = Vec::new();
        codec::write_checkpoint_request(&mut line, request);
        self.output.write_all(&line)?;
        self.output.flush()?;
        let Some(answer) = read_line(self.input)? else {
            return Err(CheckpointError::Closed);
        };
        match ToChild::decode(&answer) {
            Ok(ToChild::Checkpoint(Reply { error: None, .. })) => Ok(()),
            Ok(ToChild::Checkpoint(Reply {
                error: Some(name),
                error_message,
                ..
            })) => Err(CheckpointError::Refused {
                name,
                message: error_message,
            }),
            Ok(_) | Err(_) => Err(CheckpointError::NoReply),
        }
    }
}

/// A checkpoint that was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The daemon says no.
    #[error("the checkpoint was refused: {name}{}", .message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Refused {
        /// The wire name, one of [`error_name`] or another.
        name: String,
        /// The daemon's explanation, if it gives one.
        message: Option<String>,
    },
    /// The daemon ended the conversation.
    #[error("the daemon closed STDIN instead of answering a checkpoint")]
    Closed,
    /// The daemon said something else than a reply; this process has lost its place in the
    /// conversation and should end.
    #[error("the daemon sent another message where a checkpoint reply was due")]
    NoReply,
    /// STDIN or STDOUT failed.
    #[error("talking to the daemon failed: {0}")]
    Io(#[from] io::Error),
}

impl CheckpointError {
    /// The name on the wire, or what client libraries of other languages report in its place.
    pub fn wire_name(&self) -> Option<&str> {
        match self {
            CheckpointError::Refused { name, .. } => Some(name),
            CheckpointError::NoReply => Some(error_name::INVALID_STATE),
            CheckpointError::Closed | CheckpointError::Io(_) => None,
        }
    }

    /// Whether another try after a pause may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.wire_name(),
            Some(error_name::THROTTLING | error_name::DEPENDENCY | error_name::RUNTIME)
        )
    }
}

/// Why [`run`] ended before the daemon closed STDIN. Print it to STDERR and exit with a code other
/// than 0.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// STDIN or STDOUT failed.
    #[error("talking to the daemon failed: {0}")]
    Io(#[from] io::Error),
    /// A line of the daemon cannot be read.
    #[error(transparent)]
    BadMessage(#[from] DecodeError),
    /// A checkpoint reply that nobody waits for.
    #[error("the daemon sent a checkpoint reply where an action was due")]
    StrayReply,
    /// A callback failed; the action is not acknowledged.
    #[error("`{action}` failed in the processor: {source}")]
    Processor {
        /// The action.
        action: ActionKind,
        /// The callback's error.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Serves a shard: reads actions from `input`, calls the processor, writes statuses to `output`,
/// until the daemon closes `input`.
///
/// # Errors
/// [`RunError`], at the first thing that goes wrong.
pub fn run<P: RecordProcessor + ?Sized>(
    processor: &mut P,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), RunError> {
    while let Some(line) = read_line(&mut input)? {
        let message = ToChild::decode(&line)?;
        let mut checkpointer = Checkpointer {
            input: &mut input,
            output: &mut output,
        };
        let (action, word, outcome) = match message {
            ToChild::Initialize(start) => (
                ActionKind::Initialize,
                "initialize",
                processor.initialize(&start),
            ),
            ToChild::ProcessRecords(batch) => (
                ActionKind::ProcessRecords,
                "processRecords",
                processor.process_records(batch, &mut checkpointer),
            ),
            ToChild::ShutdownRequested => (
                ActionKind::ShutdownRequested,
                "shutdownRequested",
                processor.shutdown_requested(&mut checkpointer),
            ),
            ToChild::LeaseLost => (ActionKind::LeaseLost, "leaseLost", processor.lease_lost()),
            ToChild::ShardEnded => (
                ActionKind::ShardEnded,
                "shardEnded",
                processor.shard_ended(&mut checkpointer),
            ),
            ToChild::Shutdown { reason } if reason.as_deref() == Some("TERMINATE") => (
                ActionKind::ShardEnded,
                "shutdown",
                processor.shard_ended(&mut checkpointer),
            ),
            ToChild::Shutdown { .. } => (ActionKind::LeaseLost, "shutdown", processor.lease_lost()),
            ToChild::Checkpoint(_) => return Err(RunError::StrayReply),
        };
        outcome.map_err(|source| RunError::Processor { action, source })?;
        let mut status = Vec::new();
        codec::write_status(&mut status, word);
        output.write_all(&status)?;
        output.flush()?;
    }
    Ok(())
}

/// The next line that is not blank, `None` at the end of the input.
fn read_line(input: &mut (impl BufRead + ?Sized)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it was called with; checkpoints at the last record of a batch.
    #[derive(Default)]
    struct Notes(Vec<String>);

    impl RecordProcessor for Notes {
        fn initialize(&mut self, start: &Initialization) -> Outcome {
            self.0.push(format!("initialize {}", start.shard_id));
            Ok(())
        }

        fn process_records(
            &mut self,
            batch: Batch,
            checkpointer: &mut Checkpointer<'_>,
        ) -> Outcome {
            for record in &batch.records {
                let data = String::from_utf8_lossy(&record.data).into_owned();
                self.0.push(format!("{} {data}", record.sequence_number));
            }
            let Some(last) = batch.records.last() else {
                return Err("an empty batch".into());
            };
            let outcome =
                checkpointer.checkpoint_at(&last.sequence_number, last.sub_sequence_number);
            if let Err(error) = outcome {
                let (name, again) = (error.wire_name().unwrap_or("-"), error.is_retryable());
                self.0.push(format!("{error} / {name} / {again}"));
            }
            Ok(())
        }

        fn lease_lost(&mut self) -> Outcome {
            self.0.push("lease lost".into());
            Ok(())
        }
    }

    fn converse(daemon: &str) -> (Vec<String>, String, Result<(), RunError>) {
        let mut notes = Notes::default();
        let mut output = Vec::new();
        let result = run(&mut notes, daemon.as_bytes(), &mut output);
        (notes.0, String::from_utf8(output).unwrap(), result)
    }

    const BATCH: &str = r#"{"action":"processRecords","records":[{"data":"aGk=","partitionKey":"k","sequenceNumber":"7","approximateArrivalTimestamp":1,"subSequenceNumber":2,"action":"record"}],"millisBehindLatest":0}"#;

    #[test]
    fn a_whole_life() {
        let (notes, output, result) = converse(&format!(
            "{}\n\n{BATCH}\r\n{}\n{BATCH}\n{}\n{}\n{}\n{}\n",
            r#"{"action":"initialize","shardId":"s-1","sequenceNumber":"LATEST","subSequenceNumber":0}"#,
            r#"{"action":"checkpoint","sequenceNumber":"7","subSequenceNumber":2,"error":null}"#,
            r#"{"action":"checkpoint","sequenceNumber":"7","subSequenceNumber":2,"error":"ThrottlingException","errorMessage":"too fast"}"#,
            r#"{"action":"shutdownRequested"}"#,
            r#"{"action":"shardEnded"}"#,
            r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":null}"#,
        ));
        result.unwrap();
        assert_eq!(
            notes,
            [
                "initialize s-1",
                "7 hi",
                "7 hi",
                "the checkpoint was refused: ThrottlingException (too fast) / ThrottlingException / true",
            ]
        );
        assert_eq!(
            output.lines().collect::<Vec<_>>(),
            [
                r#"{"action":"status","responseFor":"initialize"}"#,
                r#"{"action":"checkpoint","sequenceNumber":"7","subSequenceNumber":2}"#,
                r#"{"action":"status","responseFor":"processRecords"}"#,
                r#"{"action":"checkpoint","sequenceNumber":"7","subSequenceNumber":2}"#,
                r#"{"action":"status","responseFor":"processRecords"}"#,
                r#"{"action":"status","responseFor":"shutdownRequested"}"#,
                r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null}"#,
                r#"{"action":"status","responseFor":"shardEnded"}"#,
            ]
        );
    }

    #[test]
    fn old_daemons_say_shutdown() {
        let (notes, output, result) = converse("{\"action\":\"shutdown\",\"reason\":\"ZOMBIE\"}\n");
        result.unwrap();
        assert_eq!(notes, ["lease lost"]);
        assert_eq!(
            output,
            "{\"action\":\"status\",\"responseFor\":\"shutdown\"}\n"
        );
        let (notes, output, result) = converse(concat!(
            "{\"action\":\"shutdown\",\"reason\":\"TERMINATE\"}\n",
            "{\"action\":\"checkpoint\",\"checkpoint\":null,\"error\":null}\n",
        ));
        result.unwrap();
        assert!(notes.is_empty());
        assert!(
            output.ends_with("{\"action\":\"status\",\"responseFor\":\"shutdown\"}\n"),
            "{output}"
        );
        assert_eq!(output.lines().count(), 2);
    }

    #[test]
    fn failures_are_not_acknowledged() {
        let table = [
            (
                r#"{"action":"processRecords","records":[],"millisBehindLatest":0}"#.to_owned(),
                "`processRecords` failed in the processor: an empty batch",
            ),
            (
                r#"{"action":"shardEnded"}"#.to_owned(),
                "`shardEnded` failed in the processor: the daemon closed STDIN instead of answering a checkpoint",
            ),
            (
                "{\"action\":\"shardEnded\"}\n{\"action\":\"leaseLost\"}".to_owned(),
                "`shardEnded` failed in the processor: the daemon sent another message where a checkpoint reply was due",
            ),
            (
                r#"{"action":"checkpoint","sequenceNumber":null,"error":null}"#.to_owned(),
                "the daemon sent a checkpoint reply where an action was due",
            ),
            (
                r#"{"action":"dance"}"#.to_owned(),
                "the daemon asks for `dance`, which this processor does not know",
            ),
        ];
        for (daemon, expected) in table {
            let (_, output, result) = converse(&daemon);
            assert_eq!(result.unwrap_err().to_string(), expected);
            assert!(!output.contains("status"), "{output}");
        }
    }
}

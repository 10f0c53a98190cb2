//! A record processor in Rust: counts records, checkpoints each batch, and says on STDERR what it
//! does. Set `executableName` to the built file.
//!
//! STDOUT belongs to the protocol; everything for people goes to STDERR.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use multilang_protocol::processor::{
    Batch, CheckpointError, Checkpointer, Initialization, Outcome, RecordProcessor, run,
};

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Counter {
    shard: String,
    records: u64,
    bytes: u64,
}

impl RecordProcessor for Counter {
    fn initialize(&mut self, start: &Initialization) -> Outcome {
        self.shard.clone_from(&start.shard_id);
        let from = start.sequence_number.as_deref().unwrap_or("(not told)");
        eprintln!("{}: starting at {from}", self.shard);
        Ok(())
    }

    fn process_records(&mut self, batch: Batch, checkpointer: &mut Checkpointer<'_>) -> Outcome {
        for record in &batch.records {
            self.records += 1;
            self.bytes += record.data.len() as u64;
        }
        // Everything delivered is done, so the checkpoint covers the whole batch.
        store(checkpointer, &self.shard)?;
        let Counter {
            shard,
            records,
            bytes,
        } = self;
        eprintln!("{shard}: {records} records, {bytes} bytes so far");
        Ok(())
    }

    fn lease_lost(&mut self) -> Outcome {
        eprintln!("{}: another worker goes on from here", self.shard);
        Ok(())
    }

    fn shard_ended(&mut self, checkpointer: &mut Checkpointer<'_>) -> Outcome {
        store(checkpointer, &self.shard)?;
        eprintln!("{}: ended after {} records", self.shard, self.records);
        Ok(())
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Outcome {
        eprintln!("{}: asked to stop", self.shard);
        store(checkpointer, &self.shard)
    }
}

/// Checkpoints all that was delivered, with patience where it helps. A lost lease is no reason to
/// fail: `lease_lost` will follow.
#[allow(
    clippy::disallowed_methods,
    reason = "a processor really waits; the ban is the daemon's"
)]
fn store(checkpointer: &mut Checkpointer<'_>, shard: &str) -> Outcome {
    let mut tried = 0;
    loop {
        tried += 1;
        match checkpointer.checkpoint() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_retryable() && tried < TRIES => {
                eprintln!("{shard}: {error}, trying again");
                thread::sleep(PAUSE);
            }
            Err(error @ CheckpointError::Refused { .. }) => {
                eprintln!("{shard}: {error}, going on without");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn main() -> ExitCode {
    let mut counter = Counter::default();
    match run(&mut counter, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

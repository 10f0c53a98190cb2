//! The recording processor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::ledger::Ledger;
use super::sandbox::Sandbox;

/// A processor in Python that appends what it is told to a ledger; see `recorder.py` for its options.
///
/// | option | effect |
/// |---|---|
/// | `checkpoint` | `batch` (default): null after every batch; `last`: the last record by its numbers; a number: every so many batches; `never` |
/// | `sleep` | seconds of work per batch |
/// | `exit-at-start` | dies instead of answering `initialize` |
/// | `crash-at-batch=N` | dies in the N-th batch of its life, before answering |
/// | `crash-after-records=N` | dies once it has seen so many records |
/// | `checkpoint-then-crash=N` | checkpoints exactly the N-th record of its life and dies |
/// | `hang-at-batch=N`, `wrong-status-at-batch=N` | what they say |
/// | `ignore-ACTION` | never answers this action |
/// | `ignore-sigterm`, `grandchild`, `stderr=TEXT`, `noise=BYTES`, `line=BYTES` | what they say |
/// | `no-checkpoint-at-shard-end` | answers `shardEnded` without a checkpoint |
///
/// `OPTION.shard=SUFFIX` limits one to shards whose id ends so, `OPTION.lives=N` to the first N
/// processes of a shard.
#[derive(Debug, Clone)]
pub struct Recorder {
    script: PathBuf,
    ledger: PathBuf,
    options: Vec<String>,
}

impl Recorder {
    /// One with the sandbox's own ledger.
    pub fn new(sandbox: &Sandbox) -> Self {
        Self::named(sandbox, "ledger")
    }

    /// One with a ledger of another name.
    pub fn named(sandbox: &Sandbox, ledger: &str) -> Self {
        Self {
            script: sandbox.write("recorder.py", include_str!("recorder.py")),
            ledger: sandbox.path().join(format!("{ledger}.jsonl")),
            options: Vec::new(),
        }
    }

    /// Sets an option.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl ToString) -> Self {
        self.options.push(format!("{option}={}", value.to_string()));
        self
    }

    /// For `executableName`.
    pub fn command(&self) -> String {
        let mut words = vec![
            python().display().to_string(),
            "-IS".to_owned(),
            self.script.display().to_string(),
            format!("ledger={}", self.ledger.display()),
        ];
        words.extend(self.options.iter().cloned());
        words.join(" ")
    }

    /// What was written down so far.
    pub fn ledger(&self) -> Ledger {
        Ledger::read(&self.ledger)
    }

    /// The ledger's file.
    pub fn ledger_path(&self) -> &Path {
        &self.ledger
    }
}

/// The Python that `python3` means, past the wrappers of version managers, which are slow.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .expect("python3 is needed for these tests");
        PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim())
    })
}

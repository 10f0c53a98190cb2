//! Creating and feeding the stream of `--local`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tracing::{info, warn};

use crate::local::backend::LocalAws;
use crate::local::kinesis::{ErrorKind, PutEntry, StreamMode};
use crate::ports::Clock;

/// The longest pause between two batches of generated records.
const TICK: Duration = Duration::from_millis(100);

/// Where records come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// So many small JSON records a second.
    Generate(f64),
    /// One record a line.
    File(PathBuf),
    /// One record a line.
    Stdin,
}

/// The stream could not be fed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The input cannot be read.
    #[error("cannot read {0}: {1}")]
    Input(String, std::io::Error),
    /// The embedded Kinesis refused.
    #[error("the embedded Kinesis: {0}")]
    Kinesis(String),
}

/// Creates the stream unless it exists.
///
/// # Errors
/// [`FeedError::Kinesis`], e.g. for an illegal name.
pub fn create_stream(local: &LocalAws, name: &str, shards: u32) -> Result<(), FeedError> {
    let created = local.with_kinesis(|kinesis, now| {
        kinesis.create_stream(name, StreamMode::Provisioned, shards as usize, now)
    });
    match created {
        Ok(()) => Ok(()),
        Err(error) if error.kind == ErrorKind::ResourceInUse => Ok(()),
        Err(error) => Err(FeedError::Kinesis(error.message)),
    }
}

/// Puts records into the stream until the input ends; a generator never ends.
///
/// # Errors
/// [`FeedError`].
pub async fn feed(
    local: Arc<LocalAws>,
    clock: Arc<dyn Clock>,
    stream: String,
    feed: Feed,
) -> Result<(), FeedError> {
    match feed {
        Feed::Generate(rate) => generate(&local, &*clock, &stream, rate).await,
        Feed::Stdin => lines(&local, &stream, "STDIN", tokio::io::stdin()).await,
        Feed::File(path) => {
            let name = path.display().to_string();
            let file = tokio::fs::File::open(&path)
                .await
                .map_err(|error| FeedError::Input(name.clone(), error))?;
            lines(&local, &stream, &name, file).await
        }
    }
}

async fn generate(
    local: &LocalAws,
    clock: &dyn Clock,
    stream: &str,
    rate: f64,
) -> Result<(), FeedError> {
    let start = clock.now();
    let mut made: u64 = 0;
    loop {
        let due = (clock.now().since(start).as_secs_f64() * rate) as u64 + 1;
        while made < due {
            let at = clock.wall_millis();
            let line =
                format!(r#"{{"n":{made},"at":{at},"text":"record {made} of kcl-daemon --local"}}"#);
            put(
                local,
                stream,
                line.as_bytes(),
                &format!("key-{}", made % 1000),
            )?;
            made += 1;
        }
        let next = Duration::from_secs_f64(due as f64 / rate);
        let wait = next.saturating_sub(clock.now().since(start)).min(TICK);
        clock
            .sleep_until(clock.now() + wait.max(Duration::from_millis(1)))
            .await;
    }
}

async fn lines(
    local: &LocalAws,
    stream: &str,
    name: &str,
    input: impl AsyncRead + Unpin,
) -> Result<(), FeedError> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    let mut count: u64 = 0;
    loop {
        line.clear();
        let read = input
            .read_until(b'\n', &mut line)
            .await
            .map_err(|error| FeedError::Input(name.to_owned(), error))?;
        if read == 0 {
            info!("{count} lines of {name} are in the stream '{stream}'");
            return Ok(());
        }
        while line
            .last()
            .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            line.pop();
        }
        count += 1;
        if let Err(error) = put(local, stream, &line, &format!("line-{count}")) {
            warn!("line {count} of {name} is not put: {error}");
        }
    }
}

fn put(local: &LocalAws, stream: &str, data: &[u8], key: &str) -> Result<(), FeedError> {
    let entry = PutEntry {
        data,
        partition_key: key,
        explicit_hash_key: None,
    };
    local
        .with_kinesis(|kinesis, now| kinesis.put_record(stream, entry, now))
        .map(|_| ())
        .map_err(|error| FeedError::Kinesis(error.message))
}

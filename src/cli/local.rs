//! `kcl-daemon local serve`: the embedded Kinesis and DynamoDB on a loopback port.

use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::args::LocalCommand;
use crate::local::kinesis::Options;
use crate::local::{LocalAws, create_stream, serve};
use crate::observe::log;
use crate::os::clock::SystemClock;
use crate::os::runtime;
use crate::os::signals::{Received, Signals};
use crate::ports::Clock;

/// Shards of a stream for which no number is given.
const DEFAULT_SHARDS: u32 = 2;

/// Serves until a signal comes.
pub fn run(command: &LocalCommand) -> ExitCode {
    let LocalCommand::Serve {
        port,
        streams,
        enforce_limits,
        subscription_life,
        shard_limit,
        max_record_bytes,
    } = command;
    let options = Options {
        enforce_limits: *enforce_limits,
        subscription_life_ms: *subscription_life,
        shard_limit: *shard_limit,
        max_record_bytes: usize::try_from(*max_record_bytes).unwrap_or(usize::MAX),
        ..Options::default()
    };
    let result = log::init(None).and_then(|()| {
        let runtime = runtime::main_runtime().map_err(|error| error.to_string())?;
        runtime.block_on(serve_until_signal(*port, streams, options))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("kcl-daemon local serve: {message}");
            // Sub-commands end with 2 where they were used wrongly (`decisions.md`).
            ExitCode::from(2)
        }
    }
}

async fn serve_until_signal(port: u16, streams: &[String], options: Options) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let local = LocalAws::new(options, clock).map_err(|error| error.to_string())?;
    let local = Arc::new(local);
    for stream in streams {
        let (name, shards) = match stream.rsplit_once(':') {
            Some((name, shards)) => (
                name,
                shards.parse().map_err(|_| {
                    format!("--stream {stream}: '{shards}' is not a number of shards")
                })?,
            ),
            None => (stream.as_str(), DEFAULT_SHARDS),
        };
        create_stream(&local, name, shards).map_err(|error| error.to_string())?;
    }
    let mut signals = Signals::listen().map_err(|error| error.to_string())?;
    let (address, server) = serve(local, port)
        .await
        .map_err(|error| error.to_string())?;
    // A machine may wait for this line.
    println!("Kinesis and DynamoDB at http://{address}");
    tokio::select! {
        () = server.run() => {}
        () = stopped(&mut signals) => {}
    }
    Ok(())
}

async fn stopped(signals: &mut Signals) {
    while signals.next().await == Received::DumpState {}
}

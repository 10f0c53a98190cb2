//! What may be said on the command line; the help text is documentation.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::cli::check::CheckArgs;

/// What stands below the options.
const AFTER_HELP: &str = "\
Examples:
  kcl-daemon -p app.properties                      where it was: java … MultiLangDaemon -p app.properties
  kcl-daemon --local --local-generate 5 -p app.properties    without AWS, with records made up
  kcl-daemon help properties failoverTimeMillis     what a property does

Properties and environment:
  A property may also be given as -D key=value, or in the environment: KCL_DAEMON_STREAM_NAME for
  streamName. -D beats the environment, the environment beats the file.
  KCL_DAEMON_PROPERTIES names the file, KCL_DAEMON_LOG is --log.
  @FILE in the place of an argument puts the lines of a file there.

Helpers can start it as 'java' or 'sylvite'; it understands their lines:
  -cp PATH -Dx=y … software.amazon.kinesis.multilang.MultiLangDaemon [-p] FILE [-l LOGBACK]
  --config=FILE [--name=value …], with sylvite's defaults and its names in the environment

Exit codes:
  0 after a graceful stop; 1 if it cannot start or go on; 2 for a sub-command used wrongly;
  128 + signal if a stop had to be cut short (SIGTERM: 143)";

/// Drop-in replacement for the Java MultiLangDaemon of the Kinesis Client Library.
///
/// Reads a Kinesis stream, shares its shards with the other workers of the application through a
/// DynamoDB table, and gives each shard's records to a child process that speaks the KCL protocol on
/// STDIN and STDOUT: the processors you have for the Java daemon run unchanged.
#[derive(Debug, Parser)]
#[command(
    name = "kcl-daemon",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
pub struct Args {
    /// What to do; without a command: run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (the default)
    Run(RunArgs),
    /// Look at a configuration without starting anything: what is in effect, and would it work
    ///
    /// Shows every key that is set and who set it, what Java would have done otherwise, whether the
    /// executable can be run, and how many calls to expect. With --online the services are asked too:
    /// credentials, stream, lease table, fan-out consumer, permissions, clock. Nothing is written: reads
    /// are tried (among them one GetRecords for one record and one scan of the lease table), writes are
    /// put to IAM's policy simulator where that is allowed.
    Check(CheckArgs),
    /// The embedded Kinesis and DynamoDB
    #[cfg(feature = "local")]
    #[command(subcommand)]
    Local(LocalCommand),
    /// Explain a command, or the properties: help properties [KEY]
    Help {
        /// A command, or 'properties' and perhaps a key
        #[arg(value_name = "COMMAND | properties [KEY]")]
        words: Vec<String>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff), of a command if one is named
    Man {
        /// A command
        command: Vec<String>,
    },
}

/// How to run the daemon.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct RunArgs {
    /// The properties file, as for the Java daemon
    #[arg(
        short = 'p',
        long = "properties",
        visible_alias = "properties-file",
        value_name = "FILE"
    )]
    pub properties: Option<PathBuf>,

    /// The properties file, given without -p
    #[arg(value_name = "FILE")]
    pub positional: Option<PathBuf>,

    /// Take the log levels of a logback configuration; its appenders have no effect
    #[arg(short = 'l', long, value_name = "FILE")]
    pub log_configuration: Option<PathBuf>,

    /// Set a property, stronger than the file; may be repeated
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub define: Vec<String>,

    /// Run on an embedded Kinesis and DynamoDB: no AWS, no credentials, nothing to install
    #[arg(long)]
    pub local: bool,

    /// With --local: shards of the stream that is created [default: 2]
    #[arg(long, value_name = "N", requires = "local")]
    pub local_shards: Option<u32>,

    /// With --local: make up so many records a second
    #[arg(
        long,
        value_name = "RATE",
        requires = "local",
        conflicts_with = "local_input"
    )]
    pub local_generate: Option<f64>,

    /// With --local: put each line of a file into the stream, '-' for STDIN
    #[arg(long, value_name = "FILE", requires = "local")]
    pub local_input: Option<String>,

    /// Log level or filter, e.g. debug, or info,kcl_daemon::worker=debug [env: KCL_DAEMON_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// Commands about the embedded services.
#[cfg(feature = "local")]
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Serve them on a loopback port, for several daemons, other processes and SDKs
    Serve {
        /// The port; 0 takes a free one and prints it
        #[arg(long, default_value_t = 4567)]
        port: u16,
        /// Create a stream of so many shards; may be repeated
        #[arg(long = "stream", value_name = "NAME[:SHARDS]")]
        streams: Vec<String>,
        /// Enforce the service's limits per shard (1 MB/s written, 2 MB/s and 5 reads/s read)
        #[arg(long)]
        enforce_limits: bool,
        /// How long a subscription of enhanced fan-out lives, in milliseconds
        #[arg(long, value_name = "MILLIS", default_value_t = 300_000, value_parser = clap::value_parser!(i64).range(1..))]
        subscription_life: i64,
        /// Most open shards of all streams together, as the account's limit at AWS
        #[arg(long, value_name = "N", default_value_t = 500)]
        shard_limit: usize,
        /// Most bytes of one record with its partition key; AWS raises it to 10 MiB on request
        #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u64).range(1..=10 << 20))]
        max_record_bytes: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_forms_people_use() {
        for line in [
            "kcl-daemon --properties app.properties",
            "kcl-daemon -p app.properties",
            "kcl-daemon --properties-file app.properties",
            "kcl-daemon app.properties",
            "kcl-daemon run -p app.properties",
            "kcl-daemon run app.properties",
            "kcl-daemon -l logback.xml app.properties",
            "kcl-daemon --log-configuration logback.xml -Da=b -D c=d app.properties",
        ] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            let run = match args.command {
                Some(Command::Run(run)) => run,
                None => args.run,
                Some(other) => panic!("{line}: {other:?}"),
            };
            let file = run.properties.or(run.positional);
            assert_eq!(file, Some(PathBuf::from("app.properties")), "{line}");
        }
    }
}

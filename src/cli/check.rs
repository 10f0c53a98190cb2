//! `kcl-daemon check`: is this configuration right, and would the daemon work with it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueEnum};

use crate::app;
use crate::check::calls::Size;
use crate::check::policy::{self, Scope};
use crate::check::report::{Outcome, Report, Step, Verdict};
use crate::check::{calls, json, offline, text};
use crate::cli::args::RunArgs;
use crate::cli::levels::levels;
use crate::cli::load::{Loaded, NotLoaded, load};
use crate::cli::start::Start;
use crate::config::DaemonConfig;
use crate::observe::log;
use crate::os::environment::Environment;

/// Exit code of wrong use (`decisions.md`).
const WRONG_USE: u8 = 2;
/// Levels of the log while checking: the report says all that a person should know.
const QUIET: &str = "warn";

/// How to check.
#[derive(Debug, Clone, ClapArgs)]
#[command(
    after_long_help = "Exit codes: 0 the daemon would start, 1 it would not (with --strict also: there are warnings), \
        2 the command line is wrong.\n\n\
        Examples:\n  \
        kcl-daemon check -p app.properties\n  \
        kcl-daemon check -p app.properties --online --strict --format json\n  \
        kcl-daemon check -p app.properties --iam > policy.json",
    after_help = "Exit codes: 0 the daemon would start, 1 it would not, 2 the command line is wrong."
)]
pub struct CheckArgs {
    /// The configuration, as for running.
    #[command(flatten)]
    pub run: RunArgs,

    /// Ask the services too; each step takes 10 s at most
    #[arg(long)]
    pub online: bool,

    /// Warnings count as errors
    #[arg(long)]
    pub strict: bool,

    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,

    /// List the keys that have their defaults too
    #[arg(long)]
    pub all: bool,

    /// Print the smallest IAM policy for this configuration as JSON, and nothing else on STDOUT
    #[arg(long, conflicts_with_all = ["online", "format", "all"])]
    pub iam: bool,

    /// Compute the calls for so many open shards [default: those of the stream, or 1]
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,

    /// Compute the calls for so many workers [default: those in the lease table, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: Option<u32>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Text,
    /// For a program; docs/CHECK.md describes it
    Json,
}

/// Checks; gives the exit code.
pub fn run(args: &CheckArgs) -> ExitCode {
    let start = match Start::own(&args.run) {
        Ok(start) => start,
        Err(message) => return wrong_use(&message),
    };
    let environment =
        Environment::capture().with_system_properties(start.system_properties.clone());
    let filter = start.log.as_deref().or(environment.get("KCL_DAEMON_LOG"));
    if let Err(message) = log::init(Some(filter.unwrap_or(QUIET))) {
        return wrong_use(&message);
    }
    let mut loaded = match load(&start, &environment) {
        Ok(loaded) => loaded,
        Err(NotLoaded::Usage(message)) => return wrong_use(&message),
        Err(NotLoaded::Unreadable { file, message }) => {
            return refuse(args, &offline::unreadable(&file, message));
        }
        Err(NotLoaded::Wrong { file, errors }) => {
            return refuse(args, &offline::refused(&file, &errors));
        }
    };
    match levels(&start, &environment) {
        Ok(levels) => {
            loaded.notices.extend(start.notices);
            loaded.notices.extend(levels.notices);
        }
        Err(message) => return refuse(args, &offline::unreadable(&loaded.file, message)),
    }
    if args.iam {
        return print_policy(&loaded.config);
    }
    let report = look(args, &loaded, &environment);
    print(args, &report)
}

fn wrong_use(message: &str) -> ExitCode {
    eprintln!("kcl-daemon check: {message}");
    ExitCode::from(WRONG_USE)
}

/// A configuration that cannot be loaded. A policy in its place would be read as one.
fn refuse(args: &CheckArgs, report: &Report) -> ExitCode {
    if !args.iam {
        return print(args, report);
    }
    eprint!("{}", text::render(report, false));
    ExitCode::from(Verdict::Errors.exit_code(args.strict))
}

fn look(args: &CheckArgs, loaded: &Loaded, environment: &Environment) -> Report {
    let config = &loaded.config;
    let size = size(args, config);
    let executable = app::check::executable(config, environment);
    let mut report = offline::loaded(&loaded.file, config, &loaded.notices, executable, size);
    if args.online {
        match app::check::online(config, environment, size) {
            Ok(found) => {
                report.calls = Some(calls::expected(config, found.size));
                report.steps = Some(found.steps);
            }
            Err(message) => {
                report.steps = Some(vec![Step::new("services", Outcome::Failure, message)]);
            }
        }
    }
    report
}

fn size(args: &CheckArgs, config: &DaemonConfig) -> Size {
    let local = config.local.enabled.then_some(config.local.shards);
    let shards = args.shards.or(local);
    Size {
        shards: shards.unwrap_or(1),
        shards_known: shards.is_some(),
        workers: args.workers.unwrap_or(1),
        workers_known: args.workers.is_some(),
        table_bytes: None,
    }
}

fn print(args: &CheckArgs, report: &Report) -> ExitCode {
    let page = match args.format {
        Format::Text => text::render(report, args.all),
        Format::Json => format!("{:#}\n", json::render(report, args.strict)),
    };
    put(&page);
    ExitCode::from(report.verdict().exit_code(args.strict))
}

fn print_policy(config: &DaemonConfig) -> ExitCode {
    let policy = policy::build(config, &Scope::of(config));
    put(&format!("{:#}\n", policy::document(&policy)));
    for note in &policy.notes {
        eprintln!("note: {note}");
    }
    ExitCode::SUCCESS
}

/// Whoever closed STDOUT (`| head`) has read enough.
fn put(page: &str) {
    let _ = std::io::stdout().write_all(page.as_bytes());
}

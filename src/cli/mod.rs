//! The command line.

mod args;
mod check;
mod class_path;
mod documents;
mod files;
mod help;
mod levels;
mod load;
#[cfg(feature = "local")]
mod local;
mod run;
mod shape;
mod start;
mod system_properties;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::args::{Args, Command, RunArgs};
use crate::cli::shape::Shape;
use crate::cli::start::Start;
use crate::os::environment::{self, Environment};

/// The exit code of a sub-command that was used wrongly (`decisions.md`).
const WRONG_USE: u8 = 2;

/// Parses the arguments, does what they say, gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = environment::arguments().collect();
    let environment = Environment::capture();
    match shape::classify(arguments, &is_command, &|path| std::fs::read(path)) {
        Ok(Shape::Own(line)) => own(&line, environment),
        Ok(Shape::Java(line)) => run::run(&Start::java(line, &environment), environment),
        Ok(Shape::Sylvite(line)) => run::run(&Start::sylvite(line, &environment), environment),
        Ok(Shape::JavaVersion { to_stderr }) => java_version(to_stderr),
        Err(misuse) => {
            eprintln!("kcl-daemon: {misuse}");
            ExitCode::FAILURE
        }
    }
}

/// A line of our own.
fn own(line: &[OsString], environment: Environment) -> ExitCode {
    let args = match Args::try_parse_from(line) {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to STDOUT and are no failure.
            let _ = error.print();
            return if error.use_stderr() {
                wrong_use(line)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match args.command {
        None => daemon(&args.run, environment),
        Some(Command::Run(run)) => daemon(&run, environment),
        Some(Command::Check(command)) => check::run(&command),
        #[cfg(feature = "local")]
        Some(Command::Local(command)) => local::run(&command),
        Some(Command::Help { words }) => help::run(&words),
        Some(Command::Completions { shell }) => documents::completions(shell),
        Some(Command::Man { command }) => documents::man(&command),
    }
}

fn daemon(args: &RunArgs, environment: Environment) -> ExitCode {
    match Start::own(args) {
        Ok(start) => run::run(&start, environment),
        Err(message) => {
            eprintln!("kcl-daemon: {message}");
            ExitCode::FAILURE
        }
    }
}

fn is_command(word: &OsStr) -> bool {
    Args::command().find_subcommand(word).is_some()
}

/// The exit code of a line that cannot be read (`decisions.md`): running as the daemon 1, as Java's;
/// sub-commands 2.
fn wrong_use(line: &[OsString]) -> ExitCode {
    match line.get(1) {
        Some(first) if first != "run" && is_command(first) => ExitCode::from(WRONG_USE),
        _ => ExitCode::FAILURE,
    }
}

/// The answer to `java -version`. It names no version of Java: there is none.
fn java_version(to_stderr: bool) -> ExitCode {
    let text = concat!(
        "kcl-daemon ",
        env!("CARGO_PKG_VERSION"),
        ", in the place of java for the MultiLangDaemon\n"
    );
    if to_stderr {
        eprint!("{text}");
        ExitCode::SUCCESS
    } else {
        documents::print(text.as_bytes())
    }
}

//! The command line.

mod args;
#[cfg(feature = "local")]
mod local;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::args::{Args, Command};

/// Parses the arguments, does what they say, gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to STDOUT and are no failure.
            let _ = error.print();
            // Running as the daemon a wrong line ends with 1, as Java's does (`decisions.md`).
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match args.command {
        None => run::run(&args.run),
        Some(Command::Run(run)) => run::run(&run),
        #[cfg(feature = "local")]
        Some(Command::Local(command)) => local::run(&command),
    }
}

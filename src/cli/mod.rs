//! The command line.

mod args;
mod check;
mod load;
#[cfg(feature = "local")]
mod local;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::args::{Args, Command};
use crate::os::environment;

/// Parses the arguments, does what they say, gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to STDOUT and are no failure.
            let _ = error.print();
            return if error.use_stderr() {
                wrong_use()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match args.command {
        None => run::run(&args.run),
        Some(Command::Run(run)) => run::run(&run),
        Some(Command::Check(command)) => check::run(&command),
        #[cfg(feature = "local")]
        Some(Command::Local(command)) => local::run(&command),
    }
}

/// The exit code of a line that cannot be read (`decisions.md`): running as the daemon 1, as Java's;
/// sub-commands 2.
fn wrong_use() -> ExitCode {
    let first = environment::arguments().nth(1).unwrap_or_default();
    let definition = Args::command();
    let sub_command = definition
        .find_subcommand(&first)
        .is_some_and(|command| command.get_name() != "run");
    ExitCode::from(if sub_command { 2 } else { 1 })
}

//! `kcl-daemon help`: of commands, and of the properties.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::args::Args;
use crate::cli::{WRONG_USE, documents};
use crate::config::keys::text;

/// Prints the help that the words ask for.
pub fn run(words: &[String]) -> ExitCode {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["properties"] => documents::print(text::list().as_bytes()),
        ["properties", key] => match text::describe(key) {
            Ok(page) => documents::print(page.as_bytes()),
            Err(unknown) => wrong(&unknown.to_string()),
        },
        ["properties", ..] => wrong("one KEY at a time: kcl-daemon help properties KEY"),
        _ => of_command(words),
    }
}

fn of_command(words: &[String]) -> ExitCode {
    let mut definition = Args::command();
    definition.build();
    let Some(command) = documents::command(&definition, words) else {
        return wrong(&format!(
            "there is no command '{}'; 'kcl-daemon --help' names them, 'kcl-daemon help properties' the properties",
            words.join(" ")
        ));
    };
    let help = command.clone().render_long_help();
    if std::io::stdout().is_terminal() {
        documents::print(help.ansi().to_string().as_bytes())
    } else {
        documents::print(help.to_string().as_bytes())
    }
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("kcl-daemon help: {message}");
    ExitCode::from(WRONG_USE)
}

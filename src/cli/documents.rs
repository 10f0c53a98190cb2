//! What is generated from the definition of the command line: completions and manual pages.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::WRONG_USE;
use crate::cli::args::Args;

/// Prints a shell's completions.
pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kcl-daemon", &mut script);
    print(&script)
}

/// Prints the manual page of the program or of a sub-command, as roff.
pub fn man(words: &[String]) -> ExitCode {
    let mut definition = Args::command();
    // Gives sub-commands their whole names.
    definition.build();
    let Some(command) = command(&definition, words) else {
        eprintln!("kcl-daemon man: there is no command '{}'", words.join(" "));
        return ExitCode::from(WRONG_USE);
    };
    match page(command) {
        Ok(page) => print(&page),
        Err(error) => {
            eprintln!("kcl-daemon man: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The page, with the text below the options as it is: roff would run its lines together.
fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_help() {
        writeln!(page, ".SH NOTES\n.nf\n{}\n.fi", escaped(&notes.to_string()))?;
    }
    Ok(page)
}

/// For roff: no escapes, no requests, and hyphens that can be copied.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) {
            format!("\\&{line}")
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The definition of a sub-command.
pub fn command<'a>(top: &'a clap::Command, words: &[String]) -> Option<&'a clap::Command> {
    words
        .iter()
        .try_fold(top, |command, word| command.find_subcommand(word))
}

/// Writes to STDOUT. A reader that has seen enough is no failure.
pub fn print(bytes: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kcl-daemon: cannot write to STDOUT: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_and_every_command_has_its_document() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "kcl-daemon", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("log-configuration"), "{shell}");
        }
        let mut definition = Args::command();
        definition.build();
        for (words, expected) in [
            (&[][..], "\\-cp PATH"),
            (&["run"], "log\\-configuration"),
            #[cfg(feature = "local")]
            (&["local", "serve"], "enforce\\-limits"),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let command = command(&definition, &words).unwrap();
            let page = String::from_utf8(page(command).unwrap()).unwrap();
            assert!(page.contains(".TH") && page.contains(expected), "{page}");
            for line in page.lines() {
                let request = line.starts_with('.') && !line.starts_with("...");
                let known = [
                    ".ie", ".el", ".TH", ".SH", ".TP", ".PP", ".RS", ".RE", ".br", ".nf", ".fi",
                ];
                assert!(
                    !request || known.iter().any(|known| line.starts_with(known)),
                    "{line}"
                );
            }
        }
        assert!(command(&definition, &["nothing".to_owned()]).is_none());
    }
}

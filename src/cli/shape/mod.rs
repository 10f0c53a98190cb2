//! Which of the three command lines it is: our own, one meant for `java`, or sylvite's.
//!
//! Helpers of the client libraries start whatever they are given as `java` (`protocol.md` §16), so
//! the line tells more than the name it was started under. Nothing is read here but argument files,
//! through a function.

pub mod argument_files;
pub mod java;
pub mod jvm;
pub mod sylvite;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::cli::shape::java::JavaLine;
use crate::cli::shape::jvm::Jvm;
use crate::cli::shape::sylvite::SylviteLine;

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One of our own, the program's name first, argument files put in.
    Own(Vec<OsString>),
    /// Of Java's MultiLangDaemon.
    Java(JavaLine),
    /// `java -version`: somebody tries whether there is a Java.
    JavaVersion {
        /// `-version` prints on STDERR, `--version` on STDOUT.
        to_stderr: bool,
    },
    /// Of sylvite.
    Sylvite(SylviteLine),
}

/// A line that cannot be understood; the daemon ends with 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// An argument file that cannot be read.
    #[error("Could not read file {file}: {cause}")]
    ArgumentFile {
        /// As it was named.
        file: String,
        /// Why.
        cause: String,
    },
    /// `-p` or `-l` at the end.
    #[error("Expected a value after parameter {0}")]
    NoValue(&'static str),
    /// `-p` or `-l` twice.
    #[error("Can only specify option {0} once")]
    Twice(&'static str),
    /// More than one properties file.
    #[error("Expected a single argument, but found multiple arguments.  Arguments: {0}")]
    Several(String),
    /// A line for Java that is not the daemon's.
    #[error(
        "kcl-daemon stands in for Java only for {v2} (and {v1}, and sylvite's jar), but this line \
         {found}",
        v2 = java::CLASS,
        v1 = java::CLASS_V1
    )]
    NotOurs {
        /// What it has instead: "starts x".
        found: String,
    },
    /// `--config` without a file behind `=`.
    #[error("--config names no file: expected --config=FILE")]
    NoConfig,
}

/// Reads an argument file.
pub type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Tells what a line asks for. `arguments` begins with the program's name; `is_command` knows the
/// names of our sub-commands.
///
/// # Errors
/// The line is certainly for Java or sylvite, and wrong.
pub fn classify(
    arguments: Vec<OsString>,
    is_command: &dyn Fn(&OsStr) -> bool,
    read: Reader<'_>,
) -> Result<Shape, Misuse> {
    let mut words = arguments.iter();
    let name = words.next().map(|name| program(name)).unwrap_or_default();
    let words: Vec<OsString> = words.cloned().collect();
    let as_java = matches!(name.as_str(), "java" | "javaw");
    let ours = |words: Vec<OsString>| {
        let name = arguments.first().cloned().unwrap_or_default();
        let all = argument_files::expand(words, read)?;
        Ok(Shape::Own(std::iter::once(name).chain(all).collect()))
    };

    if !as_java && words.first().is_some_and(|first| is_command(first)) {
        return ours(words);
    }
    let jvm = Jvm::read(&words);
    if let Some(class) = jvm.daemon {
        return java::read(class, jvm, read).map(Shape::Java);
    }
    if let Some(to_stderr) = jvm.version
        && (as_java || to_stderr)
    {
        return Ok(Shape::JavaVersion { to_stderr });
    }
    // Spring has no other way to name it; it is no option of ours.
    let names_config = words.iter().any(|word| sylvite::names_config(word));
    if name == "sylvite" {
        let asks_us = |word: &OsString| word == "--help" || word == "--version";
        return match words.as_slice() {
            [only] if asks_us(only) => ours(words),
            _ if jvm.jar.is_some() => sylvite::read(jvm).map(Shape::Sylvite),
            _ => sylvite::read(Jvm::without_options(words)).map(Shape::Sylvite),
        };
    }
    if let Some(jar) = &jvm.jar {
        if names_config || sylvite::is_its_jar(jar) {
            return sylvite::read(jvm).map(Shape::Sylvite);
        }
        return Err(Misuse::NotOurs {
            found: format!("starts {}", jar.to_string_lossy()),
        });
    }
    if names_config {
        return sylvite::read(Jvm::without_options(words)).map(Shape::Sylvite);
    }
    if as_java {
        if words.iter().any(|word| is_java_help(word)) {
            return ours(vec!["--help".into()]);
        }
        let found = match jvm.first_word {
            Some(class) => format!("starts {}", class.to_string_lossy()),
            None => "names no class".to_owned(),
        };
        return Err(Misuse::NotOurs { found });
    }
    if jvm.class_path.is_some() {
        let found = match jvm.first_word {
            Some(class) => format!("has a class path and starts {}", class.to_string_lossy()),
            None => "has a class path and names no class".to_owned(),
        };
        return Err(Misuse::NotOurs { found });
    }
    ours(words)
}

/// The name a program was started under: no directory, no `.exe`.
fn program(name: &OsStr) -> String {
    let name = Path::new(name).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    name.strip_suffix(".exe").unwrap_or(&name).to_owned()
}

fn is_java_help(word: &OsStr) -> bool {
    ["-help", "--help", "-h", "-?"]
        .iter()
        .any(|help| word == *help)
}

#[cfg(test)]
mod tests;

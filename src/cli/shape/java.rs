//! The arguments of Java's MultiLangDaemon: `properties.md` §9, as JCommander 1.82 takes them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::cli::shape::jvm::Jvm;
use crate::cli::shape::{Misuse, Reader, argument_files};

/// The daemon of KCL 2.x and 3.x.
pub const CLASS: &str = "software.amazon.kinesis.multilang.MultiLangDaemon";
/// The daemon of KCL 1.x.
pub const CLASS_V1: &str = "com.amazonaws.services.kinesis.multilang.MultiLangDaemon";

/// Which daemon a line starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JavaClass {
    /// That of KCL 2.x and 3.x.
    Current,
    /// That of KCL 1.x.
    V1,
}

impl JavaClass {
    /// The daemon that an argument names; the launcher takes slashes for dots.
    pub fn named(word: &OsStr) -> Option<Self> {
        let name = word.to_str()?.replace('/', ".");
        match name.as_str() {
            CLASS => Some(Self::Current),
            CLASS_V1 => Some(Self::V1),
            _ => None,
        }
    }
}

/// A line that starts Java's daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JavaLine {
    /// Which one.
    pub class: JavaClass,
    /// What stands before the class name.
    pub jvm: Jvm,
    /// The properties file.
    pub properties: Option<PathBuf>,
    /// Both ways of naming it were used; the option counts.
    pub overridden: bool,
    /// The logback configuration.
    pub log_configuration: Option<PathBuf>,
    /// Arguments that KCL 1.x does not look at.
    pub unread: usize,
}

/// Reads what stands behind the class name.
///
/// # Errors
/// As Java's; its daemon ends with 1.
pub fn read(class: JavaClass, jvm: Jvm, read: Reader<'_>) -> Result<JavaLine, Misuse> {
    let mut line = JavaLine {
        class,
        properties: None,
        overridden: false,
        log_configuration: None,
        unread: 0,
        jvm,
    };
    let arguments = std::mem::take(&mut line.jvm.arguments);
    match class {
        JavaClass::Current => current(&mut line, argument_files::expand(arguments, read)?)?,
        JavaClass::V1 => {
            line.unread = arguments.len().saturating_sub(1);
            let first = arguments.into_iter().next();
            line.properties = first.filter(|file| !file.is_empty()).map(PathBuf::from);
        }
    }
    Ok(line)
}

/// An option with what was given for it.
struct Named {
    /// Its names, the one for messages first.
    names: [&'static str; 2],
    value: Option<OsString>,
}

fn current(line: &mut JavaLine, arguments: Vec<OsString>) -> Result<(), Misuse> {
    let mut options = [
        Named {
            names: ["-p", "--properties-file"],
            value: None,
        },
        Named {
            names: ["-l", "--log-configuration"],
            value: None,
        },
    ];
    let arguments: Vec<OsString> = arguments.iter().map(|word| trimmed(word)).collect();
    let mut positional: Vec<OsString> = Vec::new();
    let mut only_positional = false;
    let mut rest = arguments.iter().peekable();
    while let Some(word) = rest.next() {
        let option = options
            .iter_mut()
            .find(|option| !only_positional && option.names.iter().any(|name| word == *name));
        match option {
            Some(option) => {
                let name = option.names[0];
                // JCommander skips `--` before a value.
                rest.next_if(|next| *next == "--");
                let value = rest.next().ok_or(Misuse::NoValue(name))?;
                if option.value.replace(value.clone()).is_some() {
                    return Err(Misuse::Twice(name));
                }
            }
            None if word == "--" && !only_positional => only_positional = true,
            None => positional.push(word.clone()),
        }
    }
    if positional.len() > 1 {
        let words: Vec<_> = positional
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        return Err(Misuse::Several(words.join(", ")));
    }
    let [properties, log_configuration] =
        options.map(|option| option.value.filter(|value| !value.is_empty()));
    let positional = positional.pop().filter(|file| !file.is_empty());
    line.overridden = properties.is_some() && positional.is_some();
    line.properties = properties.or(positional).map(PathBuf::from);
    line.log_configuration = log_configuration.map(PathBuf::from);
    Ok(())
}

/// Without blanks around, and without quotation marks that survived the shell.
fn trimmed(word: &OsStr) -> OsString {
    let Some(text) = word.to_str() else {
        return word.to_owned();
    };
    let text = text.trim();
    let unquoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    unquoted.unwrap_or(text).into()
}

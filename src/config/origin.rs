//! Where a value came from, and what there is to say about it.

use std::fmt;
use std::sync::Arc;

/// Where an effective value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it: the default of the table of keys.
    Default,
    /// A default of the mode the daemon was started in (`sylvite`, `local`), above the table's.
    Preset(&'static str),
    /// A line of the properties file (the first physical line of the entry, from 1).
    File {
        /// The file as it was named on the command line.
        path: Arc<str>,
        /// Physical line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A command-line flag, as a reader would type it (`-D maxRecords`, `--local`).
    Flag(String),
}

impl Origin {
    /// Whether somebody set the value, rather than it being a default.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        !matches!(self, Self::Default)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(mode) => write!(f, "default of {mode} mode"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// How loudly a notice is logged at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something that the file's author probably did not mean, or that Java does otherwise.
    Warn,
}

/// One line to be logged at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// INFO or WARN.
    pub severity: Severity,
    /// One or two sentences, without the place; never holds a secret.
    pub message: String,
    /// The entry that it is about, if it is about one.
    pub origin: Option<Origin>,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// All notices of one load, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices(Vec<Notice>);

impl Notices {
    /// Adds an INFO line.
    pub fn info(&mut self, origin: Option<&Origin>, message: impl Into<String>) {
        self.push(Severity::Info, origin, message.into());
    }

    /// Adds a WARN line.
    pub fn warn(&mut self, origin: Option<&Origin>, message: impl Into<String>) {
        self.push(Severity::Warn, origin, message.into());
    }

    fn push(&mut self, severity: Severity, origin: Option<&Origin>, message: String) {
        self.0.push(Notice {
            severity,
            message,
            origin: origin.cloned(),
        });
    }

    /// Adds those of another list.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The notices.
    pub fn iter(&self) -> std::slice::Iter<'_, Notice> {
        self.0.iter()
    }

    /// Whether any of them is a warning (`check --strict`).
    #[must_use]
    pub fn has_warnings(&self) -> bool {
        self.iter().any(|n| n.severity == Severity::Warn)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Notices {
    type Item = &'a Notice;
    type IntoIter = std::slice::Iter<'a, Notice>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One thing that keeps the daemon from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The entry at fault; `None` when something is missing altogether.
    pub origin: Option<Origin>,
    /// The key at fault as it was written, if there is one.
    pub key: Option<String>,
    /// What is wrong and what is expected, in a sentence that names key and value; never a secret.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that keeps the daemon from starting, never empty, together with what else was noticed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors {
    /// The errors, at least one.
    pub errors: Vec<ConfigError>,
    /// Notices found on the way: an error often has its cause in one of them (a mistyped key, say).
    pub notices: Notices,
}

/// Collects errors and notices while a configuration is loaded.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub errors: Vec<ConfigError>,
    pub notices: Notices,
}

impl Findings {
    /// Whether one of these keys has an error already, so that a consequence need not be told.
    pub fn has_error_for(&self, keys: &[&str]) -> bool {
        self.errors.iter().any(|error| {
            error
                .key
                .as_deref()
                .is_some_and(|key| keys.iter().any(|wanted| wanted.eq_ignore_ascii_case(key)))
        })
    }

    /// Records an error about `key`.
    pub fn error(&mut self, origin: Option<&Origin>, key: &str, message: impl Into<String>) {
        self.errors.push(ConfigError {
            origin: origin.cloned(),
            key: Some(key.to_owned()),
            message: message.into(),
        });
    }
}

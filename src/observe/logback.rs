//! What a logback configuration says of levels, for those who bring theirs along
//! (`properties.md` §10). Appenders are logback's own affair: our lines go to STDERR.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use roxmltree::{Document, Node, ParsingOptions};

/// Java's packages and the targets that do the same work here. A target's level is that of the
/// configured logger nearest above one of its packages, as logback would choose it. `""` and
/// what begins with `::` belong to this crate.
const TARGETS: [(&str, &[&str]); 16] = [
    (
        "",
        &["software.amazon.kinesis", "com.amazonaws.services.kinesis"],
    ),
    (
        "::cli",
        &[
            "software.amazon.kinesis.multilang.MultiLangDaemon",
            "com.amazonaws.services.kinesis.multilang.MultiLangDaemon",
        ],
    ),
    (
        "::child",
        &[
            "software.amazon.kinesis.multilang",
            "com.amazonaws.services.kinesis.multilang",
        ],
    ),
    (
        "child",
        &[
            "software.amazon.kinesis.multilang",
            "com.amazonaws.services.kinesis.multilang",
        ],
    ),
    (
        "::fetch",
        &[
            "software.amazon.kinesis.retrieval",
            "com.amazonaws.services.kinesis.clientlibrary.proxies",
        ],
    ),
    (
        "::worker",
        &[
            "software.amazon.kinesis.coordinator",
            "com.amazonaws.services.kinesis.clientlibrary.lib.worker",
        ],
    ),
    (
        "::worker::consumer",
        &[
            "software.amazon.kinesis.lifecycle",
            "com.amazonaws.services.kinesis.clientlibrary.lib.worker",
        ],
    ),
    (
        "::worker::keeper",
        &[
            "software.amazon.kinesis.leases",
            "com.amazonaws.services.kinesis.leases",
        ],
    ),
    (
        "::aws",
        &[
            "software.amazon.kinesis.leases",
            "com.amazonaws.services.kinesis.leases",
        ],
    ),
    (
        "::observe",
        &[
            "software.amazon.kinesis.metrics",
            "com.amazonaws.services.kinesis.metrics",
        ],
    ),
    (
        "aws_config",
        &["software.amazon.awssdk", "com.amazonaws.auth"],
    ),
    (
        "aws_smithy_runtime",
        &["software.amazon.awssdk", "com.amazonaws.http"],
    ),
    (
        "aws_smithy_runtime_api",
        &["software.amazon.awssdk", "com.amazonaws.http"],
    ),
    ("aws_sdk", &["software.amazon.awssdk", "com.amazonaws.http"]),
    ("hyper", &["io.netty", "org.apache.http"]),
    ("rustls", &["io.netty", "org.apache.http"]),
];

/// Targets that stay at WARN unless a logger of their packages says otherwise: what is noise at the
/// level of the root logger in logback too, and drowned the daemon's own lines there.
const QUIET: [&str; 6] = [
    "aws_config",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "aws_sdk",
    "hyper",
    "rustls",
];

/// What was found in a logback configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logback {
    /// Directives for [`super::log::init`]; `None` if the file sets no level.
    pub filter: Option<String>,
    /// What of the file has no effect here.
    pub remarks: Vec<String>,
    /// What is wrong with it.
    pub warnings: Vec<String>,
}

/// Levels as logback has them, the quietest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    fn directive(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What `level="…"` says.
enum Said {
    Level(Level),
    /// `INHERITED` and `NULL`: nothing of its own.
    Inherited,
    Unknown,
}

fn level(text: &str) -> Said {
    Said::Level(match text.trim().to_ascii_uppercase().as_str() {
        "OFF" => Level::Off,
        "ERROR" => Level::Error,
        "WARN" => Level::Warn,
        "INFO" => Level::Info,
        "DEBUG" => Level::Debug,
        "TRACE" | "ALL" => Level::Trace,
        "INHERITED" | "NULL" => return Said::Inherited,
        _ => return Said::Unknown,
    })
}

/// Reads the levels. `variable` gives system properties and environment, for `${NAME}`.
#[must_use]
pub fn read(bytes: &[u8], variable: &dyn Fn(&str) -> Option<String>) -> Logback {
    let mut found = Logback::default();
    // A configuration that some JVM read is XML whatever its declaration says of the charset.
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => {
            found.warnings.push(format!(
                "it is not XML that can be read, so the levels stay as they are: {error}"
            ));
            return found;
        }
    };
    let mut reader = Reader {
        properties: BTreeMap::new(),
        variable,
        levels: BTreeMap::new(),
        found: &mut found,
    };
    let top = document.root_element();
    for node in top.children().filter(Node::is_element) {
        reader.element(&node);
    }
    let levels = reader.levels;
    found.filter = directives(&levels, &mut found.remarks);
    found
}

struct Reader<'a> {
    /// `<property name="…" value="…"/>`, read top-down as logback does.
    properties: BTreeMap<String, String>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// By logger; the root logger's name is empty.
    levels: BTreeMap<String, Level>,
    found: &'a mut Logback,
}

impl Reader<'_> {
    fn element(&mut self, node: &Node<'_, '_>) {
        let tag = node.tag_name().name().to_ascii_lowercase();
        match tag.as_str() {
            "root" => self.logger(node, String::new()),
            "logger" => match node.attribute("name") {
                Some(name) => {
                    let name = self.replaced(name);
                    let root = name.eq_ignore_ascii_case("root");
                    self.logger(node, if root { String::new() } else { name });
                }
                None => self
                    .found
                    .warnings
                    .push("a <logger> without a name has no effect".to_owned()),
            },
            "property" | "variable" | "substitutionproperty" => {
                if let (Some(name), Some(value)) = (node.attribute("name"), node.attribute("value"))
                {
                    let value = self.replaced(value);
                    self.properties.insert(name.to_owned(), value);
                } else {
                    self.remark("properties from other places".to_owned());
                }
            }
            "appender" => self.remark("appenders: lines go to STDERR".to_owned()),
            _ => self.remark(format!("<{}>", node.tag_name().name())),
        }
    }

    fn logger(&mut self, node: &Node<'_, '_>, name: String) {
        let nested = node
            .children()
            .find(|child| child.tag_name().name().eq_ignore_ascii_case("level"))
            .and_then(|child| child.attribute("value"));
        let Some(written) = node.attribute("level").or(nested) else {
            return;
        };
        let shown = if name.is_empty() { "root" } else { &name };
        let text = self.replaced(written);
        match level(&text) {
            Said::Level(level) => {
                self.levels.insert(name, level);
            }
            Said::Inherited => {
                self.levels.remove(&name);
            }
            Said::Unknown => self.found.warnings.push(format!(
                "'{text}' is no level, so the logger {shown} keeps its own; levels are OFF, ERROR, WARN, INFO, DEBUG, \
                 TRACE and ALL"
            )),
        }
    }

    /// `${NAME}` and `${NAME:-default}` replaced; what is not known stays `NAME_IS_UNDEFINED`, as in
    /// logback.
    fn replaced(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inner, behind)) = after.split_once('}') else {
                break;
            };
            out.push_str(before);
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            let value = self
                .properties
                .get(name)
                .cloned()
                .or_else(|| (self.variable)(name))
                .or_else(|| default.map(str::to_owned));
            match value {
                Some(value) => out.push_str(&value),
                None => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "{name}_IS_UNDEFINED");
                }
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    fn remark(&mut self, what: String) {
        if !self.found.remarks.contains(&what) {
            self.found.remarks.push(what);
        }
    }
}

/// The level of the nearest configured logger at or above a package, the root logger left out.
fn of_package(levels: &BTreeMap<String, Level>, package: &str) -> Option<(usize, Level)> {
    levels
        .iter()
        .filter(|(name, _)| !name.is_empty() && is_at_or_above(name, package))
        .map(|(name, level)| (name.len(), *level))
        .max_by_key(|(length, _)| *length)
}

fn is_at_or_above(logger: &str, package: &str) -> bool {
    package
        .strip_prefix(logger)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn directives(levels: &BTreeMap<String, Level>, remarks: &mut Vec<String>) -> Option<String> {
    for name in levels.keys().filter(|name| !name.is_empty()) {
        let known = TARGETS
            .iter()
            .flat_map(|(_, packages)| packages.iter())
            .any(|package| is_at_or_above(name, package));
        if !known {
            remarks.push(format!("the logger {name}, which has no counterpart"));
        }
    }
    let root = levels.get("").copied();
    let mut all: Vec<String> = root
        .iter()
        .map(|level| level.directive().to_owned())
        .collect();
    for (target, packages) in TARGETS {
        let nearest = packages
            .iter()
            .filter_map(|package| of_package(levels, package))
            .max_by_key(|(length, _)| *length)
            .map(|(_, level)| level);
        let level = match (nearest, root) {
            (Some(level), _) => Some(level),
            (None, Some(root)) if QUIET.contains(&target) => Some(root.min(Level::Warn)),
            (None, _) => None,
        };
        if let Some(level) = level {
            let ours = target.is_empty() || target.starts_with("::");
            let root = if ours { env!("CARGO_CRATE_NAME") } else { "" };
            all.push(format!("{root}{target}={}", level.directive()));
        }
    }
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
#[path = "logback_tests.rs"]
mod tests;

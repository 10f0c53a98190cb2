//! All places a value can come from, laid over each other: flags beat the environment, the
//! environment beats the file, the file beats the presets of a mode.

use super::expand::{expand, expects_expansion};
use super::keys::{self, AliasKind, KeySpec, Status};
use super::origin::{Findings, Origin};
use super::properties;
use super::settings::{Layer, Setting, Settings};
use super::suggest::did_you_mean;
use super::sylvite;
use super::unknown::{self, Verdict};
use super::value::{self, Value, shorten};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the configuration is made of. Nothing else is read: no file, no environment.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The properties file, if there is one (sylvite and `--local` can do without).
    pub file: Option<PropertiesFile<'a>>,
    /// The process's environment. Own settings: `KCL_DAEMON_<NAME>`; of AWS's: regions and endpoints.
    pub environment: &'a BTreeMap<String, String>,
    /// Settings from the command line, in its order; the last of a key wins.
    pub flags: &'a [Override],
    /// How the daemon was started.
    pub mode: Mode<'a>,
}

/// A properties file as it was read.
#[derive(Debug, Clone, Copy)]
pub struct PropertiesFile<'a> {
    /// Its name for messages.
    pub path: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// One setting from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// How a reader would recognise it: `-D maxRecords`, `--local`.
    pub flag: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// How the daemon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode<'a> {
    /// As the MultiLangDaemon.
    Daemon,
    /// By the class name of KCL 1.x: children speak P1 unless the configuration says otherwise.
    KclV1,
    /// As sylvite: its presets, and its look-up of un-prefixed names (`properties.md` §13).
    Sylvite {
        /// `--name=value` arguments as (name, value), `--config` left out.
        arguments: &'a [(String, String)],
    },
}

/// Variables that begin with `KCL_DAEMON_` and are read elsewhere.
const OTHER_VARIABLES: [&str; 4] = [
    "KCL_DAEMON_PROPERTIES",
    "KCL_DAEMON_PROPERTIES_FILE",
    "KCL_DAEMON_LOG",
    "KCL_DAEMON_LOG_FORMAT",
];

const PREFIX: &str = "KCL_DAEMON_";

/// A text that somebody wrote for a key of the table.
#[derive(Debug, Clone)]
struct Candidate {
    layer: Layer,
    written: String,
    alias: Option<AliasKind>,
    text: String,
    /// The text before `${…}` was replaced: what messages may show.
    as_written: String,
    /// It has its error already and gives no value.
    broken: bool,
    origin: Origin,
}

/// Reads all sources and converts every value; what is wrong goes to `findings`.
pub(super) fn gather(sources: &Sources<'_>, findings: &mut Findings) -> Settings {
    let sylvite = matches!(sources.mode, Mode::Sylvite { .. });
    let mut candidates = Candidates {
        sylvite,
        by_key: BTreeMap::new(),
    };
    let (mode, presets): (&'static str, &[(&str, &str)]) = match sources.mode {
        Mode::Daemon => ("", &[]),
        Mode::KclV1 => ("KCL 1.x", &[("multilangProtocol", "p1")]),
        Mode::Sylvite { .. } => ("sylvite", &sylvite::PRESETS),
    };
    for (key, text) in presets {
        candidates.add(Layer::Preset, key, text, Origin::Preset(mode), findings);
    }
    if let Some(file) = sources.file {
        read_file(file, &mut candidates, findings);
    }
    if let Mode::Sylvite { arguments } = sources.mode {
        for (key, text, found) in sylvite::look_up(arguments, sources.environment) {
            let origin = match found {
                sylvite::Found::Argument(name) => Origin::Flag(format!("--{name}")),
                sylvite::Found::Variable(name) => Origin::Environment(name),
            };
            candidates.add(Layer::Environment, key, &text, origin, findings);
        }
    }
    read_environment(sources.environment, &mut candidates, findings);
    for flag in sources.flags {
        let origin = Origin::Flag(flag.flag.clone());
        candidates.add(Layer::Flag, &flag.key, &flag.value, origin, findings);
    }
    candidates.expand_file_values(sources.environment, findings);
    candidates.settle(findings)
}

fn read_file(file: PropertiesFile<'_>, candidates: &mut Candidates, findings: &mut Findings) {
    let path: Arc<str> = Arc::from(file.path);
    let place = |line| Origin::File {
        path: Arc::clone(&path),
        line,
    };
    let bytes = match file.bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => {
            findings.notices.warn(
                Some(&place(1)),
                "the file begins with a UTF-8 byte order mark, which is skipped here; Java makes it part of the first key",
            );
            rest
        }
        None => file.bytes,
    };
    let (entries, bad_lines) = properties::parse(bytes);
    for bad in bad_lines {
        findings.error(Some(&place(bad.line)), "", bad.to_string());
    }
    let mut last_line: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &entries {
        let origin = place(entry.line);
        if let Some(earlier) = last_line.insert(&entry.key, entry.line) {
            findings.notices.warn(
                Some(&origin),
                format!(
                    "{} is also set on line {earlier}; this later line counts",
                    shorten(&entry.key)
                ),
            );
        }
        if entry.looks_like_utf8 {
            findings.notices.warn(
                Some(&origin),
                format!(
                    "the line of {} looks like UTF-8, but properties files are ISO-8859-1: every other character must \
                     be written as an escape, for example \\u00e9 for é",
                    shorten(&entry.key)
                ),
            );
        }
        if entry.lost_backslash {
            findings.notices.warn(
                Some(&origin),
                format!(
                    "a backslash of {} disappears, as in Java; in this file a backslash must be written twice",
                    shorten(&entry.key)
                ),
            );
        }
        if entry.half_character {
            findings.notices.warn(
                Some(&origin),
                format!(
                    "a \\u escape of {} is half a character and cannot be kept",
                    shorten(&entry.key)
                ),
            );
        }
    }
    for entry in &entries {
        // An earlier line of the same key never counts.
        if last_line.get(entry.key.as_str()) == Some(&entry.line) {
            candidates.add(
                Layer::File,
                &entry.key,
                &entry.value,
                place(entry.line),
                findings,
            );
        }
    }
}

fn read_environment(
    environment: &BTreeMap<String, String>,
    candidates: &mut Candidates,
    findings: &mut Findings,
) {
    let squeeze = |name: &str| name.replace(['_', '-', '.'], "").to_ascii_lowercase();
    for (variable, text) in environment {
        let Some(written) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        // An empty variable is an unset one, as for AWS's own.
        if text.is_empty() || OTHER_VARIABLES.contains(&variable.as_str()) {
            continue;
        }
        let wanted = squeeze(written);
        let name = keys::all()
            .flat_map(|spec| std::iter::once(spec.name).chain(spec.aliases.iter().map(|a| a.name)))
            .find(|name| squeeze(name) == wanted);
        let origin = Origin::Environment(variable.clone());
        match name {
            Some(name) => candidates.add(Layer::Environment, name, text, origin, findings),
            None => findings.notices.warn(
                Some(&origin),
                format!(
                    "no property has this name, so it has no effect{}",
                    did_you_mean(unknown::nearest_key(written))
                ),
            ),
        }
    }
}

/// Everything that was written for the keys of the table.
struct Candidates {
    sylvite: bool,
    by_key: BTreeMap<&'static str, Vec<Candidate>>,
}

impl Candidates {
    fn add(
        &mut self,
        layer: Layer,
        written: &str,
        text: &str,
        origin: Origin,
        findings: &mut Findings,
    ) {
        match keys::resolve(written, self.sylvite) {
            Some((spec, alias)) => self.by_key.entry(spec.name).or_default().push(Candidate {
                layer,
                written: written.to_owned(),
                alias,
                text: text.to_owned(),
                as_written: text.to_owned(),
                broken: false,
                origin,
            }),
            None => match unknown::judge(&shorten(written)) {
                Verdict::Warn(text) => findings.notices.warn(Some(&origin), text),
                Verdict::Refuse(text) => findings.error(Some(&origin), written, text),
            },
        }
    }

    /// Replaces `${…}` in the file's values if `expandEnvironment` says so, else warns of them.
    fn expand_file_values(
        &mut self,
        environment: &BTreeMap<String, String>,
        findings: &mut Findings,
    ) {
        let wanted = self
            .by_key
            .get("expandEnvironment")
            .and_then(|written| written.iter().max_by_key(|c| c.layer))
            .and_then(|c| super::convert::boolean(super::convert::java_trim(&c.text)))
            .unwrap_or(false);
        for candidate in self.by_key.values_mut().flatten() {
            if candidate.layer != Layer::File || !expects_expansion(&candidate.text) {
                continue;
            }
            if !wanted {
                findings.notices.warn(
                    Some(&candidate.origin),
                    format!(
                        "{}: a reference to the environment is taken literally, as in Java; expandEnvironment = true \
                         and the form ${{NAME}} replace it",
                        candidate.written
                    ),
                );
                continue;
            }
            match expand(&candidate.text, environment) {
                Ok(text) => candidate.text = text,
                Err(why) => {
                    candidate.broken = true;
                    findings.error(
                        Some(&candidate.origin),
                        &candidate.written,
                        format!("{}: {why}", candidate.written),
                    );
                }
            }
        }
    }

    /// Chooses among the candidates of each key and converts the winners.
    fn settle(mut self, findings: &mut Findings) -> Settings {
        let mut settings = BTreeMap::new();
        for spec in keys::all() {
            let setting = self
                .by_key
                .remove(spec.name)
                .and_then(|candidates| choose(spec, candidates, findings))
                .and_then(|winner| convert(spec, &winner, findings))
                .unwrap_or_else(|| default(spec));
            settings.insert(spec.name, setting);
        }
        Settings::new(settings)
    }
}

/// The candidate that counts: highest layer, own name before another name of Java's before the
/// rest, later before earlier. Others of the same layer are warned of.
fn choose(
    spec: &KeySpec,
    candidates: Vec<Candidate>,
    findings: &mut Findings,
) -> Option<Candidate> {
    let rank = |c: &Candidate| match c.alias {
        None => 2,
        Some(AliasKind::Equal) => 1,
        Some(_) => 0,
    };
    let winner = candidates
        .iter()
        .enumerate()
        .max_by_key(|(i, c)| (c.layer, rank(c), *i))
        .map(|(_, c)| c.clone())?;
    for loser in candidates
        .iter()
        .filter(|c| c.layer == winner.layer && c.written != winner.written)
    {
        // Java stops at two spellings of a credentials key in one file.
        if spec.is_secret() && loser.layer == Layer::File && loser.text != winner.text {
            findings.error(
                Some(&loser.origin),
                &loser.written,
                format!(
                    "{} and {} ({}) are one key with two values; keep one of them",
                    loser.written, winner.written, winner.origin
                ),
            );
        } else if loser.layer == Layer::File {
            findings.notices.warn(
                Some(&loser.origin),
                format!(
                    "{} is not used: {} ({}) sets the same value",
                    loser.written, winner.written, winner.origin
                ),
            );
        }
    }
    Some(winner)
}

fn convert(spec: &'static KeySpec, winner: &Candidate, findings: &mut Findings) -> Option<Setting> {
    if winner.broken {
        return None;
    }
    let origin = Some(&winner.origin);
    let written = winner.written.as_str();
    match winner.alias {
        Some(AliasKind::FromV1) => findings.notices.warn(
            origin,
            format!(
                "{written} is a name of KCL 1.x, taken as {}; Java 2.x and 3.x ignore it",
                spec.name
            ),
        ),
        Some(AliasKind::JavaIgnores) => findings.notices.warn(
            origin,
            format!(
                "{written} is taken as {}; Java ignores it silently",
                spec.name
            ),
        ),
        Some(AliasKind::Accidental) => {
            findings
                .notices
                .info(origin, format!("{written} is taken as {}", spec.name));
        }
        Some(AliasKind::Equal | AliasKind::SylviteOnly) | None => {}
    }
    let interpreted = match value::interpret(spec, written, &winner.text) {
        Ok(interpreted) => interpreted,
        Err(why) => {
            // What was put in from the environment may be a secret.
            let why = if winner.text == winner.as_written {
                why
            } else {
                format!(
                    "{written} = '{}' gives no valid value once it is expanded",
                    shorten(&winner.as_written)
                )
            };
            findings.error(origin, written, why);
            return None;
        }
    };
    let expanded = winner.text != winner.as_written;
    for warning in interpreted.warnings {
        let shown = if expanded {
            format!("{written}: its value, once expanded, is not as expected")
        } else {
            warning
        };
        findings.notices.warn(origin, shown);
    }
    for remark in interpreted.remarks {
        findings.notices.info(origin, remark);
    }
    let value = interpreted.value?;
    match spec.status {
        Status::Effective => {}
        Status::NoEffectInJava(why) => {
            let message = format!("{written} is accepted and has no effect: {why}");
            // Who writes a key that no daemon of today knows believes that it works.
            if spec.group == keys::Group::Past {
                findings.notices.warn(origin, message);
            } else {
                findings.notices.info(origin, message);
            }
        }
        Status::OwnWay(how) => findings.notices.info(
            origin,
            format!("{written} is accepted; kcl-daemon does this its own way: {how}"),
        ),
        Status::NotYet(what) => findings.notices.warn(
            origin,
            format!("{written} has no effect yet in this build: {what}"),
        ),
    }
    Some(Setting {
        spec,
        value: Some(value),
        origin: winner.origin.clone(),
        layer: winner.layer,
    })
}

fn default_value(spec: &KeySpec) -> Option<Value> {
    if spec.default.is_empty() {
        return None;
    }
    // A primitive's default may be 0 in the table, which no file can say; it converts all the same.
    value::interpret(spec, spec.name, spec.default).ok()?.value
}

fn default(spec: &'static KeySpec) -> Setting {
    Setting {
        spec,
        value: default_value(spec),
        origin: Origin::Default,
        layer: Layer::Default,
    }
}

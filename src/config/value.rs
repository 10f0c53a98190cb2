//! From a key's text to its value, or to what is done without one: `properties.md` §3 and §3.1 with
//! this daemon's rule that nothing becomes a default silently.

use super::convert;
use super::credentials::{self, ProviderChain};
use super::keys::{Holding, KeySpec, Range, Status, ValueType};
use super::suggest::{did_you_mean, nearest};
use std::fmt;
use std::time::Duration;

/// A converted value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number, in the key's unit.
    Int(i64),
    /// A number, in the key's unit.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// Text, a command line, an endpoint or a region.
    Text(String),
    /// A word, as the table spells it.
    Word(&'static str),
    /// Milliseconds since the epoch.
    Instant(i64),
    /// A length of time.
    Duration(Duration),
    /// Tags in file order.
    Tags(Vec<(String, String)>),
    /// Names in file order.
    Names(Vec<String>),
    /// Credentials providers.
    Credentials(ProviderChain),
}

impl fmt::Display for Value {
    /// The value as `check` shows it; arguments of credentials providers are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(switch) => write!(f, "{switch}"),
            Self::Text(text) => f.write_str(&without_user_info(text)),
            Self::Word(word) => f.write_str(word),
            Self::Instant(millis) => {
                write!(f, "{}", millis.div_euclid(1000))?;
                match millis.rem_euclid(1000) {
                    0 => Ok(()),
                    rest => write!(f, ".{rest:03}"),
                }
            }
            Self::Duration(duration) => write!(f, "PT{}S", duration.as_secs_f64()),
            Self::Tags(tags) => {
                let tags: Vec<String> = tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&tags.join(","))
            }
            Self::Names(names) => f.write_str(&names.join(",")),
            Self::Credentials(chain) => write!(f, "{chain}"),
        }
    }
}

/// What came of a key's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpreted {
    /// The value; `None` if the key counts as not set.
    pub value: Option<Value>,
    /// What to warn of, each a sentence.
    pub warnings: Vec<String>,
    /// What else to say, each a sentence.
    pub remarks: Vec<String>,
}

impl Interpreted {
    fn plain(value: Value) -> Self {
        Self {
            value: Some(value),
            warnings: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn absent() -> Self {
        Self {
            value: None,
            warnings: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

/// Converts the text of `key` (as it was written) by the rules of its row.
///
/// # Errors
/// One sentence naming key, value (unless it is secret) and expected form.
pub fn interpret(spec: &KeySpec, key: &str, text: &str) -> Result<Interpreted, String> {
    let subject = Subject { spec, key, text };
    match spec.value {
        ValueType::Int => subject.whole(32),
        ValueType::Long => subject.whole(64),
        ValueType::Double => subject.double(),
        ValueType::Bool => subject.boolean(),
        ValueType::Text => Ok(subject.text()),
        ValueType::CommandLine => Ok(subject.command_line()),
        ValueType::Word(words) => subject.word(words),
        ValueType::Instant => subject.instant(),
        ValueType::Duration => convert::duration(text)
            .map(|d| Interpreted::plain(Value::Duration(d)))
            .ok_or_else(|| subject.refused("a duration such as PT12H or P1DT30M, not negative")),
        ValueType::Tags => Ok(subject.tags()),
        ValueType::Dimensions => Ok(subject.dimensions()),
        ValueType::Uri => subject.uri(),
        ValueType::Region => match convert::region(text) {
            Ok(region) => Ok(subject.noting_blanks(
                Value::Text(region),
                "Java keeps it and looks for a host that does not exist",
            )),
            Err(why) => Err(format!("{} is not a region: {why}", subject.shown())),
        },
        ValueType::Credentials => credentials::parse(key, text).map(|parsed| Interpreted {
            value: Some(Value::Credentials(parsed.chain)),
            warnings: parsed.warnings,
            remarks: parsed.remarks,
        }),
        ValueType::Anything => Ok(Interpreted::plain(Value::Text(text.to_owned()))),
    }
}

/// A key with its text.
struct Subject<'a> {
    spec: &'a KeySpec,
    key: &'a str,
    text: &'a str,
}

impl Subject<'_> {
    /// `key = 'value'`, shortened, control characters made visible, secrets left out.
    fn shown(&self) -> String {
        if self.spec.is_secret() {
            return self.key.to_owned();
        }
        format!("{} = '{}'", self.key, shorten(self.text))
    }

    fn refused(&self, expected: &str) -> String {
        format!("{} is not {expected}", self.shown())
    }

    /// What follows a text that Java turns into 0 or `false`.
    fn unreadable(&self, expected: &str, java_reads: &str) -> Result<Interpreted, String> {
        let problem = self.refused(expected);
        match (self.spec.holding, self.spec.status) {
            (Holding::Primitive, _) => Ok(Interpreted::absent().warn(format!(
                "{problem}. Java reads it as {java_reads}, which counts as 'not set'; so here: {}",
                self.default()
            ))),
            // Harmless whatever it says: it is not used, and only its presence counts.
            (Holding::Wrapper, Status::NoEffectInJava(_)) => {
                Ok(Interpreted::plain(Value::Text(self.text.to_owned())).warn(problem))
            }
            (Holding::Wrapper, _) => Err(format!(
                "{problem} (Java would read it as {java_reads} and go on with that)"
            )),
            (Holding::Object | Holding::Ours, _) => Err(problem),
        }
    }

    fn default(&self) -> String {
        match (self.spec.default, self.spec.default_note) {
            (_, note) if !note.is_empty() => format!("default: {}", note.replace('`', "")),
            ("", _) => "no value".to_owned(),
            (text, _) => format!("default {text}"),
        }
    }

    fn whole(&self, bits: u32) -> Result<Interpreted, String> {
        let Some(number) = convert::whole_number(self.text, bits) else {
            return self.unreadable(
                &self.number_form(&format!("whole number of {bits} bits")),
                "0",
            );
        };
        if number == 0 && self.zero_is_not_set() {
            return Ok(self.zero_ignored());
        }
        #[allow(clippy::cast_precision_loss)] // only compared with small limits
        self.in_range(number as f64)?;
        if let Range::Clamped(least, most) = self.spec.range
            && !(least..=most).contains(&number)
        {
            let used = number.clamp(least, most);
            return Ok(Interpreted::plain(Value::Int(used)).warn(format!(
                "{} is outside its limits; {used} is used, as in Java",
                self.shown()
            )));
        }
        Ok(Interpreted::plain(Value::Int(number)))
    }

    fn double(&self) -> Result<Interpreted, String> {
        let Some(number) = convert::double(self.text) else {
            return self.unreadable(&self.number_form("number"), "0.0");
        };
        if number == 0.0 && self.zero_is_not_set() {
            return Ok(self.zero_ignored());
        }
        self.in_range(number)?;
        Ok(Interpreted::plain(Value::Float(number)))
    }

    fn number_form(&self, kind: &str) -> String {
        if self.spec.unit.is_empty() {
            format!("a {kind}")
        } else {
            format!("a {kind} ({})", self.spec.unit)
        }
    }

    /// Java hands a primitive on only if it is not 0 (`properties.md` §3.1). Where 0 is the default
    /// there is no difference, and 0 for `shutdownGraceMillis` has a meaning here (`decisions.md`).
    fn zero_is_not_set(&self) -> bool {
        self.spec.holding == Holding::Primitive
            && self.spec.default != "0"
            && self.spec.name != "shutdownGraceMillis"
    }

    fn zero_ignored(&self) -> Interpreted {
        Interpreted::absent().warn(format!(
            "{} counts as 'not set', as in Java: {}",
            self.shown(),
            self.default()
        ))
    }

    fn in_range(&self, number: f64) -> Result<(), String> {
        let Range::Within(least, most) = self.spec.range else {
            return Ok(());
        };
        if (least..=most).contains(&number) {
            return Ok(());
        }
        let expected = if most.is_finite() {
            format!("between {least} and {most}")
        } else {
            format!("at least {least}")
        };
        Err(format!("{} must be {expected}", self.shown()))
    }

    fn boolean(&self) -> Result<Interpreted, String> {
        let trimmed = convert::java_trim(self.text);
        let Some(switch) = convert::boolean(trimmed) else {
            return self.unreadable("true or false (yes, on, 1; no, off, 0)", "false");
        };
        let value = Interpreted::plain(Value::Bool(switch));
        if switch && trimmed.len() != self.text.len() && self.spec.holding != Holding::Ours {
            return Ok(value.warn(format!(
                "{} has a blank at its end; taken as true here, Java keeps the blank and reads false",
                self.key
            )));
        }
        if !switch && self.spec.holding == Holding::Primitive && self.spec.default == "true" {
            return Ok(value.warn(format!(
                "{} = false has its effect here; Java ignores it and stays with true",
                self.key
            )));
        }
        Ok(value)
    }

    fn text(&self) -> Interpreted {
        let text = self.text.trim_end_matches(|c| c <= ' ');
        if text.trim_start_matches(|c| c <= ' ').is_empty() {
            let absent = Interpreted::absent();
            // Where Java treats the empty text as absent too, there is nothing to say.
            let same_in_java = matches!(
                self.spec.name,
                "applicationName" | "streamName" | "streamArn" | "tableName" | "processingLanguage"
            );
            if same_in_java || self.spec.holding == Holding::Ours {
                return absent;
            }
            return absent.warn(format!(
                "{} is empty, which counts as absent here; Java would go on with the empty text",
                self.key
            ));
        }
        self.noting_blanks(
            Value::Text(text.to_owned()),
            "Java makes it part of the value",
        )
    }

    fn command_line(&self) -> Interpreted {
        let text = self.text.trim_end_matches(' ');
        if text.trim_start_matches(' ').is_empty() {
            return Interpreted::absent();
        }
        let value = Interpreted::plain(Value::Text(text.to_owned()));
        if text.chars().any(char::is_control) {
            return value.warn(format!(
                "{} contains a tab or control character, which is part of a word of the command; in this file \
                 a backslash must be written twice",
                self.shown()
            ));
        }
        value
    }

    fn noting_blanks(&self, value: Value, java: &str) -> Interpreted {
        let value = Interpreted::plain(value);
        if self.text.ends_with(|c| c <= ' ') {
            return value.warn(format!(
                "{} has a blank at its end, which is dropped here; {java}",
                self.key
            ));
        }
        value
    }

    fn word(&self, words: &'static [&'static str]) -> Result<Interpreted, String> {
        let trimmed = convert::java_trim(self.text);
        let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(trimmed)) else {
            return Err(format!(
                "{} is not one of {}{}",
                self.shown(),
                words.join(", "),
                did_you_mean(nearest(trimmed, words.iter().copied()))
            ));
        };
        Ok(self.noting_blanks(Value::Word(word), "Java refuses to start because of it"))
    }

    fn instant(&self) -> Result<Interpreted, String> {
        let millis = convert::instant(self.text)
            .map_err(|why| format!("{} is not an instant: {why}", self.shown()))?;
        let value = self.noting_blanks(
            Value::Instant(millis),
            "Java refuses to start because of it",
        );
        // 10^11 seconds is the year 5138; as milliseconds it is 1973.
        if millis.unsigned_abs() >= 100_000_000_000_000 {
            return Ok(value.warn(format!(
                "{} looks like milliseconds, but this key counts seconds",
                self.shown()
            )));
        }
        Ok(value)
    }

    fn tags(&self) -> Interpreted {
        let (tags, bad) = convert::tags(self.text);
        bad.iter()
            .fold(Interpreted::plain(Value::Tags(tags)), |value, bad| {
                value.warn(format!(
                    "{}: '{}' is not of the form key=value and is left out, as in Java",
                    self.key,
                    shorten(bad)
                ))
            })
    }

    fn dimensions(&self) -> Interpreted {
        const KNOWN: [&str; 4] = ["Operation", "ShardId", "WorkerIdentifier", "ALL"];
        let names = convert::names(self.text);
        let unknown: Vec<&String> = names
            .iter()
            .filter(|name| !KNOWN.contains(&name.as_str()))
            .collect();
        let mut value = Interpreted::plain(Value::Names(names.clone()));
        for name in unknown {
            value = value.warn(format!(
                "{}: there is no dimension '{}'{}",
                self.key,
                shorten(name),
                did_you_mean(nearest(name, KNOWN))
            ));
        }
        value
    }

    fn uri(&self) -> Result<Interpreted, String> {
        let (uri, added) = convert::endpoint(self.text).map_err(|why| {
            format!(
                "{} = '{}' is not an endpoint: {why}; it has the form https://host:port",
                self.key,
                // Rather too much than a part of a password.
                shorten(self.text.rsplit('@').next().unwrap_or_default())
            )
        })?;
        let value = self.noting_blanks(Value::Text(uri), "Java refuses to start because of it");
        match added {
            Some(scheme) => Ok(value.warn(format!(
                "{} has no scheme; {scheme}:// is assumed here, Java 2.x and 3.x refuse it",
                self.key
            ))),
            None => Ok(value),
        }
    }
}

/// At most 80 characters, control characters escaped.
pub(super) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    // escape_debug also escapes quotes, which would only confuse here.
    shown.replace("\\'", "'").replace("\\\"", "\"")
}

/// A URL without the `user:password@` that may stand in it.
fn without_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => text.to_owned(),
    }
}

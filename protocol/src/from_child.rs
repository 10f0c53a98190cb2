//! A line of the child → what it means.
//!
//! Reads what Java's daemon reads (protocol.md §5.1: Jackson's coercions, text after the object,
//! its array form, duplicate keys) and, where Java would silently wait for ever, a little more:
//! unknown properties are tolerated and P0's key `checkpoint` is understood.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::message::CheckpointRequest;

/// Actions that Java's parser knows besides `status` and `checkpoint`. A child has no reason to
/// send them; they are parsed and ignored.
const DAEMON_WORDS: [&str; 6] = [
    "initialize",
    "processRecords",
    "shutdownRequested",
    "leaseLost",
    "shardEnded",
    "shutdown",
];

/// How far into a line that is no message the search for traces of one goes, in bytes.
const TRACE_WINDOW: usize = 4096;

/// A line of the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromChild {
    /// An action is finished. `response_for` is `None` if absent or null.
    Status {
        /// The wire name of the action that it answers.
        response_for: Option<String>,
    },
    /// A wish to store progress.
    Checkpoint(CheckpointRequest),
    /// A message that only a daemon sends; of no effect.
    Other {
        /// Its action.
        action: String,
    },
    /// Not a message.
    Noise {
        /// It seems to be meant as one (truncated, wrong case, wrong types), so the daemon may now
        /// wait for something that will never come: worth a warning.
        looks_like_protocol: bool,
    },
    /// Nothing between two line ends; clients put one before each message.
    Empty,
}

impl FromChild {
    /// Reads a line, given without its ending. Bytes that are no UTF-8 count as U+FFFD.
    pub fn parse(line: &[u8]) -> FromChild {
        if line.is_empty() {
            return FromChild::Empty;
        }
        let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
        if !matches!(first, Some(b'{' | b'[')) {
            return noise(line);
        }
        let text = String::from_utf8_lossy(line);
        // Deliberately without a check for the end: text after the object is of no interest.
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let Ok(fields) = deserializer.deserialize_any(MessageVisitor) else {
            return noise(line);
        };
        fields.interpret().unwrap_or_else(|foreign| match foreign {
            Foreign::Unusable => FromChild::Noise {
                looks_like_protocol: true,
            },
            Foreign::OtherObject => FromChild::Noise {
                looks_like_protocol: false,
            },
        })
    }
}

/// The properties that matter, each as the child wrote it.
#[derive(Default)]
struct Fields<'a> {
    action: Option<&'a RawValue>,
    /// The action as the first element of Jackson's array form.
    array_action: Option<String>,
    response_for: Option<&'a RawValue>,
    sequence_number: Option<&'a RawValue>,
    sub_sequence_number: Option<&'a RawValue>,
    checkpoint: Option<&'a RawValue>,
    /// `action` in another case.
    misspelt_action: Option<&'a RawValue>,
    /// There is a `responseFor` in another case.
    misspelt_response: bool,
}

/// Why a well-formed object or array is no message.
enum Foreign {
    /// Meant as a message, but a value cannot be used.
    Unusable,
    /// Some other JSON, as programs log it.
    OtherObject,
}

impl Fields<'_> {
    fn interpret(self) -> Result<FromChild, Foreign> {
        let action = match (&self.array_action, self.action) {
            (Some(action), _) => Some(action.clone()),
            (None, Some(raw)) => text(raw).ok().flatten(),
            (None, None) => None,
        };
        match action.as_deref() {
            Some("status") => Ok(FromChild::Status {
                response_for: optional_text(self.response_for)?,
            }),
            Some("checkpoint") => self.checkpoint_request().map(FromChild::Checkpoint),
            Some(word) if DAEMON_WORDS.contains(&word) => Ok(FromChild::Other {
                action: word.to_owned(),
            }),
            other => Err(self.foreign(other)),
        }
    }

    fn checkpoint_request(&self) -> Result<CheckpointRequest, Foreign> {
        let modern = optional_text(self.sequence_number)?;
        let old = optional_text(self.checkpoint)?;
        Ok(CheckpointRequest {
            sequence_number: modern.or(old),
            sub_sequence_number: match self.sub_sequence_number {
                Some(raw) => integer(raw)?,
                None => None,
            },
            legacy: self.checkpoint.is_some() && self.sequence_number.is_none(),
        })
    }

    fn foreign(&self, action: Option<&str>) -> Foreign {
        let near_miss = |word: &str| {
            let word = word.trim();
            word.eq_ignore_ascii_case("status") || word.eq_ignore_ascii_case("checkpoint")
        };
        let misspelt = optional_text(self.misspelt_action).ok().flatten();
        if action.is_some_and(near_miss)
            || misspelt.as_deref().is_some_and(near_miss)
            || self.response_for.is_some()
            || self.misspelt_response
        {
            Foreign::Unusable
        } else {
            Foreign::OtherObject
        }
    }
}

fn optional_text(raw: Option<&RawValue>) -> Result<Option<String>, Foreign> {
    raw.map_or(Ok(None), text)
}

/// Text as Jackson coerces it: a number or boolean becomes the text it was written with.
fn text(raw: &RawValue) -> Result<Option<String>, Foreign> {
    match raw.get().as_bytes().first() {
        Some(b'"') => string(raw).map(Some),
        Some(b'n') => Ok(None),
        Some(b'{' | b'[') | None => Err(Foreign::Unusable),
        Some(_) => Ok(Some(raw.get().to_owned())),
    }
}

/// An integer as Jackson coerces it: digits in a string, and a fraction cut off.
fn integer(raw: &RawValue) -> Result<Option<i64>, Foreign> {
    let written = raw.get();
    match written.as_bytes().first() {
        Some(b'"') => {
            let content = string(raw)?;
            match content.trim() {
                "" | "null" => Ok(None),
                digits => digits.parse().map(Some).map_err(|_| Foreign::Unusable),
            }
        }
        Some(b'n') => Ok(None),
        Some(b'-' | b'0'..=b'9') => number(written).map(Some).ok_or(Foreign::Unusable),
        _ => Err(Foreign::Unusable),
    }
}

fn number(written: &str) -> Option<i64> {
    if !written.contains(['.', 'e', 'E']) {
        return written.parse().ok();
    }
    // 2^63: the first value that no i64 holds; exact as a float.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let value: f64 = written.parse().ok()?;
    (-LIMIT..LIMIT).contains(&value).then_some(value as i64)
}

/// The content of a JSON string. A lone surrogate, which Java lets pass and Rust's text cannot
/// hold, counts as U+FFFD.
fn string(raw: &RawValue) -> Result<String, Foreign> {
    if let Ok(content) = serde_json::from_str(raw.get()) {
        return Ok(content);
    }
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    let bytes = deserializer
        .deserialize_bytes(LossyText)
        .map_err(|_| Foreign::Unusable)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct LossyText;

impl Visitor<'_> for LossyText {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// Takes an object, or the array `["<action>", {…}]`.
struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        // Assigning in order makes the last of duplicate keys win.
        while let Some(key) = map.next_key::<String>()? {
            let slot = match key.as_str() {
                "action" => &mut fields.action,
                "responseFor" => &mut fields.response_for,
                "sequenceNumber" => &mut fields.sequence_number,
                "subSequenceNumber" => &mut fields.sub_sequence_number,
                "checkpoint" => &mut fields.checkpoint,
                other if other.eq_ignore_ascii_case("action") => &mut fields.misspelt_action,
                other => {
                    fields.misspelt_response |= other.eq_ignore_ascii_case("responseFor");
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = Some(map.next_value()?);
        }
        Ok(fields)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Fields<'de>, A::Error> {
        let Some(action) = seq.next_element::<String>()? else {
            return Err(serde::de::Error::invalid_length(0, &self));
        };
        let Some(Inner(mut fields)) = seq.next_element()? else {
            return Err(serde::de::Error::invalid_length(1, &self));
        };
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(serde::de::Error::invalid_length(3, &self));
        }
        fields.array_action = Some(action);
        Ok(fields)
    }
}

/// The object inside the array form.
struct Inner<'a>(Fields<'a>);

impl<'de> Deserialize<'de> for Inner<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MessageVisitor).map(Inner)
    }
}

/// Text that is no JSON object: does its beginning mention what only messages mention?
fn noise(line: &[u8]) -> FromChild {
    let window = line.get(..TRACE_WINDOW).unwrap_or(line);
    let start = window.to_ascii_lowercase();
    let mentions = |word: &[u8]| memchr::memmem::find(&start, word).is_some();
    let quoted_action = mentions(b"\"action\"") || mentions(b"'action'");
    let names_message = mentions(b"status") || mentions(b"checkpoint");
    FromChild::Noise {
        looks_like_protocol: mentions(b"responsefor") || (quoted_action && names_message),
    }
}

#[cfg(test)]
mod tests;

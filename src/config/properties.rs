//! Reads a `.properties` file as `java.util.Properties.load(InputStream)` does, keeping the line of
//! every entry. Rules: `properties.md` §1.
//!
//! The lines are split here and each is then given to `java-properties` for its separators and
//! escapes. Two things the crate does otherwise than Java are kept away from it: it reads
//! windows-1252 where Java reads ISO-8859-1, and it refuses halves of surrogate pairs in `\u`
//! escapes. So every character above U+007F and every `\u` escape travels through it as one
//! placeholder, and the real characters are put in afterwards.

use java_properties::{LineContent, PropertiesIter};

/// One entry of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved, blanks at its end kept as Java keeps them.
    pub value: String,
    /// The physical line on which the entry starts, from 1.
    pub line: usize,
    /// The raw bytes look like UTF-8 text beyond ASCII, which Java reads as something else.
    pub looks_like_utf8: bool,
    /// An escape named half a character, which no text can hold; it became U+FFFD.
    pub half_character: bool,
    /// A backslash before a letter or digit that makes no escape: it disappeared, which in a Windows
    /// path is not what was meant.
    pub lost_backslash: bool,
}

/// A line that Java refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a \\u escape needs exactly four hexadecimal digits (write \\\\ for a backslash, for example in Windows paths)"
)]
pub struct BadEscape {
    /// The physical line on which the entry starts, from 1.
    pub line: usize,
}

/// The entries of a file in file order, and the lines that cannot be read.
///
/// Any bytes are accepted. Java stops at the first bad line; here the others are still read, so
/// that all errors of a file can be told at once.
#[must_use]
pub fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<BadEscape>) {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (line, text) in logical_lines(bytes) {
        match parse_line(line, &text) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    (entries, errors)
}

/// Splits into logical lines as Java's `LineReader` does: comments and blank lines dropped,
/// continuations joined, leading blanks of each physical line gone. A backslash at the very end of
/// the file disappears.
fn logical_lines(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut pending: Option<(usize, Vec<u8>)> = None;
    for (number, physical) in (1..).zip(physical_lines(bytes)) {
        let text = physical.trim_ascii_start_java();
        let (start, mut joined) = match pending.take() {
            Some(unfinished) => unfinished,
            None if text.is_empty() => continue,
            None => (number, Vec::new()),
        };
        // Java asks this of a continuation too when nothing stands before it.
        if joined.is_empty() && matches!(text.first(), None | Some(b'#' | b'!')) {
            continue;
        }
        joined.extend_from_slice(text);
        let backslashes = text.iter().rev().take_while(|b| **b == b'\\').count();
        if backslashes % 2 == 1 {
            joined.pop();
            pending = Some((start, joined));
        } else {
            lines.push((start, joined));
        }
    }
    lines.extend(pending.filter(|(_, text)| !text.is_empty()));
    lines
}

/// Lines ended by `\n`, `\r` or `\r\n`.
fn physical_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        let ending = if tail.starts_with(b"\r\n") { 2 } else { 1 };
        rest = tail.get(ending..);
        Some(line)
    })
}

trait JavaBlanks {
    fn trim_ascii_start_java(&self) -> &Self;
}

impl JavaBlanks for [u8] {
    /// Without leading spaces, tabs and form feeds: the blanks of the properties format.
    fn trim_ascii_start_java(&self) -> &Self {
        let blanks = self
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t' | 0x0c))
            .count();
        self.get(blanks..).unwrap_or_default()
    }
}

/// Stands for one UTF-16 unit on its way through the parser; the character SUBSTITUTE itself is
/// replaced too, so none is lost.
const PLACEHOLDER: u8 = 0x1a;

fn parse_line(line: usize, text: &[u8]) -> Result<Option<Entry>, BadEscape> {
    let Shielded {
        ascii,
        units,
        lost_backslash,
    } = shield(text).ok_or(BadEscape { line })?;
    let parsed = match PropertiesIter::new(ascii.as_slice()).next() {
        Some(Ok(parsed)) => parsed.consume_content(),
        // Only `\u` escapes can be refused, and none is left.
        Some(Err(_)) => return Err(BadEscape { line }),
        None => return Ok(None),
    };
    let LineContent::KVPair(key, value) = parsed else {
        return Ok(None);
    };
    let mut units = units.into_iter();
    let (key, half_in_key) = unshield(&key, &mut units);
    let (value, half_in_value) = unshield(&value, &mut units);
    Ok(Some(Entry {
        key,
        value,
        line,
        looks_like_utf8: !text.is_ascii() && std::str::from_utf8(text).is_ok(),
        half_character: half_in_key || half_in_value,
        lost_backslash,
    }))
}

/// A line that `java-properties` can read.
struct Shielded {
    /// The line in ASCII with placeholders.
    ascii: Vec<u8>,
    /// The UTF-16 units that they stand for.
    units: Vec<u16>,
    lost_backslash: bool,
}

/// `None` if an escape is malformed.
fn shield(text: &[u8]) -> Option<Shielded> {
    let mut ascii = Vec::with_capacity(text.len());
    let mut units = Vec::new();
    let mut lost_backslash = false;
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail.first()) {
            (b'\\', Some(b'u')) => {
                let digits = tail.get(1..5)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                let digits = std::str::from_utf8(digits).ok()?;
                units.push(u16::from_str_radix(digits, 16).ok()?);
                ascii.push(PLACEHOLDER);
                rest = tail.get(5..)?;
            }
            // An escaped character stays with its backslash, lest `\\u` look like an escape.
            (b'\\', Some(escaped)) if escaped.is_ascii() && *escaped != PLACEHOLDER => {
                ascii.extend_from_slice(&[byte, *escaped]);
                lost_backslash |= escaped.is_ascii_alphanumeric()
                    && !matches!(escaped, b't' | b'n' | b'r' | b'f');
                rest = tail.get(1..)?;
            }
            (byte, _) if !byte.is_ascii() || byte == PLACEHOLDER => {
                units.push(u16::from(byte));
                ascii.push(PLACEHOLDER);
            }
            (byte, _) => ascii.push(byte),
        }
    }
    Some(Shielded {
        ascii,
        units,
        lost_backslash,
    })
}

fn unshield(text: &str, units: &mut impl Iterator<Item = u16>) -> (String, bool) {
    let utf16 = text.chars().map(|c| {
        let unit = u16::try_from(u32::from(c)).unwrap_or(0xfffd);
        if unit == u16::from(PLACEHOLDER) {
            units.next().unwrap_or(unit)
        } else {
            unit
        }
    });
    let mut half = false;
    let text = char::decode_utf16(utf16)
        .map(|c| {
            c.unwrap_or_else(|_| {
                half = true;
                char::REPLACEMENT_CHARACTER
            })
        })
        .collect();
    (text, half)
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod tests;

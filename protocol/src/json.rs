//! Text as a JSON string in pure ASCII, appended to a buffer.
//!
//! Everything above U+007E leaves as `\uXXXX` (a surrogate pair where needed): the same JSON, but
//! immune to the child's locale and to readers that take U+0085 or U+2028 for the end of a line
//! (protocol.md §2).

/// Bytes looked at in one step of the scan for characters that need an escape; a fixed width
/// lets the compiler turn the step into vector instructions.
const STEP: usize = 32;

/// Appends `text` with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` with its quotes, or `null`.
pub(crate) fn push_optional_string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends an integer.
pub(crate) fn push_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an integer, or `null`.
pub(crate) fn push_optional_integer(out: &mut Vec<u8>, number: Option<impl itoa::Integer>) {
    match number {
        Some(number) => push_integer(out, number),
        None => out.extend_from_slice(b"null"),
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest.as_bytes());
        // `plain` counts ASCII bytes only, so it is a character boundary.
        let (copied, special) = rest.split_at(plain);
        out.extend_from_slice(copied.as_bytes());
        let mut chars = special.chars();
        let Some(character) = chars.next() else {
            return;
        };
        push_escape(out, character);
        rest = chars.as_str();
    }
}

/// How many leading bytes can be copied as they are.
fn plain_prefix(bytes: &[u8]) -> usize {
    let any_special = |step: &[u8]| step.iter().fold(false, |any, &byte| any | special(byte));
    let steps = bytes
        .chunks_exact(STEP)
        .take_while(|step| !any_special(step))
        .count();
    let start = steps * STEP;
    // The last bytes again with those before them, so that keys and numbers, which are short, are
    // mostly seen in whole steps.
    if let Some(end) = bytes.last_chunk::<STEP>()
        && bytes.len() - start < STEP
        && !any_special(end)
    {
        return bytes.len();
    }
    let tail = bytes.get(start..).unwrap_or_default();
    start
        + tail
            .iter()
            .position(|&byte| special(byte))
            .unwrap_or(tail.len())
}

fn special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte > 0x7e)
}

fn push_escape(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                push_unicode_escape(out, *unit);
            }
        }
    }
}

fn push_unicode_escape(out: &mut Vec<u8>, unit: u16) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = ((unit >> shift) & 0xf) as u8;
        out.push(match digit {
            0..=9 => b'0' + digit,
            _ => b'A' + digit - 10,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::push_string;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_json_demands_and_all_that_is_not_printable_ascii() {
        let table = [
            ("", r#""""#),
            ("plain / text ~", r#""plain / text ~""#),
            ("\"\\", r#""\"\\""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\0\u{1f}", r#""\u0000\u001F""#),
            ("\u{7f}\u{85}\u{a0}", r#""\u007F\u0085\u00A0""#),
            ("grün", r#""gr\u00FCn""#),
            ("\u{2028}\u{2029}\u{feff}", r#""\u2028\u2029\uFEFF""#),
            ("😀", r#""\uD83D\uDE00""#),
        ];
        for (text, expected) in table {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }

    #[test]
    fn finds_the_special_byte_wherever_it_stands_around_the_step_width() {
        for length in 0..100 {
            let mut text = "a".repeat(length);
            text.push('"');
            text.push_str("tail");
            assert_eq!(
                quoted(&text),
                format!("\"{}\\\"tail\"", "a".repeat(length)),
                "{length} characters before the quote"
            );
        }
    }
}

//! JSON read forward, without building anything: what [`page_scan`](super::page_scan) is made of.
//!
//! Two things may come in between: the text goes on in a piece that is not here yet, or it is JSON of
//! a kind that another reader might take in another way. Both are told apart from success, and nothing
//! is guessed.

use aws_smithy_types::DateTime;
use memchr::{memchr, memchr2};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::aws::kinesis::millis;

/// Why an item of the answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It goes on in the next piece.
    NeedMore,
    /// It is not of the plain kind.
    Strange(&'static str),
}

use Stop::NeedMore;

/// In an item that is not complete: the string that begins at `string` has no end before `scanned`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resume {
    string: usize,
    scanned: usize,
}

/// The content of a JSON string.
pub(super) enum Text<'a> {
    /// As it stands in the answer, without escapes. Not looked at yet.
    Plain(&'a [u8]),
    Unescaped(String),
}

impl Text<'_> {
    pub(super) const EMPTY: Self = Self::Plain(b"");

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Unescaped(text) => text.as_bytes(),
        }
    }

    pub(super) fn get(&self) -> Result<&str, Stop> {
        match self {
            Self::Plain(bytes) => {
                // Without an early end, so that the compiler can look at many bytes at once.
                if bytes.iter().fold(false, |any, &byte| any | (byte < b' ')) {
                    return Err(Stop::Strange("a control character in a string"));
                }
                std::str::from_utf8(bytes).map_err(|_| Stop::Strange("it is not UTF-8"))
            }
            Self::Unescaped(text) => Ok(text),
        }
    }
}

/// What follows inside an array or an object.
pub(super) enum Next {
    Element,
    Close,
}

pub(super) struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
    resume: Resume,
}

impl<'a> Cursor<'a> {
    /// At the beginning of an item that was tried before up to `resume`.
    pub(super) const fn new(input: &'a [u8], resume: Resume) -> Self {
        Self {
            input,
            at: 0,
            resume,
        }
    }

    /// Bytes read so far.
    pub(super) const fn used(&self) -> usize {
        self.at
    }

    /// For the next try, when there is more.
    pub(super) const fn resume(&self) -> Resume {
        self.resume
    }

    /// Whether nothing but white space follows.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_whitespace();
        self.at == self.input.len()
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.input.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, Stop> {
        match self.input.get(self.at) {
            Some(&byte) if byte > b' ' => Ok(byte),
            _ => {
                self.skip_whitespace();
                self.input.get(self.at).copied().ok_or(NeedMore)
            }
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(Stop::Strange("it is not the JSON that was expected"));
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over what is between two elements; the closing bracket is stepped over, too.
    #[inline]
    pub(super) fn next_in(&mut self, first: bool, close: u8) -> Result<Next, Stop> {
        if self.peek()? == close {
            self.at += 1;
            return Ok(Next::Close);
        }
        if !first {
            self.expect(b',')?;
            if self.peek()? == close {
                return Err(Stop::Strange("a comma before a closing bracket"));
            }
        }
        Ok(Next::Element)
    }

    /// Steps over a member's name and its colon, if they are exactly this text. The quick way for names
    /// that come with every record.
    #[inline]
    pub(super) fn skip(&mut self, text: &'static [u8]) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The name of a member; stands behind its colon afterwards.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Stop> {
        let Text::Plain(name) = self.text()? else {
            return Err(Stop::Strange("an escape in the name of a member"));
        };
        if !name.is_ascii() {
            return Err(Stop::Strange("a name that is not ASCII"));
        }
        self.expect(b':')?;
        Ok(name)
    }

    /// Steps over `null`, if it is what follows.
    #[inline]
    pub(super) fn null(&mut self) -> Result<bool, Stop> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        let Some((word, behind)) = self.rest().split_at_checked(4) else {
            return Err(NeedMore);
        };
        if word != b"null" || !ends_a_value(*behind.first().ok_or(NeedMore)?) {
            return Err(Stop::Strange("a word that is not JSON"));
        }
        self.at += 4;
        Ok(true)
    }

    /// A string.
    pub(super) fn text(&mut self) -> Result<Text<'a>, Stop> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        if self.resume.string == start {
            self.at = usize::max(self.at, self.resume.scanned);
        }
        loop {
            let Some(found) = memchr2(b'"', b'\\', self.rest()) else {
                if !escaped {
                    self.resume = Resume {
                        string: start,
                        scanned: self.input.len(),
                    };
                }
                return Err(NeedMore);
            };
            self.at += found;
            if self.input.get(self.at) == Some(&b'"') {
                break;
            }
            if !escaped {
                escaped = true;
                self.resume = Resume {
                    string: start,
                    scanned: self.at,
                };
            }
            // The character behind a backslash is none that ends the string.
            self.at += 2;
        }
        self.at += 1;
        if !escaped {
            let content = self.input.get(start..self.at - 1).unwrap_or_default();
            return Ok(Text::Plain(content));
        }
        let quoted = self.input.get(start - 1..self.at).unwrap_or_default();
        serde_json::from_slice(quoted)
            .map(Text::Unescaped)
            .map_err(|_| Stop::Strange("a string that is not JSON"))
    }

    /// The characters of a number.
    fn number(&mut self) -> Result<&'a str, Stop> {
        self.peek()?;
        let rest = self.rest();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        if !ends_a_value(*rest.get(length).ok_or(NeedMore)?) {
            return Err(Stop::Strange("a value that is not a number"));
        }
        self.at += length;
        let number = rest.get(..length).unwrap_or_default();
        std::str::from_utf8(number).map_err(|_| Stop::Strange("it is not UTF-8"))
    }

    /// A number of milliseconds.
    pub(super) fn integer(&mut self) -> Result<i64, Stop> {
        let number = self.number()?;
        if number.len() > 18 || !is_plain_integer(number) {
            return Err(Stop::Strange("a number that is not a plain one"));
        }
        number
            .parse()
            .map_err(|_| Stop::Strange("a number that is not a plain one"))
    }

    /// A time in seconds, as milliseconds.
    pub(super) fn arrival(&mut self) -> Result<i64, Stop> {
        self.peek()?;
        if let Some((millis, length)) = usual_millis(self.rest()) {
            self.at += length;
            return Ok(millis);
        }
        let number = self.number()?;
        if let Some(exact) = exact_millis(number) {
            return Ok(exact);
        }
        let seconds: f64 = match is_fraction(number) {
            true => number.parse().ok(),
            false => None,
        }
        .ok_or(Stop::Strange("a time that is not a plain number"))?;
        // The same steps as the SDK's, so that the same comes out.
        if seconds.abs() < 1e12 {
            Ok(millis(&DateTime::from_secs_f64(seconds)))
        } else {
            Err(Stop::Strange("a time that no clock shows"))
        }
    }

    /// A value that is small or rare.
    pub(super) fn value<T: DeserializeOwned>(&mut self) -> Result<T, Stop> {
        self.peek()?;
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<T>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            // A number that is cut in two is no number: only what follows tells. If nothing does, the
            // answer ends early, and the SDK says what is wrong.
            Some(Err(_)) | None => return Err(NeedMore),
        };
        let length = values.byte_offset();
        let (value_text, behind) = self.rest().split_at(length);
        if !ends_a_value(*behind.first().ok_or(NeedMore)?) {
            return Err(Stop::Strange("a value that does not end"));
        }
        // The readers agree on plain text; on escapes of half a character they need not.
        if memchr(b'\\', value_text).is_some() {
            return Err(Stop::Strange("an escape in a member that is not known"));
        }
        self.at += length;
        Ok(value)
    }

    /// Steps over a value of whatever kind.
    pub(super) fn ignore(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'"' {
            return self.text()?.get().map(|_| ());
        }
        self.value::<IgnoredAny>().map(|_| ())
    }
}

const fn ends_a_value(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n')
}

/// Digits, and no zero before others.
fn is_plain_integer(number: &str) -> bool {
    let digits = number.as_bytes();
    !digits.is_empty()
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'))
}

/// A number that is ten digits and three decimals, as the service mostly writes a time: milliseconds,
/// and its length.
fn usual_millis(text: &[u8]) -> Option<(i64, usize)> {
    let (seconds, rest) = text.split_first_chunk::<10>()?;
    let (decimals, rest) = rest.strip_prefix(b".")?.split_first_chunk::<3>()?;
    if !ends_a_value(*rest.first()?) || seconds.first() == Some(&b'0') {
        return None;
    }
    let millis = digits(seconds)? * 1000 + digits(decimals)?;
    Some((millis, seconds.len() + 1 + decimals.len()))
}

/// So many digits as a number.
fn digits<const N: usize>(text: &[u8; N]) -> Option<i64> {
    let (mut number, mut all) = (0, true);
    for digit in text {
        let digit = digit.wrapping_sub(b'0');
        all &= digit < 10;
        number = number * 10 + i64::from(digit);
    }
    all.then_some(number)
}

/// Seconds with at most three decimals, in whole milliseconds.
fn exact_millis(number: &str) -> Option<i64> {
    let (seconds, decimals) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    if seconds.len() > 11 || decimals.len() > 3 || !is_plain_integer(seconds) {
        return None;
    }
    let mut millis: i64 = seconds.parse().ok()?;
    let mut decimals = decimals.bytes();
    for _ in 0..3 {
        let digit = decimals.next().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        millis = millis * 10 + i64::from(digit - b'0');
    }
    Some(millis)
}

/// A number of JSON with a fraction or an exponent.
fn is_fraction(number: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    is_plain_integer(whole)
        && fraction.is_none_or(digits)
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        && (fraction.is_some() || exponent.is_some())
}

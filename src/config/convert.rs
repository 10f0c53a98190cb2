//! Texts to values, as Java's converters read them (`properties.md` §3): pure parsers that know
//! nothing of keys. What a failure leads to is decided in `value.rs`.

use std::time::Duration;

/// Without leading and trailing characters up to U+0020, as Java's `String.trim`.
#[must_use]
pub fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// `Integer.valueOf` and `Long.valueOf` after trimming: decimal digits with an optional sign.
#[must_use]
pub fn whole_number(text: &str, bits: u32) -> Option<i64> {
    let number: i64 = java_trim(text).parse().ok()?;
    (bits > 32 || i32::try_from(number).is_ok()).then_some(number)
}

/// `Double.valueOf`: decimal or hexadecimal, exponent, `NaN`, `Infinity`, a trailing `d` or `f`.
#[must_use]
pub fn double(text: &str) -> Option<f64> {
    let text = java_trim(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match digits {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let number = digits.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(digits);
            match number
                .strip_prefix("0x")
                .or_else(|| number.strip_prefix("0X"))
            {
                Some(hexadecimal) => hexadecimal_double(hexadecimal)?,
                // Rust also takes words (inf, nan) and a second sign, Java does not.
                None if number.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                    number.parse().ok()?
                }
                None => return None,
            }
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `1.8p3` of `0x1.8p3`; the exponent is obligatory.
fn hexadecimal_double(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars() {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let mut place = 1.0 / 16.0;
    for digit in fraction.chars() {
        value += f64::from(digit.to_digit(16)?) * place;
        place /= 16.0;
    }
    Some(value * 2f64.powi(exponent))
}

/// BeanUtils' words for true and false, any case, **not** trimmed.
#[must_use]
pub fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["true", "yes", "y", "on", "1"]) {
        Some(true)
    } else if is(["false", "no", "n", "off", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// `java.time.Duration.parse` without negative results: `P[nD][T[nH][nM][n.nS]]`, any case.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let text = java_trim(text).to_ascii_uppercase();
    let text = text.strip_prefix('+').unwrap_or(&text);
    let body = text.strip_prefix('P')?;
    let (days, time) = match body.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (body, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    // Signs inside are legal in Java; the sum must not be negative.
    let mut nanos: i128 = 0;
    if !days.is_empty() {
        nanos += part(days.strip_suffix('D')?, 86_400, false)?;
    }
    let mut rest = time;
    for (unit, seconds) in [('H', 3600), ('M', 60), ('S', 1)] {
        if let Some((number, tail)) = rest.split_once(unit) {
            nanos += part(number, seconds, unit == 'S')?;
            rest = tail;
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let nanos = u128::try_from(nanos).ok()?;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    // proven: a remainder of 10^9 fits 32 bits.
    #[allow(clippy::cast_possible_truncation)]
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// Nanoseconds of one component of a duration.
fn part(number: &str, unit_seconds: i128, may_have_fraction: bool) -> Option<i128> {
    let (whole, fraction) = match number.split_once(['.', ',']) {
        Some((whole, fraction)) if may_have_fraction => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole = i128::from(whole.parse::<i64>().ok()?);
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    Some((whole * unit_seconds).checked_mul(1_000_000_000)? + sign * fraction)
}

/// An instant in milliseconds since the epoch, from whole seconds or ISO-8601
/// (`2024-05-01`, `2024-05-01T12:00:00Z`, `2024-05-01T12:00:00.5+02:00`).
///
/// # Errors
/// A phrase that says what is wrong, to follow "is not an instant: ".
pub fn instant(text: &str) -> Result<i64, &'static str> {
    let text = java_trim(text);
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1000).ok_or("it is too large");
    }
    iso_instant(text)
}

const FORM: &str =
    "write seconds since 1970 or ISO-8601 with a time zone such as 2024-05-01T12:00:00Z";

fn iso_instant(text: &str) -> Result<i64, &'static str> {
    if !text.is_ascii() {
        return Err(FORM);
    }
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let days = calendar_days(date).ok_or(FORM)?;
    let Some(time) = time else {
        return Ok(days * 86_400_000);
    };
    let zone = time
        .find(['Z', 'z', '+', '-'])
        .ok_or("the time zone is missing, add Z for UTC")?;
    let (clock, zone) = time.split_at(zone);
    let offset = zone_minutes(zone).ok_or(FORM)?;
    let millis = clock_millis(clock).ok_or(FORM)?;
    Ok(days * 86_400_000 + millis - offset * 60_000)
}

/// Digits only, of exactly this length, at most this large.
fn digits(text: &str, length: usize, most: i64) -> Option<i64> {
    if text.len() != length || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= most)
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
fn calendar_days(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4, 9999)?;
    let month = digits(parts.next()?, 2, 12)?;
    let day = digits(parts.next()?, 2, 31)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        0 => return None,
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > length {
        return None;
    }
    // Years are counted from March, so that the leap day is the last of its year.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let days = 365 * shifted_year + shifted_year.div_euclid(4) - shifted_year.div_euclid(100)
        + shifted_year.div_euclid(400)
        + day_of_year;
    Some(days - 719_468)
}

/// Milliseconds of `HH:MM[:SS[.fraction]]`.
fn clock_millis(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':');
    let hours = digits(parts.next()?, 2, 23)?;
    let minutes = digits(parts.next()?, 2, 59)?;
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once(['.', ',']) {
            None => (digits(seconds, 2, 59)?, 0),
            Some((whole, fraction)) => {
                if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
                (digits(whole, 2, 59)?, digits(&millis, 3, 999)?)
            }
        },
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction)
}

/// Minutes east of Greenwich of `Z`, `+HH`, `+HHMM`, `+HH:MM`.
fn zone_minutes(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let figures: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let hours = digits(figures.get(..2)?, 2, 18)?;
    let minutes = match figures.get(2..)? {
        "" => 0,
        minutes => digits(minutes, 2, 59)?,
    };
    Some(sign * (hours * 60 + minutes))
}

/// Tags, and the elements that are not of the form `key=value` (they are dropped, as in Java).
#[must_use]
pub fn tags(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    let text = java_trim(text);
    let elements: Vec<&str> = text.split(',').collect();
    // Java's split forgets empty elements at the end, except when there is nothing else.
    let used = elements
        .iter()
        .rposition(|e| !e.is_empty())
        .map_or(1, |i| i + 1);
    for element in elements.into_iter().take(used) {
        match element.split_once('=') {
            Some((key, value))
                if !value.contains('=')
                    && !java_trim(key).is_empty()
                    && !java_trim(value).is_empty() =>
            {
                good.push((java_trim(key).to_owned(), java_trim(value).to_owned()));
            }
            _ => bad.push(element.to_owned()),
        }
    }
    (good, bad)
}

/// Names separated by commas, blanks or semicolons, optionally in braces.
#[must_use]
pub fn names(text: &str) -> Vec<String> {
    let text = java_trim(text);
    let inner = text
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .unwrap_or(text);
    let mut names: Vec<String> = Vec::new();
    for name in inner.split(|c: char| c == ',' || c == ';' || c.is_whitespace()) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// An endpoint, and the scheme that had to be added to it, if any (`properties.md` §7.2).
///
/// # Errors
/// A phrase that says what is wrong, to follow "is not an endpoint: ".
pub fn endpoint(text: &str) -> Result<(String, Option<&'static str>), String> {
    let text = java_trim(text);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "<>\"{}|\\^`".contains(*c))
    {
        return Err(format!("it contains the character {bad:?}"));
    }
    let (scheme, rest, added) = match text.split_once("://") {
        Some((scheme, rest)) => {
            let known = ["https", "http"]
                .into_iter()
                .find(|known| scheme.eq_ignore_ascii_case(known))
                .ok_or("the scheme must be http or https")?;
            (known, rest, None)
        }
        None if is_this_host(text) => ("http", text, Some("http")),
        None => ("https", text, Some("https")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host_and_port.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (host_and_port, None),
    };
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if port.is_some_and(|p| {
        !p.bytes().all(|b| b.is_ascii_digit()) || !matches!(p.parse(), Ok(1..=65535u32))
    }) {
        return Err("the port must be a number from 1 to 65535".to_owned());
    }
    Ok((format!("{scheme}://{rest}"), added))
}

fn is_this_host(text: &str) -> bool {
    let host = text.split(['/', '?']).next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.starts_with("127.") || host.starts_with("[::1]")
}

/// A region; Java takes any text that is not blank.
///
/// # Errors
/// A phrase that says what is wrong, to follow "is not a region: ".
pub fn region(text: &str) -> Result<String, &'static str> {
    let text = java_trim(text);
    if text.is_empty() {
        return Err("it is blank");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return Err("it has the form us-east-1");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;

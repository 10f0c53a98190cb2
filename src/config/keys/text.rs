//! The table of properties for a terminal: `kcl-daemon help properties`.

use super::markdown::CHAPTERS;
use super::{AliasKind, Group, KeySpec, Range, Status, ValueType, all, find, resolve};
use crate::config::suggest::nearest;
use std::fmt::Write;

/// Lines are no longer than this.
const WIDTH: usize = 96;

/// So many names are offered for an unknown one.
const MOST_NAMES: usize = 8;

/// No property has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no property has the name '{written}'; {}", offer(.near))]
pub struct UnknownKey {
    written: String,
    near: Vec<&'static str>,
}

fn offer(near: &[&str]) -> String {
    if near.is_empty() {
        "'kcl-daemon help properties' lists them all".to_owned()
    } else {
        format!("near it are: {}", near.join(", "))
    }
}

/// All properties by chapter, a line or two each.
#[must_use]
pub fn list() -> String {
    let mut page = String::from(
        "Properties of the file, of -D key=value, and of the environment (KCL_DAEMON_STREAM_NAME for\n\
         streamName). 'kcl-daemon help properties KEY' tells all of one.\n",
    );
    for (group, title, _) in CHAPTERS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n{title}\n");
        for spec in all().filter(|spec| spec.group == group) {
            let _ = match short_default(spec) {
                Some(default) => writeln!(page, "  {} ({default})", spec.name),
                None => writeln!(page, "  {}", spec.name),
            };
            let effect = plain(first_sentence(spec.effect));
            if group != Group::Past && !effect.is_empty() {
                wrap(&mut page, &effect, 6);
            }
        }
    }
    page
}

/// Everything about one property. Any of its names will do, in any case.
///
/// # Errors
/// There is none of this name; says which are near.
pub fn describe(written: &str) -> Result<String, UnknownKey> {
    let spec = by_any_name(written).ok_or_else(|| UnknownKey {
        written: written.to_owned(),
        near: near(written),
    })?;
    let mut page = format!("{}\n", spec.name);
    if !spec.effect.is_empty() {
        wrap(&mut page, &plain(spec.effect), 2);
    }
    page.push('\n');
    let mut fact = |name: &str, text: String| {
        if !text.is_empty() {
            let start = page.len();
            wrap(&mut page, &text, 12);
            // The first line's margin has room for the name.
            page.replace_range(start..start + 12, &format!("  {name:<10}"));
        }
    };
    fact("value", value(spec));
    if spec.value == ValueType::Credentials {
        fact("", credentials());
    }
    fact("default", default(spec));
    fact("since", since(spec));
    fact("also", also(spec));
    fact("in Java", plain(spec.java));
    fact("here", status(spec));
    fact("variable", format!("KCL_DAEMON_{}", variable(spec.name)));
    Ok(page)
}

fn by_any_name(written: &str) -> Option<&'static KeySpec> {
    let resolved = || resolve(written, true).map(|(spec, _)| spec);
    let alias = |spec: &&'static KeySpec| {
        std::iter::once(spec.name)
            .chain(spec.aliases.iter().map(|alias| alias.name))
            .any(|name| name.eq_ignore_ascii_case(written))
    };
    find(written)
        .or_else(resolved)
        .or_else(|| all().find(alias))
}

/// The name that was probably meant, and those that contain what was written.
fn near(written: &str) -> Vec<&'static str> {
    let names = || all().map(|spec| spec.name);
    let wanted = written.to_ascii_lowercase();
    let contains =
        names().filter(|name| !wanted.is_empty() && name.to_ascii_lowercase().contains(&wanted));
    let mut found: Vec<&'static str> = nearest(written, names()).into_iter().collect();
    for name in contains {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found.truncate(MOST_NAMES);
    found
}

fn short_default(spec: &KeySpec) -> Option<String> {
    match (spec.required, spec.default, spec.unit) {
        (true, _, _) => Some("required".to_owned()),
        (false, "", _) => None,
        (false, default, "") => Some(default.to_owned()),
        (false, default, unit) => Some(format!("{default} {unit}")),
    }
}

fn default(spec: &KeySpec) -> String {
    match (spec.default_note, short_default(spec)) {
        ("", None) => "none".to_owned(),
        ("", Some(text)) => text,
        (note, _) if spec.required => format!("required; {}", plain(note)),
        (note, _) => plain(note),
    }
}

fn value(spec: &KeySpec) -> String {
    let mut text = match spec.value {
        ValueType::Int => "whole number of 32 bits".to_owned(),
        ValueType::Long => "whole number of 64 bits".to_owned(),
        ValueType::Double => "number".to_owned(),
        ValueType::Bool => "true or false (also yes, y, on, 1, no, n, off, 0)".to_owned(),
        ValueType::Text => "text".to_owned(),
        ValueType::CommandLine => "command line, split at spaces; no quotes, no shell".to_owned(),
        ValueType::Word(words) => format!("one of {}", words.join(", ")),
        ValueType::Instant => {
            "instant: seconds since the epoch (1700000000) or ISO-8601 (2026-01-31T08:00:00Z)"
                .to_owned()
        }
        ValueType::Duration => "duration, ISO-8601: PT12H, P1DT30M".to_owned(),
        ValueType::Tags => "tags: team=orders,env=prod".to_owned(),
        ValueType::Dimensions => "names, separated by commas or blanks".to_owned(),
        ValueType::Uri => "URL: https://host:port".to_owned(),
        ValueType::Region => "AWS region: eu-west-1".to_owned(),
        ValueType::Credentials => {
            "credentials providers, separated by commas: Name|argument|…, Name".to_owned()
        }
        ValueType::Anything => "anything".to_owned(),
    };
    // Writing to a String cannot fail.
    if !spec.unit.is_empty() {
        let _ = write!(text, ", in {}", unit(spec.unit));
    }
    let _ = match spec.range {
        Range::Within(least, most) if most.is_finite() => write!(text, ", {least} to {most}"),
        Range::Within(least, _) if least > 0.0 => write!(text, ", at least {least}"),
        Range::Clamped(least, most) if most == i64::MAX => write!(text, ", at least {least}"),
        Range::Clamped(least, most) => write!(text, ", {least} to {most}"),
        Range::Within(..) | Range::Any => Ok(()),
    };
    text
}

/// The grammar of the providers, which is the chapter's introduction.
fn credentials() -> String {
    let chapter = CHAPTERS
        .iter()
        .find(|(group, ..)| *group == Group::Credentials);
    chapter.map_or_else(String::new, |(_, _, introduction)| plain(introduction))
}

fn unit(short: &str) -> &str {
    match short {
        "ms" => "milliseconds",
        "s" => "seconds",
        other => other,
    }
}

fn since(spec: &KeySpec) -> String {
    match spec.since {
        "kcl-daemon" => "kcl-daemon; not in Java".to_owned(),
        release => format!("KCL {release}"),
    }
}

fn also(spec: &KeySpec) -> String {
    let named = spec.aliases.iter().map(|alias| match alias.kind {
        AliasKind::Equal => alias.name.to_owned(),
        AliasKind::Accidental => format!("{} (an accident of Java's)", alias.name),
        AliasKind::FromV1 => format!("{} (KCL 1.x)", alias.name),
        AliasKind::JavaIgnores => format!("{} (not in Java)", alias.name),
        AliasKind::SylviteOnly => format!("{} (sylvite)", alias.name),
    });
    let bean = (!spec.bean.is_empty()).then(|| format!("{}.{}", spec.bean, spec.name));
    named.chain(bean).collect::<Vec<_>>().join(", ")
}

fn status(spec: &KeySpec) -> String {
    match spec.status {
        Status::Effective => String::new(),
        Status::NoEffectInJava(why) => format!("no effect: {}", plain(why)),
        Status::OwnWay(how) => format!("in its own way: {}", plain(how)),
        Status::NotYet(what) => format!("not yet: {}", plain(what)),
    }
}

/// `streamName` → `STREAM_NAME`; a dot is left out like any other sign.
fn variable(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let small = |at: Option<usize>| {
            at.and_then(|at| chars.get(at))
                .is_some_and(char::is_ascii_lowercase)
        };
        let begins = c.is_ascii_uppercase() && (small(i.checked_sub(1)) || small(Some(i + 1)));
        if (begins || *c == '.') && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if *c != '.' {
            out.push(c.to_ascii_uppercase());
        }
    }
    out
}

/// Without Markdown's marks.
fn plain(text: &str) -> String {
    text.replace(['`', '*'], "")
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first)
}

/// Appends a text in lines of [`WIDTH`] behind a margin.
fn wrap(page: &mut String, text: &str, margin: usize) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width == 0 {
            page.extend(std::iter::repeat_n(' ', margin));
            width = margin;
        } else if width + 1 + length > WIDTH {
            page.push('\n');
            page.extend(std::iter::repeat_n(' ', margin));
            width = margin;
        } else {
            page.push(' ');
            width += 1;
        }
        page.push_str(word);
        width += length;
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_is_listed_and_described() {
        let list = list();
        for spec in all() {
            assert!(list.contains(&format!("  {}", spec.name)), "{}", spec.name);
            let page = describe(spec.name).unwrap();
            assert!(page.starts_with(&format!("{}\n", spec.name)), "{page}");
            for part in [
                "\n  value     ",
                "\n  default   ",
                "\n  since     ",
                "\n  variable  KCL_DAEMON_",
            ] {
                assert!(page.contains(part), "{part}: {page}");
            }
            let margin = page.lines().all(|line| !line.ends_with(' '));
            assert!(margin, "{page}");
            for line in page.lines().chain(list.lines()) {
                let one_word = line.split_whitespace().count() <= 2;
                assert!(one_word || line.chars().count() <= WIDTH, "{line}");
            }
        }
    }

    /// What the page says is what the environment is read with.
    #[test]
    fn the_variables_shown_are_understood() {
        let squeeze = |name: &str| name.replace(['_', '-', '.'], "").to_ascii_lowercase();
        for spec in all() {
            assert_eq!(squeeze(&variable(spec.name)), squeeze(spec.name));
        }
        for (name, expected) in [
            ("streamName", "STREAM_NAME"),
            ("dynamoDBEndpoint", "DYNAMO_DB_ENDPOINT"),
            ("fanoutConfig.consumerArn", "FANOUT_CONFIG_CONSUMER_ARN"),
            (
                "AwsCredentialsProviderDynamoDB",
                "AWS_CREDENTIALS_PROVIDER_DYNAMO_DB",
            ),
        ] {
            assert_eq!(variable(name), expected);
        }
    }

    #[test]
    fn any_spelling_finds_its_property() {
        for (written, name) in [
            ("failoverTimeMillis", "failoverTimeMillis"),
            ("FAILOVERTIMEMILLIS", "failoverTimeMillis"),
            ("awsCredentialsProvider", "AwsCredentialsProvider"),
            ("pollingConfig.maxRecords", "maxRecords"),
        ] {
            assert!(describe(written).unwrap().starts_with(name), "{written}");
        }
    }

    #[test]
    fn unknown_names_get_near_ones() {
        for (written, near) in [
            ("failoverTimeMilis", "near it are: failoverTimeMillis"),
            ("taskBackoff", "taskBackoffTimeMillis"),
            ("banana", "lists them all"),
            ("", "lists them all"),
        ] {
            let message = describe(written).unwrap_err().to_string();
            assert!(message.contains(near), "{message}");
        }
    }

    #[test]
    fn a_page_reads_like_this() {
        assert_eq!(
            describe("failoverTimeMillis").unwrap().lines().next(),
            Some("failoverTimeMillis")
        );
        let page = describe("failoverTimeMillis").unwrap();
        for part in [
            "whole number of 64 bits, in milliseconds",
            "10000 ms",
            "KCL 1.x",
        ] {
            assert!(page.contains(part), "{page}");
        }
    }
}

//! Opt-in expansion of `${NAME}` in the values of the file (`properties.md` §16 row 22).

use std::collections::BTreeMap;

/// Replaces `${NAME}` and `${NAME:-otherwise}`; `$${` gives `${`.
///
/// # Errors
/// A phrase that says which reference cannot be resolved; values of variables never appear in it.
pub(super) fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = reference.get(2..).unwrap_or_default();
            continue;
        }
        out.push_str(before);
        let (inner, tail) = reference
            .get(2..)
            .and_then(|r| r.split_once('}'))
            .ok_or("a '${' has no '}'")?;
        let (name, otherwise) = match inner.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inner, None),
        };
        // As in a shell, an empty variable counts as unset when there is an alternative.
        let set = environment.get(name).map(String::as_str);
        match (set, otherwise) {
            (Some(value), None) => out.push_str(value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(value),
            (_, Some(otherwise)) => out.push_str(otherwise),
            (None, None) => return Err(format!("the environment variable '{name}' is not set")),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether a value looks as if its author expected expansion.
pub(super) fn expects_expansion(text: &str) -> bool {
    let whole_reference = text.strip_prefix('$').is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    });
    whole_reference || text.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let environment = [("A", "one"), ("EMPTY", "")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        expand(text, &environment)
    }

    #[test]
    fn references_are_replaced() {
        for (text, expected) in [
            ("plain $A", "plain $A"),
            ("${A}", "one"),
            ("x-${A}-${A}", "x-one-one"),
            ("$${A}", "${A}"),
            ("${B:-two}", "two"),
            ("${EMPTY:-two}", "two"),
            ("${EMPTY}", ""),
            ("${A:-two}", "one"),
            ("${B:-}", ""),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn unresolved_references_are_errors() {
        assert!(expanded("${B}").unwrap_err().contains("'B' is not set"));
        assert!(expanded("x ${A").unwrap_err().contains("no '}'"));
    }

    #[test]
    fn shell_like_values_are_noticed() {
        for (text, expected) in [
            ("$STREAM", true),
            ("a${STREAM}", true),
            ("$", false),
            ("cost $5 each", false),
            ("python3 x.py", false),
        ] {
            assert_eq!(expects_expansion(text), expected, "{text}");
        }
    }
}

//! `properties.md` §1: what Java's own reader makes of a file.

use super::*;
use proptest::prelude::*;

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let (entries, errors) = parse(bytes);
    assert_eq!(errors, [], "{}", bytes.escape_ascii());
    entries.into_iter().map(|e| (e.key, e.value)).collect()
}

#[test]
fn lines() {
    type Case<'a> = (&'a [u8], &'a [(&'a str, &'a str)]);
    let cases: &[Case<'_>] = &[
        (b"", &[]),
        (b"a=b", &[("a", "b")]),
        (b"a=b\n", &[("a", "b")]),
        (b"a=b\r\nc=d\re=f", &[("a", "b"), ("c", "d"), ("e", "f")]),
        (b"# x\n! y\n  # z\n\n \t\x0c\na=b", &[("a", "b")]),
        // A comment does not continue, and its escapes are not looked at.
        (b"# C:\\users \\\na=b", &[("a", "b")]),
        (b"a = b # c", &[("a", "b # c")]),
        (b"maxRecords 8", &[("maxRecords", "8")]),
        (b"maxRecords : 8", &[("maxRecords", "8")]),
        (b"maxRecords\t8", &[("maxRecords", "8")]),
        (b"maxRecords\x0c=\x0c8", &[("maxRecords", "8")]),
        (b"a = = b", &[("a", "= b")]),
        (b"a:=b", &[("a", "=b")]),
        (b"  a  =  b  ", &[("a", "b  ")]),
        (b"a", &[("a", "")]),
        (b"a=", &[("a", "")]),
        (b"=b", &[("", "b")]),
        (b"a=b\\\n   c", &[("a", "bc")]),
        (b"a=b\\\r\n\tc\\\nd", &[("a", "bcd")]),
        (b"a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]),
        (b"a=b\\\\\\\nc", &[("a", "b\\c")]),
        (b"a=b\\\n# c", &[("a", "b# c")]),
        (b"a=b\\\n\nc=d", &[("a", "b"), ("c", "d")]),
        (b"\\\n# c\na=b", &[("a", "b")]),
        (b"a=b\\", &[("a", "b")]),
        (b"\\", &[]),
        (b"a\\=b=c", &[("a=b", "c")]),
        (b"a\\ b c", &[("a b", "c")]),
        (b"a\\:b:c", &[("a:b", "c")]),
        (b"a=\\t\\n\\r\\f\\\\\\b\\x", &[("a", "\t\n\r\u{c}\\bx")]),
        (b"a=C:\\python\\x.py", &[("a", "C:pythonx.py")]),
        (b"a=\\ b", &[("a", " b")]),
        (b"a=\\u0041\\u00e9\\u20ac", &[("a", "Aé€")]),
        (b"a\\u003db=c", &[("a=b", "c")]),
        (b"a=\\\\u0041", &[("a", "\\u0041")]),
        (b"a=\\ud83d\\ude00", &[("a", "😀")]),
        (b"a=\xe9\x80\xff", &[("a", "é\u{80}ÿ")]),
        (b"a=\xc3\xa9", &[("a", "Ã©")]),
        (b"a=\\\xe9", &[("a", "é")]),
        (b"a=x\\\n\xa0y\\\n\x0bz", &[("a", "x\u{a0}y\u{b}z")]),
        (b"a=x\x1ay\x1a", &[("a", "x\u{1a}y\u{1a}")]),
        (b"a=\\\x1a\\u0041", &[("a", "\u{1a}A")]),
        (b"\xe9=\\u0042\n\\u0043=\xea", &[("é", "B"), ("C", "ê")]),
        (b"a=\0b", &[("a", "\0b")]),
        (b"\xef\xbb\xbfa=b", &[("ï»¿a", "b")]),
    ];
    for (bytes, expected) in cases {
        let expected: Vec<_> = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(pairs(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_line_is_that_on_which_the_entry_starts() {
    let (entries, _) = parse(b"# one\n\na=b\\\n  c\n\r\nd=e\\");
    let lines: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.line)).collect();
    assert_eq!(lines, [("a", 3), ("d", 6)]);
}

#[test]
fn bad_escapes_are_told_with_their_line_and_the_rest_is_read() {
    for bad in ["\\u00g0", "\\u+123", "\\u12", "\\u", "\\uuuuu", "C:\\users"] {
        let (entries, errors) = parse(format!("a=1\nb={bad}\nc=2").as_bytes());
        assert_eq!(errors, [BadEscape { line: 2 }], "{bad}");
        let keys: Vec<_> = entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["a", "c"], "{bad}");
    }
}

#[test]
fn half_characters_and_utf8_are_noticed() {
    let one = |bytes: &[u8]| parse(bytes).0.remove(0);
    let half = one(b"a=\\ud83d!");
    assert_eq!(
        (half.value.as_str(), half.half_character),
        ("\u{fffd}!", true)
    );
    assert!(!one(b"a=\\ud83d\\ude00").half_character);
    assert!(one(b"a=\xc3\xa9").looks_like_utf8);
    assert!(!one(b"a=\xe9").looks_like_utf8);
    assert!(!one(b"a=e").looks_like_utf8);
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (entries, errors) = parse(&bytes);
        let lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
        prop_assert!(entries.iter().map(|e| e.line).chain(errors.iter().map(|e| e.line)).all(|l| l >= 1 && l <= lines));
    }

    #[test]
    fn signs_of_the_syntax_in_any_order_are_read(text in "[a\\\\u0=: #!\t\r\n\u{c}\u{e9}]{0,60}") {
        let latin1: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let _ = parse(&latin1);
    }

    /// What Java's `store` would write comes back as it was.
    #[test]
    fn escaped_entries_come_back(key in "[a-zA-Z=: #!\\\\\u{e9}\u{1f600}\u{20ac}\t\n]{1,12}", value in "[a-zA-Z=: #!\\\\\u{e9}\u{1f600}\t\r]{0,12}") {
        let escape = |text: &str| {
            let mut out = String::new();
            for c in text.chars() {
                match c {
                    '\t' => out.push_str("\\t"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    c if c.is_ascii_alphanumeric() => out.push(c),
                    c if c.is_ascii() => { out.push('\\'); out.push(c); }
                    c => for unit in c.encode_utf16(&mut [0; 2]) { out.push_str(&format!("\\u{unit:04x}")); }
                }
            }
            out
        };
        let file = format!("{} = {}\n", escape(&key), escape(&value));
        prop_assert_eq!(pairs(file.as_bytes()), vec![(key, value)]);
    }
}

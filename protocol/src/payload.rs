//! Base64 that is known to be base64: a payload as Kinesis delivers it, on its way to the child
//! without being decoded.

use base64_simd::STANDARD;

/// A text in the standard alphabet, padded, without line breaks, and canonical: encoding what it
/// decodes to gives the same text again. So it needs neither decoding nor escaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base64<'a>(&'a [u8]);

impl<'a> Base64<'a> {
    /// Takes such a text; `None` when it is something else.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Option<Self> {
        STANDARD.check(text).is_ok().then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many bytes it decodes to.
    #[must_use]
    pub const fn decoded_len(self) -> usize {
        let padding = match self.0 {
            [.., b'=', b'='] => 2,
            [.., b'='] => 1,
            _ => 0,
        };
        // Its length is a multiple of four, and where there is padding it is not empty.
        self.0.len() / 4 * 3 - padding
    }

    /// Replaces the content of `bytes` by what the text encodes.
    pub fn decode_into(self, bytes: &mut Vec<u8>) {
        bytes.clear();
        // proven: `new` has checked the text by the same rules.
        let _valid = STANDARD.decode_append(self.0, bytes);
    }
}

/// Appends the base64 of some bytes.
pub(crate) fn push_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    STANDARD.encode_append(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in [
            "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", " Zm9v", "Zm-_",
            "Zm9v\0", "Zmé9", "Zm9\"",
        ] {
            assert_eq!(Base64::new(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_another_implementation(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            let mut encoded = b"before ".to_vec();
            push_encoded(&mut encoded, &bytes);
            prop_assert_eq!(&encoded[7..], text.as_bytes());
            let base64 = Base64::new(text.as_bytes()).unwrap();
            prop_assert_eq!(base64.decoded_len(), bytes.len());
            let mut decoded = vec![1, 2, 3];
            base64.decode_into(&mut decoded);
            prop_assert_eq!(decoded, bytes);
        }

        #[test]
        fn takes_exactly_what_another_implementation_takes(
            text in "[A-Za-c0-3+/=\"\\\\ -]{0,12}",
            valid in proptest::collection::vec(any::<u8>(), 0..60),
            place in any::<prop::sample::Index>(),
        ) {
            let strict = |text: &[u8]| base64::engine::general_purpose::STANDARD.decode(text).is_ok();
            prop_assert_eq!(Base64::new(text.as_bytes()).is_some(), strict(text.as_bytes()));
            let mut long = base64::engine::general_purpose::STANDARD.encode(&valid).into_bytes();
            let place = place.index(long.len() + 1);
            long.splice(place..place, text.bytes());
            prop_assert_eq!(Base64::new(&long).is_some(), strict(&long));
        }
    }
}

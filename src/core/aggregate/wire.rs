//! The protobuf wire format, as far as aggregates need it: reading fields from borrowed bytes in any
//! order, and the parts of writing them.
//!
//! Reading accepts and refuses what Java's protobuf runtime does, so that an aggregate which Java
//! passes on raw is passed on raw here too. Lengths are checked against what is there before they
//! are used, and nothing is allocated for them.

/// Levels of nested messages and groups that Java's protobuf runtime reads.
const MAX_DEPTH: usize = 100;

/// Bytes of the longest varint.
const MAX_VARINT_LENGTH: usize = 10;

/// The low three bits of a field's tag: how its value is written.
mod wire_type {
    pub const VARINT: u32 = 0;
    pub const FIXED64: u32 = 1;
    pub const LENGTH_DELIMITED: u32 = 2;
    pub const START_GROUP: u32 = 3;
    pub const END_GROUP: u32 = 4;
    pub const FIXED32: u32 = 5;
}

/// The bytes are no protobuf message, or one without a required field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unparsable;

/// A field's value by wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number or a group. No field of an aggregate is one, so it was skipped.
    Skipped,
}

/// The fields of one message, front to back.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    depth_left: usize,
}

impl<'a> Fields<'a> {
    /// The fields of an outermost message.
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            depth_left: MAX_DEPTH,
        }
    }

    /// The fields of a message that was the value of a field of this one.
    pub(super) const fn nested(&self, message: &'a [u8]) -> Self {
        Self {
            rest: message,
            depth_left: self.depth_left.saturating_sub(1),
        }
    }

    /// The next field's number and value, `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Unparsable> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            wire_type::VARINT => Value::Varint(self.varint()?),
            wire_type::LENGTH_DELIMITED => Value::Bytes(self.length_delimited()?),
            wire_type::START_GROUP => {
                self.skip_group(number)?;
                Value::Skipped
            }
            other => {
                self.skip_fixed(other)?;
                Value::Skipped
            }
        };
        Ok(Some((number, value)))
    }

    /// Skips to behind the end of the group that was just opened. A loop with a bounded list of
    /// open groups rather than recursion: the nesting is the sender's choice.
    fn skip_group(&mut self, number: u32) -> Result<(), Unparsable> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            if open.len() > self.depth_left {
                return Err(Unparsable);
            }
            let (number, wire_type) = self.tag()?;
            match wire_type {
                wire_type::VARINT => drop(self.varint()?),
                wire_type::LENGTH_DELIMITED => drop(self.length_delimited()?),
                wire_type::START_GROUP => open.push(number),
                wire_type::END_GROUP if number == innermost => drop(open.pop()),
                other => self.skip_fixed(other)?,
            }
        }
        Ok(())
    }

    fn skip_fixed(&mut self, wire_type: u32) -> Result<(), Unparsable> {
        match wire_type {
            wire_type::FIXED32 => self.take(4).map(drop),
            wire_type::FIXED64 => self.take(8).map(drop),
            // Among them the end of a group that is not open.
            _ => Err(Unparsable),
        }
    }

    /// A field's number and wire type.
    fn tag(&mut self) -> Result<(u32, u32), Unparsable> {
        let tag = low_32_bits(self.varint()?);
        match (tag >> 3, tag & 7) {
            (0, _) => Err(Unparsable),
            parts => Ok(parts),
        }
    }

    fn length_delimited(&mut self) -> Result<&'a [u8], Unparsable> {
        let length = low_32_bits(self.varint()?);
        // Java takes lengths of 2^31 and more for negative and refuses them; no record is that long.
        self.take(usize::try_from(length).map_err(|_| Unparsable)?)
    }

    fn varint(&mut self) -> Result<u64, Unparsable> {
        let mut value = 0;
        for (position, &byte) in self.rest.iter().take(MAX_VARINT_LENGTH).enumerate() {
            // At most 63; what the tenth byte has beyond the 64th bit falls off.
            value |= u64::from(byte & 0x7F) << (7 * position);
            if byte & 0x80 == 0 {
                self.take(position + 1)?;
                return Ok(value);
            }
        }
        Err(Unparsable)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unparsable> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unparsable)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Java reads tags and lengths as 32-bit numbers: longer varints lose the upper bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the truncation is the rule"
)]
pub(super) const fn low_32_bits(varint: u64) -> u32 {
    varint as u32
}

/// Bytes that a number takes as a varint.
pub(super) const fn varint_length(value: u64) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        0x1000_0000..0x8_0000_0000 => 5,
        0x8_0000_0000..0x400_0000_0000 => 6,
        0x400_0000_0000..0x2_0000_0000_0000 => 7,
        0x2_0000_0000_0000..0x100_0000_0000_0000 => 8,
        0x100_0000_0000_0000..0x8000_0000_0000_0000 => 9,
        _ => 10,
    }
}

/// Bytes that a length-delimited field with a number below 16 takes, `length` of them its value.
pub(super) const fn bytes_field_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

/// Bytes that a varint field with a number below 16 takes.
pub(super) const fn varint_field_length(value: u64) -> usize {
    1 + varint_length(value)
}

/// Appends a varint field.
pub(super) fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number << 3 | wire_type::VARINT));
    put_varint(out, value);
}

/// Appends the tag and length of a length-delimited field; the value is to follow.
pub(super) fn put_bytes_header(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number << 3 | wire_type::LENGTH_DELIMITED));
    put_varint(out, length as u64);
}

/// Appends a length-delimited field.
pub(super) fn put_bytes_field(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_bytes_header(out, number, value.len());
    out.extend_from_slice(value);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

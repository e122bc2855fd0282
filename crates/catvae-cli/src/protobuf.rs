//! Protocol buffers, as far as event files and ONNX need them: a message is written field by field.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// The bytes of a message. Fields are added in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An integer, a boolean or an enumeration's value.
    pub(crate) fn int(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        self.varint(value);
        self
    }

    /// A `double`.
    pub(crate) fn double(mut self, field: u32, value: f64) -> Self {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A `float`.
    pub(crate) fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Text or bytes.
    pub(crate) fn bytes(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.tag(field, 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend(bytes.as_ref());
        self
    }

    /// A message inside of this one.
    pub(crate) fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// Packed `double`s.
    pub(crate) fn doubles(self, field: u32, values: impl IntoIterator<Item = f64>) -> Self {
        self.bytes(field, values.into_iter().flat_map(f64::to_le_bytes).collect::<Vec<_>>())
    }

    /// Integers, one field each: what readers of packed ones take as well.
    pub(crate) fn ints(self, field: u32, values: impl IntoIterator<Item = usize>) -> Self {
        values.into_iter().fold(self, |message, value| message.int(field, value as u64))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The first integer in a field of a message; `None` where there is none, or where the bytes are no message.
pub(crate) fn int_in(message: &[u8], wanted: u32) -> Option<u64> {
    let mut rest = message;
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Some(take_varint(&mut rest)?),
            wire_type => {
                let length = match wire_type {
                    1 => 8,
                    5 => 4,
                    2 => usize::try_from(take_varint(&mut rest)?).ok()?,
                    _ => return None,
                };
                rest = rest.get(length..)?;
                None
            }
        };
        if tag >> 3 == u64::from(wanted) {
            return value;
        }
    }
    None
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_the_encoding_guide_has_them() {
        // 150 in field 1, "testing" in field 2, and a message that holds the first in field 3.
        let first = Message::new().int(1, 150);
        assert_eq!(first.as_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::new().bytes(2, "testing");
        assert_eq!(text.as_bytes(), b"\x12\x07testing");
        assert_eq!(Message::new().message(3, &first).as_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::new().float(1, 1.0).as_bytes(), [0x0d, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::new().ints(16, [1]).as_bytes(), [0x80, 0x01, 0x01]);
    }

    #[test]
    fn an_integer_is_found_behind_other_fields() {
        let message = Message::new().double(1, 0.5).bytes(5, [1, 2]).float(7, 1.0).int(2, 6000);
        assert_eq!(int_in(message.as_bytes(), 2), Some(6000));
        assert_eq!(int_in(message.as_bytes(), 3), None);
        for length in 0..message.as_bytes().len() {
            assert_eq!(int_in(&message.as_bytes()[..length], 2), None, "{length}");
        }
    }
}

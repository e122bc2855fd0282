//! NumPy's `.npy` format, as far as whole numbers row by row go:
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::Read;

use crate::error::printable;

/// What lies in the file.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) shape: Vec<usize>,
}

/// A type of whole numbers, little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kind {
    /// Bytes of a number.
    pub(crate) size: usize,
    signed: bool,
}

impl Kind {
    fn parse(descr: &str) -> Option<Self> {
        let (order, rest) = descr.split_at_checked(1)?;
        let (sign, size) = rest.split_at_checked(1)?;
        let signed = ["u", "i"].iter().position(|known| *known == sign)? == 1;
        let size = size.parse().ok().filter(|size| [1, 2, 4, 8].contains(size))?;
        (order == "<" || (order == "|" && size == 1)).then_some(Self { size, signed })
    }

    pub(crate) fn decode(self, bytes: &[u8]) -> i64 {
        let mut wide = [0_u8; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let value = i64::from_le_bytes(wide);
        // An unsigned number of 64 bits beyond i64 comes out negative: no legal category either.
        let unused = 64 - 8 * self.size as u32;
        if self.signed { value << unused >> unused } else { value }
    }
}

/// NumPy's own headers of such arrays have 128 bytes.
const MAX_TEXT: usize = 1 << 12;

/// Reads what stands before the numbers.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_header(file: &mut impl Read) -> Result<Header, String> {
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(|error| format!("its header: {error}"))?;
        Ok::<_, String>(bytes)
    };
    let start = read(8)?;
    if !start.starts_with(MAGIC) {
        return Err("the magic bytes are missing".to_owned());
    }
    let mut length = read(match start[6] {
        1 => 2,
        2 | 3 => 4,
        version => return Err(format!("version {version} is not known")),
    })?;
    length.resize(4, 0);
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    if length > MAX_TEXT {
        return Err(format!("a header of {length} bytes is too long"));
    }
    parse_text(&String::from_utf8_lossy(&read(length)?))
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// Parses `{'descr': '<i8', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_text(text: &str) -> Result<Header, String> {
    let after = |key: &str| {
        let found = text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        found.ok_or_else(|| format!("the header has no {key}"))
    };
    let descr = after("descr")?.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    let kind = descr.and_then(Kind::parse).ok_or_else(|| {
        format!("the type {} is not one of whole numbers", printable(descr.unwrap_or("?")))
    })?;
    if !after("fortran_order")?.starts_with("False") {
        return Err("it is in Fortran order: save numpy.ascontiguousarray of it".to_owned());
    }
    let shape = after("shape")?.strip_prefix('(').and_then(|rest| rest.split(')').next());
    let axes = shape.unwrap_or("?").split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape = axes.map(str::parse).collect::<Result<_, _>>();
    Ok(Header { kind, shape: shape.map_err(|_| "its shape has an axis that is no number")? })
}

/// Magic, version 1.0, and the header of an array of int64, padded to a multiple of 64 bytes.
pub(crate) fn header_of(descr: &str, shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let text = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        shape.trim_end()
    );
    // The text ends with a new line and stands after ten bytes.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut header = [MAGIC, &[1, 0], &(length as u16).to_le_bytes()].concat();
    header.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_number_type_is_read_and_others_are_refused() {
        for (descr, bytes, expected) in [
            ("|u1", vec![200], 200),
            ("|i1", vec![0xff], -1),
            ("<u2", vec![0, 1], 256),
            ("<i4", vec![0xfe, 0xff, 0xff, 0xff], -2),
            ("<i8", vec![5, 0, 0, 0, 0, 0, 0, 0], 5),
        ] {
            assert_eq!(Kind::parse(descr).unwrap().decode(&bytes), expected, "{descr}");
        }
        for descr in ["<f4", ">i4", "<i3", "|i8", "", "O", "é", "<é"] {
            assert_eq!(Kind::parse(descr), None, "{descr}");
        }
    }

    #[test]
    fn a_written_header_reads_back_and_is_aligned() {
        for shape in [vec![], vec![7], vec![3, 4], vec![usize::MAX; 3]] {
            let bytes = header_of("<i8", &shape);
            assert!(bytes.len().is_multiple_of(64));
            let kind = Kind { size: 8, signed: true };
            assert_eq!(read_header(&mut &bytes[..]), Ok(Header { kind, shape }));
        }
    }

    #[test]
    fn a_header_that_is_cut_off_too_long_or_not_printable_is_an_error() {
        let bytes = header_of("<i8", &[3, 4]);
        for length in 0..bytes.len() {
            assert!(read_header(&mut &bytes[..length]).is_err(), "{length} bytes");
        }
        let error = read_header(&mut &b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..]).unwrap_err();
        assert_eq!(error, "a header of 4294967295 bytes is too long");
        let error = parse_text("{'descr': '\x1b]0;', ").unwrap_err();
        assert_eq!(error, "the type \\u{1b}]0; is not one of whole numbers");
    }
}

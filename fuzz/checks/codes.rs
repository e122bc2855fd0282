//! What must hold of any bytes in the place of a file of codes: an error, or whole rows and no more
//! of them than asked for.

use std::io::Cursor;

use catvae_data::codes::parse_codes;

pub(crate) fn check(data: &[u8]) {
    if let Ok(codes) = parse_codes(Cursor::new(data), 4, 64) {
        assert!(codes.len() <= 4 * 64 && codes.len().is_multiple_of(4));
    }
}

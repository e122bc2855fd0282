//! What must hold of any bytes in the place of an IDX file: an error, or as many elements as its
//! dimensions say. The first byte chooses what is expected: bit 0 labels, bit 1 a name in `.gz`.

use std::path::Path;

use catvae_data::{IdxKind, parse_idx};

pub(crate) fn check(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let kind = if choice & 1 == 0 { IdxKind::Images } else { IdxKind::Labels };
    let path = Path::new(if choice & 2 == 0 { "file" } else { "file.gz" });
    if let Ok(idx) = parse_idx(bytes, path, kind) {
        assert_eq!(idx.dims.iter().product::<usize>(), idx.data.len());
        assert!(!idx.data.is_empty());
    }
}

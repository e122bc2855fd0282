//! Checks of logits of items, of which some are chosen.

use candle_core::{DType, Tensor};

use crate::checks::check_values;
use crate::op::read_slices;
use crate::structure::host::values;
use crate::{Error, Result};

/// The number of items: the size of the last dimension.
pub(crate) fn row_len(x: &Tensor, what: &'static str) -> Result<usize> {
    match x.dims().last() {
        Some(&n) if n > 0 => Ok(n),
        _ => Err(Error::TooFewClasses { what, shape: x.dims().to_vec(), min: 1 }),
    }
}

/// Refuses NaN and `+inf`, `k` of zero, and rows with fewer than `k` items above `-inf`.
pub(crate) fn check_items(logits: &Tensor, k: usize) -> Result<()> {
    let n = row_len(logits, "logits")?;
    if k == 0 {
        return Err(Error::InvalidParameter { name: "k", value: 0.0, must: "at least 1" });
    }
    let bad = |value, index| Error::InvalidLogit { value, index };
    check_values(logits, "logits", |logit| logit < f64::INFINITY, bad)?;
    let few = |allowed: &mut dyn Iterator<Item = usize>| {
        allowed.enumerate().find(|(_, allowed)| *allowed < k)
    };
    let found = if logits.device().is_cpu() && logits.dtype() == DType::F32 {
        read_slices([&logits.detach()], |[x]| {
            let count = |row: &[f32]| row.iter().filter(|x| **x > f32::NEG_INFINITY).count();
            Ok(few(&mut x.chunks_exact(n).map(count)))
        })?
    } else {
        let count = |row: &[f64]| row.iter().filter(|x| **x > f64::NEG_INFINITY).count();
        few(&mut values(logits)?.chunks_exact(n).map(count))
    };
    found.map_or(Ok(()), |(row, allowed)| Err(Error::SubsetSize { k, allowed, row }))
}

//! The largest values of a row, in order.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::rows::rows_per_chunk;

/// The indices of the `k` largest values of each row, the largest first, and of equals the first.
///
/// # Shapes
/// - values: `(rows, n)`, without NaN; indices: `(rows, k)`, `1 <= k <= n`.
/// # Errors
/// [`LengthError`].
pub fn top_k<T: Copy + PartialOrd + Send + Sync>(
    n: usize,
    k: usize,
    values: &[T],
    indices: &mut [u32],
) -> Result<(), LengthError> {
    let rows = values.len().checked_div(n).unwrap_or(0);
    check_len("values", values.len(), rows * n)?;
    check_len("indices", indices.len(), rows * k)?;
    check_len("k", k, k.min(n))?;
    if indices.is_empty() {
        return Ok(());
    }
    let chunk = rows_per_chunk(n);
    let work = values.par_chunks(chunk * n).zip(indices.par_chunks_mut(chunk * k));
    work.for_each_init(Vec::new, |order, (values, indices)| {
        for (values, best) in values.chunks_exact(n).zip(indices.chunks_exact_mut(k)) {
            // Few are kept in place as the row is read; of many, those of a selection are sorted.
            if k <= 32 { insert(values, best) } else { select(values, order, best) }
        }
    });
    Ok(())
}

fn insert<T: Copy + PartialOrd>(values: &[T], best: &mut [u32]) {
    let k = best.len();
    let mut filled = 0;
    for (i, &value) in values.iter().enumerate() {
        if filled == k && value <= values[best[k - 1] as usize] {
            continue;
        }
        let mut at = filled.min(k - 1);
        filled = (filled + 1).min(k);
        while at > 0 && value > values[best[at - 1] as usize] {
            best[at] = best[at - 1];
            at -= 1;
        }
        best[at] = i as u32;
    }
}

fn select<T: Copy + PartialOrd>(values: &[T], order: &mut Vec<u32>, best: &mut [u32]) {
    let before = |a: &u32, b: &u32| {
        let by_value = values[*b as usize].partial_cmp(&values[*a as usize]);
        by_value.unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(b))
    };
    order.clear();
    order.extend(0..values.len() as u32);
    if best.len() < order.len() {
        order.select_nth_unstable_by(best.len(), before);
    }
    best.copy_from_slice(&order[..best.len()]);
    best.sort_unstable_by(before);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    #[test]
    fn the_largest_come_in_order_and_of_equals_the_first() {
        for (n, k) in [(1, 1), (7, 3), (40, 32), (40, 33), (100, 100), (1000, 10), (1000, 500)] {
            // Rounded, so that there are ties.
            let x: Vec<f32> = values(3 * n, 4).iter().map(|x| (x * 8.0).round() + 0.0).collect();
            let mut best = vec![0; 3 * k];
            top_k(n, k, &x, &mut best).unwrap();
            for (x, best) in x.chunks(n).zip(best.chunks(k)) {
                let mut order: Vec<u32> = (0..n as u32).collect();
                order.sort_by(|&a, &b| x[b as usize].total_cmp(&x[a as usize]));
                assert_eq!(best, &order[..k], "{n} {k}");
            }
        }
        let mut best = [9; 2];
        top_k(3, 2, &[f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0], &mut best).unwrap();
        assert_eq!(best, [2, 0]);
        assert!(top_k(2, 3, &[0.0; 2], &mut [0; 3]).is_err());
        top_k(3, 2, &[] as &[f32], &mut []).unwrap();
    }
}

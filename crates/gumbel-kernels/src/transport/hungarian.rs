//! The matching of rows and columns with the largest score.

/// The column of every row, by shortest augmenting paths (Jonker and Volgenant 1987): O(n³). Of equals the path that comes first by index. `None`
/// where `-inf` forbids every perfect matching.
///
/// # Shapes
/// - scores: `(n, n)`. Output: `(n)`.
pub fn hungarian(n: usize, scores: &[f64]) -> Option<Vec<u32>> {
    // Costs are relative to the largest of a row. Rows and columns count from 1; column 0 starts a path.
    let top: Vec<f64> = scores
        .chunks_exact(n.max(1))
        .map(|row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        .collect();
    let cost = |i: usize, j: usize| top[i - 1] - scores[(i - 1) * n + j - 1];
    let (mut of_rows, mut of_columns) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let (mut row_of, mut from) = (vec![0usize; n + 1], vec![0usize; n + 1]);
    for start in 1..=n {
        if top[start - 1] == f64::NEG_INFINITY {
            return None;
        }
        row_of[0] = start;
        let mut column = 0;
        let (mut nearest, mut done) = (vec![f64::INFINITY; n + 1], vec![false; n + 1]);
        while row_of[column] != 0 {
            done[column] = true;
            let row = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in (1..=n).filter(|&j| !done[j]) {
                if scores[(row - 1) * n + j - 1] > f64::NEG_INFINITY {
                    let reduced = cost(row, j) - of_rows[row] - of_columns[j];
                    if reduced < nearest[j] {
                        (nearest[j], from[j]) = (reduced, column);
                    }
                }
                if nearest[j] < step {
                    (step, next) = (nearest[j], j);
                }
            }
            if next == 0 {
                return None;
            }
            for j in 0..=n {
                if done[j] {
                    of_rows[row_of[j]] += step;
                    of_columns[j] -= step;
                } else {
                    nearest[j] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[from[column]];
            column = from[column];
        }
    }
    let mut columns = vec![0; n];
    (1..=n).for_each(|j| columns[row_of[j] - 1] = j as u32 - 1);
    Some(columns)
}

/// The first row that no matching of the rows before it leaves a column to, where entries of `-inf` are forbidden; `None` where a perfect
/// matching exists.
///
/// # Shapes
/// - scores: `(n, n)`.
pub fn unmatched_row(n: usize, scores: &[f64]) -> Option<usize> {
    let mut row_of = vec![None; n];
    (0..n).find(|&row| !augment(n, scores, row, &mut row_of, &mut vec![false; n]))
}

fn augment(
    n: usize,
    scores: &[f64],
    row: usize,
    row_of: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    let open = |j: usize| scores[row * n + j] > f64::NEG_INFINITY;
    // A free column first: it is nearly always there.
    if let Some(j) = (0..n).find(|&j| open(j) && row_of[j].is_none()) {
        row_of[j] = Some(row);
        return true;
    }
    for j in (0..n).filter(|&j| open(j)) {
        if std::mem::replace(&mut seen[j], true) {
            continue;
        }
        if row_of[j].is_none_or(|other| augment(n, scores, other, row_of, seen)) {
            row_of[j] = Some(row);
            return true;
        }
    }
    false
}

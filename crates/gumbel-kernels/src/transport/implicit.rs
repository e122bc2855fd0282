//! The gradient of the limit of Sinkhorn's iterations.

/// `d_x` from the gradient of a matrix `p` whose sums have converged: with `t = p ⊙ grad`, `d_x = t - p ⊙ (a_i + b_j)` where
/// `diag(r) a + p b = t 1` and `pᵀ a + diag(c) b = tᵀ 1`.
///
/// `a` is eliminated, and what is left, `diag(c) - pᵀ diag(1/r) p`, is solved for `b` with `b_n = 0`, since constants cancel. Where
/// that is nearly singular (near a permutation) by conjugate gradients from zero: the gradient tends to zero there.
///
/// # Shapes
/// - p, grad, d_x: `(m, n)`.
pub fn sinkhorn_implicit_vjp(m: usize, n: usize, p: &[f64], grad: &[f64], d_x: &mut [f64]) {
    let (mut t_rows, mut t_columns) = (vec![0.0; m], vec![0.0; n]);
    let (mut rows, mut columns) = (vec![0.0; m], vec![0.0; n]);
    for i in 0..m {
        for j in 0..n {
            let at = i * n + j;
            d_x[at] = if p[at] > 0.0 { p[at] * grad[at] } else { 0.0 };
            t_rows[i] += d_x[at];
            t_columns[j] += d_x[at];
            rows[i] += p[at];
            columns[j] += p[at];
        }
    }
    // schur = diag(c) - pᵀ diag(1/r) p; right = tᵀ 1 - pᵀ diag(1/r) t 1.
    let mut schur = vec![0.0; n * n];
    let mut right = t_columns;
    for (i, row) in p.chunks_exact(n).enumerate() {
        for j in 0..n {
            let factor = row[j] / rows[i];
            right[j] -= factor * t_rows[i];
            for (out, other) in schur[j * n..(j + 1) * n].iter_mut().zip(row) {
                *out -= factor * other;
            }
        }
    }
    (0..n).for_each(|j| schur[j * n + j] += columns[j]);
    let b = cholesky(&schur, &right).unwrap_or_else(|| conjugate_gradients(&schur, &right));
    for (i, row) in p.chunks_exact(n).enumerate() {
        let product: f64 = row.iter().zip(&b).map(|(p, b)| p * b).sum();
        let a = (t_rows[i] - product) / rows[i];
        for (j, p) in row.iter().enumerate() {
            d_x[i * n + j] -= p * (a + b[j]);
        }
    }
}

/// Below this a pivot has lost its digits.
const LEAST_PIVOT: f64 = 1e-10;

fn multiply(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

/// The solution with a last element of zero, refined once; `None` where a pivot is too small.
fn cholesky(matrix: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let (n, width) = (right.len() - 1, right.len());
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let rest = matrix[i * width + j] - dot;
            l[i * n + j] = match i == j {
                true if rest < LEAST_PIVOT => return None,
                true => rest.sqrt(),
                false => rest / l[j * n + j],
            };
        }
    }
    let solve = |right: &[f64]| -> Vec<f64> {
        let mut x = right[..n].to_vec();
        for i in 0..n {
            let dot: f64 = (0..i).map(|k| l[i * n + k] * x[k]).sum();
            x[i] = (x[i] - dot) / l[i * n + i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|k| l[k * n + i] * x[k]).sum();
            x[i] = (x[i] - dot) / l[i * n + i];
        }
        x.push(0.0);
        x
    };
    let mut x = solve(right);
    let left: Vec<f64> = right.iter().zip(multiply(matrix, &x)).map(|(r, p)| r - p).collect();
    x.iter_mut().zip(solve(&left)).for_each(|(x, d)| *x += d);
    Some(x)
}

fn conjugate_gradients(matrix: &[f64], right: &[f64]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut x = vec![0.0; right.len()];
    let (mut left, mut direction) = (right.to_vec(), right.to_vec());
    let first = dot(right, right);
    for _ in 0..50 {
        let size = dot(&left, &left);
        let product = multiply(matrix, &direction);
        let curvature = dot(&direction, &product);
        if size <= 1e-30 * first || curvature <= 1e-14 * dot(&direction, &direction) {
            break;
        }
        let step = size / curvature;
        x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        left.iter_mut().zip(&product).for_each(|(l, p)| *l -= step * p);
        let factor = dot(&left, &left) / size;
        direction.iter_mut().zip(&left).for_each(|(d, l)| *d = l + factor * *d);
    }
    x
}

//! Logits: the checks every function makes on them, and masks.

use candle_core::shape::Dim;
use candle_core::{CpuStorage, D, DType, Storage, Tensor};

use crate::checks::{check_float, unravel};
use crate::op::widen;
use crate::{Error, Result};

/// Sets the logits of classes that are not allowed to `-inf`, so that they are never drawn.
///
/// # Shapes
/// - logits: any; the classes lie along `dim`.
/// - mask: broadcasts to the shape of the logits; u8, nonzero where the class is *allowed*.
/// # Gradient
/// That of the identity where the class is allowed, exactly zero where it is not.
/// # Errors
/// [`Error::AllMasked`] naming the first row without an allowed class,
/// [`Error::InvalidLogit`] for a NaN or `+inf` logit of an allowed class,
/// [`Error::ShapeMismatch`] when the mask does not broadcast, [`Error::UnsupportedDType`].
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Error, mask_logits};
///
/// let logits = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
/// let mask = Tensor::new(&[[1u8, 0, 1], [0, 1, 0]], &Device::Cpu)?;
/// let masked = mask_logits(&logits, &mask, 1)?.to_vec2::<f32>()?;
/// assert_eq!(masked[0], [1.0, f32::NEG_INFINITY, 3.0]);
///
/// let nothing = Tensor::new(&[[1u8, 0, 1], [0, 0, 0]], &Device::Cpu)?;
/// let error = mask_logits(&logits, &nothing, 1).unwrap_err();
/// assert!(matches!(error, Error::AllMasked { row, .. } if row == [1]));
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn mask_logits<D: Dim>(logits: &Tensor, mask: &Tensor, dim: D) -> Result<Tensor> {
    if mask.dtype() != DType::U8 {
        return Err(Error::UnsupportedDType {
            what: "mask",
            dtype: mask.dtype(),
            expected: "u8, nonzero where a class is allowed",
        });
    }
    let dim = dim.to_index(logits.shape(), "mask_logits")?;
    let mask = mask.broadcast_as(logits.shape()).map_err(|_| Error::ShapeMismatch {
        what: "mask",
        got: mask.dims().to_vec(),
        expected: logits.dims().to_vec(),
    })?;
    let masked = logits.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
    let masked = mask.where_cond(logits, &masked)?;
    Rows::new(&masked.detach(), dim)?;
    Ok(masked)
}

/// Checked logits with the classes moved to the last dimension, in a dtype to compute with.
pub(crate) struct Rows {
    /// f32 or f64, contiguous, classes last.
    pub(crate) rows: Tensor,
    pub(crate) dim: usize,
    dtype: DType,
}

impl Rows {
    /// Moves `dim` last, widens f16 and bf16 to f32, and refuses NaN, `+inf` and rows that are all masked.
    pub(crate) fn new(logits: &Tensor, dim: usize) -> Result<Self> {
        check_float(logits, "logits")?;
        if logits.dim(dim)? == 0 {
            return Err(Error::TooFewClasses {
                what: "logits",
                shape: logits.dims().to_vec(),
                min: 1,
            });
        }
        let rows = classes_last(&widen(logits)?, dim)?;
        check_rows(&rows, dim)?;
        Ok(Self { rows, dim, dtype: logits.dtype() })
    }

    /// Another tensor of the logits' shape, such as their noise, in the same layout and dtype.
    pub(crate) fn like(&self, other: &Tensor, what: &'static str) -> Result<Tensor> {
        check_float(other, what)?;
        let mut expected = self.rows.dims().to_vec();
        let last = expected.len() - 1;
        expected.swap(self.dim, last);
        if other.dims() != expected {
            return Err(Error::ShapeMismatch { what, got: other.dims().to_vec(), expected });
        }
        classes_last(&other.to_dtype(self.rows.dtype())?, self.dim)
    }

    /// A result with classes last, back in the layout and dtype of the logits.
    pub(crate) fn restore(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = rows.to_dtype(self.dtype)?;
        if self.dim == rows.rank() - 1 {
            return Ok(rows);
        }
        Ok(rows.transpose(self.dim, D::Minus1)?.contiguous()?)
    }

    /// Results of one value per row, back in the order of the logits' other dimensions.
    pub(crate) fn restore_reduced(&self, reduced: &Tensor) -> Result<Tensor> {
        if self.dim == reduced.rank() {
            return Ok(reduced.clone());
        }
        // `reduced` has lost its last dimension, and the logits' last one lies where the classes were.
        let mut order: Vec<usize> = (0..reduced.rank()).collect();
        let moved = order.remove(self.dim);
        order.push(moved);
        Ok(reduced.permute(order)?.contiguous()?)
    }
}

fn classes_last(x: &Tensor, dim: usize) -> Result<Tensor> {
    if dim == x.rank() - 1 {
        Ok(x.contiguous()?)
    } else {
        Ok(x.transpose(dim, D::Minus1)?.contiguous()?)
    }
}

/// One pass over the rows, without a copy on the CPU; `dim` is where the classes lay, for the message.
fn check_rows(rows: &Tensor, dim: usize) -> Result<()> {
    if !rows.device().is_cpu() {
        return check_rows_on_device(rows, dim);
    }
    let n = rows.dim(D::Minus1)?;
    let (storage, layout) = rows.storage_and_layout();
    let defect = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(v)), Some((start, end))) => {
            first_defect(&v[start..end], n, f32::INFINITY)
        }
        (Storage::Cpu(CpuStorage::F64(v)), Some((start, end))) => {
            first_defect(&v[start..end], n, f64::INFINITY)
        }
        _ => None,
    };
    drop(storage);
    defect.map_or(Ok(()), |defect| Err(defect.name(rows, dim)))
}

/// The same by reductions on the device, and then on the host to name what was found. Waits for the device.
fn check_rows_on_device(rows: &Tensor, dim: usize) -> Result<()> {
    if rows.elem_count() == 0 {
        return Ok(());
    }
    let x = rows.detach();
    let good = x.lt(f64::INFINITY)?.to_dtype(DType::F32)?.min_all()?;
    let allowed = x.gt(f64::NEG_INFINITY)?.to_dtype(DType::F32)?;
    let allowed = allowed.max(D::Minus1)?.min_all()?;
    let fine = good.to_scalar::<f32>()? == 1.0 && allowed.to_scalar::<f32>()? == 1.0;
    if fine { Ok(()) } else { check_rows(&x.to_device(&candle_core::Device::Cpu)?, dim) }
}

enum Defect {
    Logit { flat: usize, value: f64 },
    Masked { row: usize },
}

impl Defect {
    fn name(self, rows: &Tensor, dim: usize) -> Error {
        let dims = rows.dims();
        let last = dims.len() - 1;
        match self {
            Self::Logit { flat, value } => {
                let mut index = unravel(flat, dims);
                index.swap(dim, last);
                Error::InvalidLogit { value, index }
            }
            Self::Masked { row } => {
                let mut row = unravel(row, &dims[..last]);
                if dim < last {
                    let moved = row.remove(dim);
                    row.push(moved);
                }
                Error::AllMasked { row, dim }
            }
        }
    }
}

fn first_defect<T>(values: &[T], n: usize, infinity: T) -> Option<Defect>
where
    T: Copy + PartialOrd + std::ops::Neg<Output = T> + Into<f64>,
{
    for (row, logits) in values.chunks_exact(n).enumerate() {
        // Written without a branch per logit: NaN fails both comparisons.
        let (mut good, mut allowed) = (true, false);
        for &l in logits {
            good &= l < infinity;
            allowed |= l > -infinity;
        }
        if !good {
            let class = logits.iter().position(|&l| {
                let l: f64 = l.into();
                l.is_nan() || l == f64::INFINITY
            })?;
            let value = logits[class].into();
            return Some(Defect::Logit { flat: row * n + class, value });
        }
        if !allowed {
            return Some(Defect::Masked { row });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn check(x: &Tensor, dim: usize) -> Result<()> {
        Rows::new(x, dim).map(|_| ())
    }

    #[test]
    fn the_error_names_the_bad_logit_and_the_masked_row_along_any_dimension() {
        for (value, dtype) in
            [(f64::NAN, DType::F32), (f64::INFINITY, DType::F64), (f64::NAN, DType::BF16)]
        {
            for dim in 0..3 {
                let mut v = vec![0.0; 24];
                v[17] = value; // index (1, 1, 1) of (2, 3, 4)
                let x =
                    Tensor::from_vec(v, (2, 3, 4), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                let error = check(&x, dim).unwrap_err();
                assert!(
                    matches!(error, Error::InvalidLogit { ref index, .. } if index == &[1, 1, 1]),
                    "{error}"
                );
            }
        }
        for (dim, row) in [(0, [2, 3]), (1, [1, 3]), (2, [1, 2])] {
            let masked = |i: usize| {
                let at = unravel(i, &[2, 3, 4]);
                let others: Vec<usize> = (0..3).filter(|&d| d != dim).map(|d| at[d]).collect();
                others == row
            };
            let v: Vec<f32> =
                (0..24).map(|i| if masked(i) { f32::NEG_INFINITY } else { 0.5 }).collect();
            let x = Tensor::from_vec(v, (2, 3, 4), &Device::Cpu).unwrap();
            let error = check(&x, dim).unwrap_err();
            assert!(
                matches!(error, Error::AllMasked { row: ref r, dim: d } if r == &row && d == dim),
                "{error}"
            );
        }
    }

    #[test]
    fn the_check_by_reductions_finds_the_same_defects() {
        let m = f32::NEG_INFINITY;
        for (rows, good) in [
            ([[0.0, 1.0], [m, 2.0]], true),
            ([[0.0, f32::NAN], [m, 2.0]], false),
            ([[0.0, f32::INFINITY], [m, 2.0]], false),
            ([[0.0, 1.0], [m, m]], false),
        ] {
            let x = Tensor::new(&rows, &Device::Cpu).unwrap();
            let (direct, reduced) = (check_rows(&x, 1), check_rows_on_device(&x, 1));
            assert_eq!(direct.is_ok(), good);
            assert_eq!(format!("{direct:?}"), format!("{reduced:?}"));
        }
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(check_rows_on_device(&empty, 1).is_ok());
    }

    #[test]
    fn integers_and_empty_rows_are_refused_and_empty_batches_are_not() {
        let ints = Tensor::zeros((2, 3), DType::U32, &Device::Cpu).unwrap();
        assert!(matches!(check(&ints, 1), Err(Error::UnsupportedDType { .. })));
        let none = Tensor::zeros((2, 0), DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(check(&none, 1), Err(Error::TooFewClasses { .. })));
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(check(&empty, 1).is_ok());
    }

    #[test]
    fn reduced_results_return_to_the_order_of_the_other_dimensions() {
        let x = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((2, 3, 4)).unwrap();
        for dim in 0..3 {
            let rows = Rows::new(&x, dim).unwrap();
            let restored = rows.restore_reduced(&rows.rows.max(D::Minus1).unwrap()).unwrap();
            let expected = x.max(dim).unwrap();
            assert_eq!(restored.dims(), expected.dims());
            let list = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(list(&restored), list(&expected));
            assert_eq!(list(&rows.restore(&rows.rows).unwrap()), list(&x));
        }
    }

    #[test]
    fn masked_logits_get_gradient_zero_and_may_have_been_nan() {
        let x = Var::new(&[[1f32, f32::NAN, 3.0]], &Device::Cpu).unwrap();
        let mask = Tensor::new(&[1u8, 0, 1], &Device::Cpu).unwrap();
        let masked = mask_logits(&x, &mask, 1).unwrap();
        let y = crate::op::softmax(&masked, 1.0).unwrap();
        let grads = y.get_on_dim(1, 0).unwrap().sum_all().unwrap().backward().unwrap();
        let g = grads.get(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(g[0][1], 0.0);
        assert!(g[0][0] > 0.0 && (g[0][0] + g[0][2]).abs() < 1e-6);
    }

    #[test]
    fn masks_of_the_wrong_shape_or_type_are_refused() {
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let wrong = Tensor::ones((2, 2), DType::U8, &Device::Cpu).unwrap();
        assert!(matches!(mask_logits(&x, &wrong, 1), Err(Error::ShapeMismatch { .. })));
        let floats = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(matches!(mask_logits(&x, &floats, 1), Err(Error::UnsupportedDType { .. })));
    }
}

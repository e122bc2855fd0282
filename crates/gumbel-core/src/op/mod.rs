//! Operations of one's own on candle tensors: a value, and its gradient, in one place.
//!
//! - [`with_gradient`] gives a value the gradient that is stated for it, on every device.
//! - [`on_slices`] computes a value with a kernel over slices for f32 on the CPU, and with candle's operations
//!   for everything else. The second form is the oracle of the first.
//!
//! Together they make an operation a function of a few lines.
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use gumbel_core::Result;
//! use gumbel_core::op::{on_slices, with_gradient};
//!
//! /// `x²`.
//! fn square(x: &Tensor) -> Result<Tensor> {
//!     let kernel = |[x]: [&[f32]; 1], y: &mut [f32]| {
//!         y.iter_mut().zip(x).for_each(|(y, x)| *y = x * x);
//!         Ok(())
//!     };
//!     let value = on_slices([x], x.shape(), kernel, |[x]| Ok(x.sqr()?))?;
//!     with_gradient("square", value, [x], |[x], _, grad| Ok([Some(((x * 2.0)? * grad)?)]))
//! }
//!
//! let x = Var::new(&[3f32, -1.0], &Device::Cpu)?;
//! let gradients = square(&x)?.sum_all()?.backward()?;
//! assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>()?, [6.0, -2.0]);
//! # Ok::<(), gumbel_core::Error>(())
//! ```

mod argmax;
mod bits;
mod entropy;
mod gamma;
mod log_softmax;
mod softmax;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, D, DType, Layout, MetalStorage,
    Shape, Storage, Tensor,
};

pub(crate) use argmax::{argmax, one_hot_argmax, perturb};
pub(crate) use bits::{sigmoid, softplus};
pub(crate) use entropy::{kl_to_uniform, neg_entropy};
pub(crate) use gamma::{EULER_GAMMA, digamma, ln_gamma};
pub(crate) use log_softmax::log_softmax;
pub(crate) use softmax::{softmax, softmax_grad};

use crate::{Error, Result};

/// `value`, with the gradients that `backward` gives to the inputs.
///
/// `backward` takes the inputs, the value, and the gradient at the value (contiguous). It returns a gradient for
/// each input, in the input's shape and dtype, or `None`. It runs for the first order only, and what it returns for
/// an input that needs no gradient is dropped. The value's own history is ignored.
///
/// # Shapes
/// - value: any. inputs: one to three, of any shapes, on the device of the value.
/// # Errors
/// Those of candle.
pub fn with_gradient<const N: usize>(
    name: &'static str,
    value: impl Into<Value>,
    inputs: [&Tensor; N],
    backward: impl Fn([&Tensor; N], &Tensor, &Tensor) -> Result<[Option<Tensor>; N]>
    + Send
    + Sync
    + 'static,
) -> Result<Tensor> {
    const { assert!(1 <= N && N <= 3, "candle's operations have one to three inputs") };
    let (storage, shape) = value.into().into_storage()?;
    let backward = move |inputs: &[&Tensor], value: &Tensor, grad: &Tensor| {
        let inputs = <[&Tensor; N]>::try_from(inputs).map_err(candle_core::Error::wrap)?;
        Ok(backward(inputs, value, grad)?.into())
    };
    let op =
        Given { name, shape, storage: Mutex::new(Some(storage)), backward: Box::new(backward) };
    Ok(match inputs.as_slice() {
        [a, b, c] => a.apply_op3(b, c, op)?,
        [a, b] => a.apply_op2(b, op)?,
        others => others[0].apply_op1(op)?,
    })
}

/// A value of the given shape: written by `kernel` where all inputs are f32 on the CPU, else the `composition`
/// of candle's operations.
///
/// The kernel sees the inputs in row-major order, and a result of zeros to write to.
///
/// # Errors
/// Those of the kernel or the composition.
pub fn on_slices<const N: usize>(
    inputs: [&Tensor; N],
    shape: impl Into<Shape>,
    kernel: impl FnOnce([&[f32]; N], &mut [f32]) -> Result<()>,
    composition: impl FnOnce([&Tensor; N]) -> Result<Tensor>,
) -> Result<Value> {
    let inputs = inputs.map(Tensor::detach);
    if !inputs.iter().all(|x| x.device().is_cpu() && x.dtype() == DType::F32) {
        return Ok(Value::Tensor(composition(inputs.each_ref())?));
    }
    let shape = shape.into();
    let mut out = vec![0.0; shape.elem_count()];
    read_slices(inputs.each_ref(), |inputs| kernel(inputs, &mut out))?;
    Ok(Value::Slice(out, shape))
}

/// Calls `f` with the elements of f32 tensors on the CPU, in row-major order.
///
/// # Errors
/// Those of `f`, and those of candle for other tensors.
pub fn read_slices<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let mut tensors = tensors.map(Tensor::clone);
    for x in &mut tensors {
        *x = x.contiguous()?;
    }
    let guards = tensors.each_ref().map(Tensor::storage_and_layout);
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *slice = match (&**storage, layout.contiguous_offsets()) {
            (Storage::Cpu(values), Some((start, end))) => &values.as_slice::<f32>()?[start..end],
            _ => return Err(candle_core::Error::msg("not a tensor on the CPU").into()),
        };
    }
    f(slices)
}

/// A value without a history: what [`with_gradient`] takes and [`on_slices`] gives.
#[derive(Clone, Debug)]
pub enum Value {
    /// Elements that a kernel has written, for the CPU; they are not copied again.
    Slice(Vec<f32>, Shape),
    /// Any tensor.
    Tensor(Tensor),
}

impl Value {
    /// The value as a tensor without a gradient.
    pub fn into_tensor(self) -> Tensor {
        match self {
            Self::Slice(values, shape) => {
                let storage = Storage::Cpu(CpuStorage::F32(values));
                Tensor::from_storage(storage, shape, BackpropOp::none(), false)
            }
            Self::Tensor(value) => value.detach(),
        }
    }

    fn into_storage(self) -> Result<(Storage, Shape)> {
        let value = match self {
            Self::Slice(values, shape) => {
                return Ok((Storage::Cpu(CpuStorage::F32(values)), shape));
            }
            Self::Tensor(value) => value,
        };
        // Whole storages are copied, so a view must become a tensor of its own first.
        let (_, layout) = value.storage_and_layout();
        let whole = layout.is_contiguous() && layout.start_offset() == 0;
        let value = if whole { value.clone() } else { value.force_contiguous()? };
        let (storage, layout) = value.storage_and_layout();
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }
}

impl From<Tensor> for Value {
    fn from(value: Tensor) -> Self {
        Self::Tensor(value)
    }
}

impl From<&Tensor> for Value {
    fn from(value: &Tensor) -> Self {
        Self::Tensor(value.clone())
    }
}

impl From<gumbel_kernels::LengthError> for Error {
    fn from(error: gumbel_kernels::LengthError) -> Self {
        candle_core::Error::wrap(error).into()
    }
}

type Backward = dyn Fn(&[&Tensor], &Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// candle's form of an operation whose value is known already.
struct Given {
    name: &'static str,
    shape: Shape,
    /// Moved into the result: candle runs the forward pass once.
    storage: Mutex<Option<Storage>>,
    backward: Box<Backward>,
}

impl Given {
    fn storage(&self) -> candle_core::Result<Storage> {
        let taken = self.storage.lock().ok().and_then(|mut storage| storage.take());
        taken.ok_or_else(|| candle_core::Error::msg("the forward pass runs once"))
    }

    fn elsewhere<S>(&self) -> candle_core::Result<(S, Shape)> {
        candle_core::bail!("{}: value and inputs are on different devices", self.name)
    }
}

macro_rules! custom_op {
    ($trait:ident: $($input:ident),+ -> $gradients:ty) => {
        impl $trait for Given {
            fn name(&self) -> &'static str {
                self.name
            }

            fn cpu_fwd(
                &self,
                $(_: &CpuStorage, $input: &Layout),+
            ) -> candle_core::Result<(CpuStorage, Shape)> {
                $(let _ = $input;)+
                match self.storage()? {
                    Storage::Cpu(storage) => Ok((storage, self.shape.clone())),
                    _ => self.elsewhere(),
                }
            }

            fn cuda_fwd(
                &self,
                $(_: &CudaStorage, $input: &Layout),+
            ) -> candle_core::Result<(CudaStorage, Shape)> {
                $(let _ = $input;)+
                match self.storage()? {
                    Storage::Cuda(storage) => Ok((storage, self.shape.clone())),
                    _ => self.elsewhere(),
                }
            }

            fn metal_fwd(
                &self,
                $(_: &MetalStorage, $input: &Layout),+
            ) -> candle_core::Result<(MetalStorage, Shape)> {
                $(let _ = $input;)+
                match self.storage()? {
                    Storage::Metal(storage) => Ok((storage, self.shape.clone())),
                    _ => self.elsewhere(),
                }
            }

            fn bwd(
                &self,
                $($input: &Tensor,)+
                value: &Tensor,
                grad: &Tensor,
            ) -> candle_core::Result<$gradients> {
                let gradients = (self.backward)(&[$($input),+], value, &grad.contiguous()?)?;
                let mut gradients = gradients.into_iter();
                $(let $input = gradients.next().flatten().filter(|_| $input.track_op());)+
                Ok(($($input),+))
            }
        }
    };
}
custom_op!(CustomOp1: a -> Option<Tensor>);
custom_op!(CustomOp2: a, b -> (Option<Tensor>, Option<Tensor>));
custom_op!(CustomOp3: a, b, c -> (Option<Tensor>, Option<Tensor>, Option<Tensor>));

/// f16 and bf16 as f32, f32 and f64 as they are.
pub(crate) fn widen(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => Ok(x.to_dtype(DType::F32)?),
        _ => Ok(x.clone()),
    }
}

/// The largest value of each row, `(..., 1)`; rows of an empty batch have none and need none.
fn largest(x: &Tensor) -> Result<Tensor> {
    match x.elem_count() {
        0 => Ok(x.narrow(D::Minus1, 0, 1)?),
        _ => Ok(x.max_keepdim(D::Minus1)?),
    }
}

/// 1 where a logit or a log-probability is not `-inf`.
pub(crate) fn allowed(x: &Tensor) -> Result<Tensor> {
    Ok(x.detach().gt(f64::NEG_INFINITY)?)
}

/// `x`, with `-inf` replaced by a constant 0: safe to multiply by a zero, with gradient zero there.
pub(crate) fn zero_where_masked(x: &Tensor) -> Result<Tensor> {
    Ok(allowed(x)?.where_cond(x, &x.zeros_like()?)?)
}

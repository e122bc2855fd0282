//! Elementwise operations whose candle form overflows or loses digits.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Tensor};

use crate::Result;
use crate::rows;
use crate::rowwise::{on_rows, on_rows2};

/// `softplus(x) = ln(1 + e^x)`. Any shape; f16 and bf16 are computed in f32.
///
/// # Gradient
/// `sigmoid(x)`, exactly 0 at `-inf`.
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    let wide = widen(x)?;
    let y = if wide.device().is_cpu() {
        wide.contiguous()?.apply_op1(Softplus)?
    } else {
        plain_softplus(&wide)?
    };
    Ok(y.to_dtype(x.dtype())?)
}

/// The same composed of candle's operations, on any device; not as exact where `x` is very negative.
fn plain_softplus(x: &Tensor) -> Result<Tensor> {
    let abs = x.abs()?;
    let above = ((x + &abs)? * 0.5)?;
    Ok((above + (abs.neg()?.exp()? + 1.0)?.log()?)?)
}

/// `sigmoid(x)`. Any shape; f16 and bf16 are computed in f32.
///
/// # Gradient
/// `sigmoid(x) sigmoid(-x)`, without cancellation; exactly 0 at `±inf`.
pub(crate) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    let wide = widen(x)?;
    let y = if wide.device().is_cpu() {
        wide.contiguous()?.apply_op1(Sigmoid)?
    } else {
        candle_nn::ops::sigmoid(&wide)?
    };
    Ok(y.to_dtype(x.dtype())?)
}

/// f16 and bf16 as f32, f32 and f64 as they are.
pub(crate) fn widen(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => Ok(x.to_dtype(DType::F32)?),
        _ => Ok(x.clone()),
    }
}

struct Softplus;

impl CustomOp1 for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = on_rows!(self.name(), s, l, |x| x.iter().map(|&x| rows::softplus(x)).collect());
        Ok((out, l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some((grad * sigmoid(x)?)?))
    }
}

struct Sigmoid;

impl CustomOp1 for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = on_rows!(self.name(), s, l, |x| x.iter().map(|&x| rows::sigmoid(x)).collect());
        Ok((out, l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(x.apply_op2_no_bwd(&grad.contiguous()?, &SigmoidGrad)?))
    }
}

struct SigmoidGrad;

impl CustomOp2 for SigmoidGrad {
    fn name(&self) -> &'static str {
        "sigmoid-grad"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = on_rows2!(self.name(), s1, l1, s2, l2, |x, grad| {
            x.iter().zip(grad).map(|(&x, &g)| g * rows::sigmoid(x) * rows::sigmoid(-x)).collect()
        });
        Ok((out, l1.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn softplus_and_sigmoid_hold_at_the_ends() {
        let x = [f64::NEG_INFINITY, -800.0, -40.0, 0.0, 40.0, 800.0, f64::INFINITY];
        let t = Tensor::new(&x, &Device::Cpu).unwrap();
        let y = softplus(&t).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(y[0], 0.0);
        assert_eq!(y[2], (-40f64).exp());
        assert_eq!(y[3], std::f64::consts::LN_2);
        assert_eq!(&y[4..], &[40.0, 800.0, f64::INFINITY]);
        let y = sigmoid(&t).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(&y[3..], &[0.5, 1.0 / (1.0 + (-40f64).exp()), 1.0, 1.0]);
        assert!(y[2] > 0.0 && y[0] == 0.0);
    }

    #[test]
    fn gradients_are_finite_everywhere_and_right_in_the_middle() {
        let x = Var::new(
            &[f64::NEG_INFINITY, -800.0, -2.0, 0.0, 2.0, 800.0, f64::INFINITY],
            &Device::Cpu,
        )
        .unwrap();
        let slope = |x: f64| 1.0 / (1.0 + (-x).exp());
        let grads = softplus(&x).unwrap().sum_all().unwrap().backward().unwrap();
        let g = grads.get(&x).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!((g[0], g[1], g[3], g[5], g[6]), (0.0, 0.0, 0.5, 1.0, 1.0));
        assert!((g[2] - slope(-2.0)).abs() < 1e-15 && (g[4] - slope(2.0)).abs() < 1e-15);
        let grads = sigmoid(&x).unwrap().sum_all().unwrap().backward().unwrap();
        let g = grads.get(&x).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!((g[0], g[3], g[6]), (0.0, 0.25, 0.0));
        assert!((g[2] - slope(2.0) * slope(-2.0)).abs() < 1e-15);
    }

    #[test]
    fn plain_softplus_agrees_in_value_and_gradient() {
        let x = Var::new(&[-30.0, -2.0, 0.0, 0.5, 40.0], &Device::Cpu).unwrap();
        let run = |f: &dyn Fn(&Tensor) -> Result<Tensor>| {
            let y = f(x.as_tensor()).unwrap();
            let grads = y.sum_all().unwrap().backward().unwrap();
            let g = grads.get(&x).unwrap().to_vec1::<f64>().unwrap();
            [y.to_vec1::<f64>().unwrap(), g].concat()
        };
        for (a, b) in run(&softplus).into_iter().zip(run(&plain_softplus)) {
            assert!((a - b).abs() < 1e-15 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

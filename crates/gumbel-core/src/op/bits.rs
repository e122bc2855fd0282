//! Softplus and sigmoid, without overflow and without lost digits.

use candle_core::Tensor;

use super::{on_slices, widen, with_gradient};
use crate::Result;

/// `softplus(x) = ln(1 + e^x)`. Any shape; f16 and bf16 are computed in f32.
///
/// # Gradient
/// `sigmoid(x)`, exactly 0 at `-inf`.
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    let wide = widen(x)?;
    let kernel =
        |[x]: [&[f32]; 1], y: &mut [f32]| gumbel_kernels::softplus(x, y).map_err(Into::into);
    let composition = |[x]: [&Tensor; 1]| {
        let above = x.maximum(0.0)?;
        let t = x.abs()?.neg()?.exp()?;
        // ln(1 + t) = t ln(u) / (u - 1) with u = 1 + t as rounded (Kahan), and t where u is 1.
        let u = (&t + 1.0)?;
        let below = ((&t * u.log()?)? / (&u - 1.0)?)?;
        Ok((above + u.eq(1.0)?.where_cond(&t, &below)?)?)
    };
    let value = on_slices([&wide], wide.shape(), kernel, composition)?;
    let y = with_gradient("softplus", value, [&wide], |[x], _, grad| {
        Ok([Some((grad * sigmoid(&x.detach())?)?)])
    })?;
    Ok(y.to_dtype(x.dtype())?)
}

/// `sigmoid(x)`. Any shape; f16 and bf16 are computed in f32.
///
/// # Gradient
/// `sigmoid(x) sigmoid(-x)`, without cancellation; exactly 0 at `±inf`.
pub(crate) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    let wide = widen(x)?;
    let kernel =
        |[x]: [&[f32]; 1], y: &mut [f32]| gumbel_kernels::sigmoid(x, y).map_err(Into::into);
    let composition = |[x]: [&Tensor; 1]| {
        let e = x.abs()?.neg()?.exp()?;
        let upper = (&e + 1.0)?.recip()?;
        Ok(x.lt(0.0)?.where_cond(&(e * &upper)?, &upper)?)
    };
    let value = on_slices([&wide], wide.shape(), kernel, composition)?;
    let y = with_gradient("sigmoid", value, [&wide], |[x], y, grad| {
        let d = (grad * (y * sigmoid(&x.detach().neg()?)?)?)?;
        let certain = x.detach().abs()?.eq(f64::INFINITY)?;
        Ok([Some(certain.where_cond(&d.zeros_like()?, &d)?)])
    })?;
    Ok(y.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

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
    fn kernels_and_compositions_agree() {
        let x: Vec<f64> = (-400..400).map(|i| f64::from(i) * 0.25).collect();
        let run = |dtype: DType, f: fn(&Tensor) -> Result<Tensor>| {
            let x = Tensor::new(x.as_slice(), &Device::Cpu).unwrap();
            let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
            let y = f(&x).unwrap();
            let grads = y.sum_all().unwrap().backward().unwrap();
            let list = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            [list(&y), list(grads.get(&x).unwrap())].concat()
        };
        for f in [softplus as fn(&Tensor) -> Result<Tensor>, sigmoid] {
            for (a, b) in run(DType::F32, f).into_iter().zip(run(DType::F64, f)) {
                // Up to three units of the last place each; results below the normal numbers have fewer digits.
                assert!((a - b).abs() <= 8.0 * 2f64.powi(-24) * b + 1e-43, "{a} {b}");
            }
        }
    }
}

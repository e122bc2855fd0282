//! The price of a temperature: bias and spread of the relaxed gradient against the exact one.
//!
//! The loss is `(Σ_k c_k z_k - 0.45)²` of one categorical variable `z`, curved enough that a relaxed
//! sample tells the wrong slope. Run with `cargo run --release -p gumbel-core --example temperature_sweep`.

#![allow(clippy::print_stdout, reason = "an example's result is what it prints")]

use candle_core::{D, Device, Tensor, Var};
use gumbel_core::distributions::OneHotCategorical;
use gumbel_core::{Generator, Result, gumbel_softmax};

const SAMPLES: usize = 20_000;

/// Shapes: z `(..., n_classes)`, costs `(n_classes)`; output `(...)`.
fn loss(z: &Tensor, costs: &Tensor) -> Result<Tensor> {
    Ok((z.broadcast_mul(costs)?.sum(D::Minus1)? - 0.45)?.sqr()?)
}

fn main() -> Result<()> {
    let device = Device::Cpu;
    let costs = Tensor::new(&[0.1f64, 0.9, 0.4, 0.7], &device)?;
    let logits = Tensor::new(&[0.5f64, 0.0, -0.5, 1.0], &device)?;

    // The exact gradient of the expected loss: a sum over the four classes.
    let theta = Var::from_tensor(&logits)?;
    let q = OneHotCategorical::from_logits(&theta)?;
    let expected = (q.mean()? * loss(&q.enumerate_support()?, &costs)?)?.sum_all()?;
    let exact = gradient(&expected, &theta)?;
    let norm = exact.iter().map(|g| g * g).sum::<f64>().sqrt();

    println!("exact gradient {exact:.4?}");
    println!("{:>8} {:>6} {:>14} {:>16}", "tau", "sample", "relative bias", "relative spread");
    let mut g = Generator::new(0);
    for tau in [0.1, 0.3, 0.5, 1.0, 2.0, 5.0] {
        for hard in [false, true] {
            // One row of logits per sample, so that each has a gradient of its own.
            let rows = Var::from_tensor(&logits.broadcast_as((SAMPLES, 4))?.contiguous()?)?;
            let z = gumbel_softmax(&rows, tau, hard, 1, &mut g)?;
            let grads = gradient(&loss(&z, &costs)?.sum_all()?, &rows)?;
            let mean = |k: usize| grads.iter().skip(k).step_by(4).sum::<f64>() / SAMPLES as f64;
            let means: Vec<f64> = (0..4).map(mean).collect();
            let bias = means.iter().zip(&exact).map(|(m, e)| (m - e).powi(2)).sum::<f64>();
            let spread = grads.iter().enumerate().map(|(i, g)| (g - means[i % 4]).powi(2));
            let spread = spread.sum::<f64>() / SAMPLES as f64;
            let kind = if hard { "hard" } else { "soft" };
            let (bias, spread) = (bias.sqrt() / norm, spread.sqrt() / norm);
            println!("{tau:>8} {kind:>6} {bias:>14.3} {spread:>16.3}");
        }
    }
    Ok(())
}

fn gradient(loss: &Tensor, of: &Var) -> Result<Vec<f64>> {
    let grads = loss.backward()?;
    match grads.get(of) {
        Some(grad) => Ok(grad.flatten_all()?.to_vec1()?),
        None => Ok(vec![0.0; of.elem_count()]),
    }
}

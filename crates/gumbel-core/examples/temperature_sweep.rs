//! A temperature sweep: what τ does to relaxed samples, and to the bias and spread of gradient estimators.
//!
//! ```sh
//! cargo run --release -p gumbel-core --example temperature_sweep
//! ```
//!
//! Two latents of five categories and a smooth loss, small enough for the exact gradient. Every estimator draws its
//! gradient many times at each temperature; the table shows how far the mean is from the exact gradient (bias)
//! and how far a draw is from the mean (spread), both relative to the exact gradient's length.

#![expect(clippy::print_stdout, reason = "an example reports to the terminal")]

use candle_core::{D, DType, Device, Result, Tensor, Var};
use gumbel_core::estimators::{Estimator, EstimatorState};
use gumbel_core::{Generator, gumbel_softmax};

const TEMPERATURES: [f64; 6] = [0.1, 0.3, 0.5, 1.0, 1.5, 3.0];
const N_DRAWS: usize = 20_000;
const LOGITS: [[f32; 5]; 2] = [[0.5, -0.3, 1.2, 0.0, -1.0], [-0.4, 0.8, 0.1, 0.3, -0.2]];

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    println!("Relaxed samples: the mean of their largest entry (1 is one-hot, 0.2 is uniform)\n");
    print!("  {:<28}", "τ");
    TEMPERATURES.iter().for_each(|tau| print!("{tau:>12}"));
    print!("\n  {:<28}", "largest entry");
    let once = Tensor::new(&LOGITS, &Device::Cpu)?.unsqueeze(0)?;
    let logits = once.repeat((N_DRAWS, 1, 1))?;
    for tau in TEMPERATURES {
        let y = gumbel_softmax(&logits, tau, false, D::Minus1, &mut Generator::new(0))?;
        print!("{:>12.3}", y.max(D::Minus1)?.mean_all()?.to_scalar::<f32>()?);
    }

    println!("\n\nGradients: bias / spread, relative to the exact gradient ({N_DRAWS} draws)\n");
    let exact = gradients(Estimator::Enumeration, 1.0, &once)?.squeeze(0)?;
    for estimator in Estimator::ALL {
        if matches!(estimator, Estimator::DisArm | Estimator::Enumeration) {
            continue; // Two categories only; the exact gradient itself.
        }
        print!("  {:<28}", estimator.to_string());
        let temperatures = if estimator.has_temperature() { &TEMPERATURES[..] } else { &[1.0] };
        for &tau in temperatures {
            let draws = gradients(estimator, tau, &logits)?;
            let mean = draws.mean(0)?;
            let bias = norm(&(&mean - &exact)?)? / norm(&exact)?;
            let spread = draws.broadcast_sub(&mean)?.sqr()?.mean(0)?.sum_all()?;
            let spread = f64::from(spread.to_scalar::<f32>()?).sqrt() / norm(&exact)?;
            print!("{:>12}", format!("{bias:.2} / {spread:.1}"));
        }
        println!("{}", if estimator.has_temperature() { "" } else { "   at any τ" });
    }
    println!("\nAn unbiased estimator of spread s shows a bias of about s / √{N_DRAWS} by chance.");
    Ok(())
}

/// One gradient for each element of the batch of logits.
fn gradients(estimator: Estimator, tau: f64, logits: &Tensor) -> gumbel_core::Result<Tensor> {
    let logits = Var::from_tensor(logits)?;
    let mut state = EstimatorState::default();
    let mut g = Generator::new(1);
    let mut loss = |z: &Tensor| -> gumbel_core::Result<Tensor> { Ok(loss(z)?) };
    if matches!(estimator, Estimator::Reinforce | Estimator::Rebar) {
        // These learn: the first call finds a baseline, the second a scale.
        for _ in 0..2 {
            estimator.objective(&mut state, &logits, tau, &mut g, &mut loss)?;
        }
    }
    let objective = estimator.objective(&mut state, &logits, tau, &mut g, &mut loss)?;
    let mut grads = objective.surrogate.sum_all()?.backward()?;
    // Every estimator leaves a gradient at the logits.
    Ok(grads.remove(logits.as_tensor()).unwrap_or(logits.zeros_like()?))
}

/// `e^(w·z) + (v·z)²` over all ten entries: far from linear, and the latents interact.
fn loss(z: &Tensor) -> Result<Tensor> {
    let w =
        Tensor::new(&[[0.9f32, -0.7, 0.2, 1.1, -1.3], [0.4, -1.0, 0.8, -0.2, 0.6]], z.device())?;
    let v = Tensor::new(&[[1.4f32, 0.3, -0.9, 0.7, 1.0], [-1.1, 0.5, 1.2, -0.3, 0.9]], z.device())?;
    let along = |x: &Tensor| z.broadcast_mul(x)?.sum((1, 2));
    along(&w)?.exp()? + along(&v)?.sqr()?
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}

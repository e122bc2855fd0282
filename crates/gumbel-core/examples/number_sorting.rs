//! Learning to sort numbers with Gumbel-Sinkhorn (Mena et al. 2018, section 5.1), and what its ten iterations leave.
//!
//! ```sh
//! cargo run --release -p gumbel-core --example number_sorting -- 5 15 40 80 120
//! ```
//!
//! Each number alone goes through a network (1, 32, n) to a row of log-weights; the loss is the squared distance of the relaxed permutation's
//! product with the list to the sorted list. Adam at 0.1, lists of U(0, 1), 10 a step, 5 samples each, τ = 1, 500 steps. Tested on new
//! lists of U(0, 1) and of U(1, 2), which training has not seen, by the best matching without noise.

#![expect(clippy::print_stdout, reason = "an example reports to the terminal")]

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use gumbel_core::{
    Generator, Iterations, SinkhornOptions, gumbel_sinkhorn, matching, soft_sort, uniform,
};

const BATCH: usize = 10;
const SAMPLES: usize = 5;
const STEPS: usize = 500;
const N_TEST: usize = 50;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let sizes: Vec<usize> =
        std::env::args().skip(1).map(|n| n.parse()).collect::<std::result::Result<_, _>>()?;
    let sizes = if sizes.is_empty() { vec![5, 15, 40, 80] } else { sizes };
    println!(
        "wrong places / lists with any wrong place, of {N_TEST} lists; residual: how far a row's sum is from 1\n"
    );
    println!(
        "{:>5} {:>14}  {:<16} {:<16} {:>22} {:>9}",
        "n", "iterations", "U(0, 1)", "U(1, 2)", "residual at the end", "seconds"
    );
    for &n in &sizes {
        let fixed =
            SinkhornOptions { iterations: Some(Iterations::Fixed(10)), ..Default::default() };
        for (name, options) in [("10", fixed), ("to 1e-4", SinkhornOptions::default())] {
            let start = std::time::Instant::now();
            let (net, residual) = train(n, &options)?;
            let [near, far] = [0.0, 1.0].map(|low| test(&net, n, low));
            let seconds = start.elapsed().as_secs_f64();
            let (near, far) = (near?, far?);
            println!("{n:>5} {name:>14}  {near:<16} {far:<16} {residual:>22.1e} {seconds:>9.1}");
        }
    }
    Ok(())
}

fn lists(count: usize, n: usize, low: f64, g: &mut Generator) -> Result<Tensor> {
    uniform((count, n), DType::F32, &Device::Cpu, g)?.affine(1.0, low)
}

/// Two layers, `(1, 32, n)`; their weights are drawn by our own generator, which can be seeded.
struct Net([Var; 4]);

impl Net {
    fn new(n: usize, g: &mut Generator) -> Result<Self> {
        let mut draw = |shape: &[usize], bound: f64| {
            let x = uniform(shape, DType::F32, &Device::Cpu, g)?;
            Var::from_tensor(&x.affine(2.0 * bound, -bound)?)
        };
        let inner = 32f64.powf(-0.5);
        Ok(Self([
            draw(&[1, 32], 1.0)?,
            draw(&[32], 1.0)?,
            draw(&[32, n], inner)?,
            draw(&[n], inner)?,
        ]))
    }

    /// A row of scores for each number: `(lists, n, n)`.
    fn scores(&self, x: &Tensor) -> Result<Tensor> {
        let Self([w, b, v, c]) = self;
        let (lists, n) = x.dims2()?;
        let hidden = x.reshape((lists * n, 1))?.matmul(w)?.broadcast_add(b)?.relu()?;
        hidden.matmul(v)?.broadcast_add(c)?.reshape((lists, n, n))
    }
}

/// Trains, and gives the largest residual of the last step.
fn train(n: usize, options: &SinkhornOptions) -> Result<(Net, f64)> {
    let mut g = Generator::new(1);
    let net = Net::new(n, &mut g)?;
    let params = ParamsAdamW { lr: 0.1, weight_decay: 0.0, ..Default::default() };
    let mut adam = AdamW::new(net.0.to_vec(), params)?;
    let mut residual = 0.0;
    for _ in 0..STEPS {
        let x = lists(BATCH, n, 0.0, &mut g)?;
        let sorted = soft_sort(&x, 1.0, 1, true)?.matmul(&x.unsqueeze(D::Minus1)?)?;
        let log_alpha = net.scores(&x)?.repeat((SAMPLES, 1, 1))?;
        let result = gumbel_sinkhorn(&log_alpha, 1.0, options, false, &mut g)?;
        let x = x.unsqueeze(D::Minus1)?.repeat((SAMPLES, 1, 1))?;
        let guess = result.plan.transpose(1, 2)?.contiguous()?.matmul(&x)?;
        let loss = (guess - sorted.detach().repeat((SAMPLES, 1, 1))?)?.sqr()?.mean_all()?;
        adam.backward_step(&loss)?;
        residual = result.residual.max_all()?.to_scalar::<f64>()?;
    }
    Ok((net, residual))
}

fn test(net: &Net, n: usize, low: f64) -> Result<String> {
    let x = lists(N_TEST, n, low, &mut Generator::new(2))?;
    let scores = net.scores(&x)?;
    // Scaling rows and columns changes no comparison of permutations: the scores need no Sinkhorn.
    let places = matching(&scores)?.to_vec2::<u32>()?;
    let (mut wrong, mut lists) = (0, 0);
    for (x, places) in x.to_vec2::<f32>()?.iter().zip(places) {
        // The list in the order that was found; a place is wrong where it holds another number than the sorted list.
        let mut found = vec![0.0; n];
        x.iter().zip(places).for_each(|(x, place)| found[place as usize] = *x);
        let mut sorted = x.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let off = found.iter().zip(&sorted).filter(|(a, b)| a != b).count();
        wrong += off;
        lists += usize::from(off > 0);
    }
    Ok(format!("{:.4} / {:.2}", wrong as f64 / (N_TEST * n) as f64, lists as f64 / N_TEST as f64))
}

//! A relaxed subset over τ: three of eight items, from one draw of noise.
//!
//! ```sh
//! cargo run --release -p gumbel-core --example relaxed_subset
//! ```
//!
//! Columns are temperatures, rows are items, and a bar is as long as the item's part in the relaxed subset. Every column
//! sums to three. On the left are the three largest perturbed logits; on the right all items have the same part.

#![expect(clippy::print_stdout, reason = "an example reports to the terminal")]

use candle_core::{Device, Tensor};
use gumbel_core::structure::KSubset;
use gumbel_core::{Generator, Result};

const TEMPERATURES: [f64; 6] = [0.01, 0.1, 0.3, 1.0, 3.0, 100.0];
const LOGITS: [f64; 8] = [0.5, -0.3, 1.2, 0.0, -1.0, 0.8, 0.4, -0.5];

fn main() -> Result<()> {
    let d = KSubset::from_logits(&Tensor::new(&LOGITS, &Device::Cpu)?, 3)?;
    let noise = d.noise((), &mut Generator::new(5))?;
    let mut columns = Vec::new();
    for tau in TEMPERATURES {
        columns.push(d.rsample_with_noise(&noise, tau, false)?.to_vec1::<f64>()?);
    }
    let marginals = d.marginals()?.to_vec1::<f64>()?;
    print!("item  marginal");
    TEMPERATURES.iter().for_each(|tau| print!("   τ = {tau:<9}"));
    println!();
    for (item, marginal) in marginals.iter().enumerate() {
        print!("{item:>4}  {marginal:>8.3}");
        columns.iter().for_each(|column| print!("   {}", bar(column[item])));
        println!();
    }
    Ok(())
}

/// Thirteen cells for one, and eighths of a cell.
fn bar(part: f64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (part * 13.0 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.push(EIGHTHS[eighths % 8]);
    format!("{bar:<13}").chars().take(13).collect()
}

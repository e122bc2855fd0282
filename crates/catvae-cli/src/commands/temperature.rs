//! `catvae temperature`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use gumbel_core::{Generator, Temperature, gumbel_noise, gumbel_softmax_with_noise};

use crate::args::TemperatureArgs;
use crate::grid::{FIGURE, prepare};
use crate::plot::{TemperatureFigure, TemperaturePanel, draw_temperature};
use crate::progress::print_line;

/// The categorical that is relaxed.
const PROBS: [f64; 7] = [0.05, 0.10, 0.25, 0.15, 0.30, 0.10, 0.05];
/// Temperatures, as in Jang et al. 2017, figure 1.
const TEMPERATURES: [f64; 4] = [0.1, 0.5, 1.0, 10.0];
/// Samples that the expectations are means of: their standard error is at most 0.005.
const N_SAMPLES: usize = 10_000;
/// Single samples shown.
const N_SHOWN: usize = 3;

pub(crate) fn temperature(args: &TemperatureArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), FIGURE)?;
    let n_categories = PROBS.len();
    let logits =
        Tensor::new(&PROBS, &Device::Cpu)?.log()?.broadcast_as((N_SAMPLES, n_categories))?;
    // One noise for all temperatures: down a row of the figure only τ changes.
    let mut generator = Generator::new(args.seed);
    let noise = gumbel_noise(logits.shape(), DType::F64, &Device::Cpu, &mut generator)?;
    let mut panels = Vec::with_capacity(TEMPERATURES.len());
    for temperature in TEMPERATURES {
        let tau = Temperature::new(temperature)?;
        let samples = gumbel_softmax_with_noise(&logits, &noise, tau, false, 1)?;
        panels.push(TemperaturePanel {
            temperature,
            expectation: samples.mean(0)?.to_vec1::<f64>()?,
            samples: samples.narrow(0, 0, N_SHOWN)?.to_vec2::<f64>()?,
        });
    }
    let figure = TemperatureFigure { categories: n_categories, probs: PROBS.to_vec(), panels };
    let out = args.out.as_deref().unwrap_or(Path::new("temperature.png"));
    draw_temperature(&figure, out)?;
    print_line(&format!("{}", out.display()));
    Ok(ExitCode::SUCCESS)
}

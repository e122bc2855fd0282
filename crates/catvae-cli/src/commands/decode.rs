//! `catvae decode`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use candle_core::{DType, Tensor};
use catvae_data::codes::read_codes;
use gumbel_core::one_hot;

use crate::args::DecodeArgs;
use crate::grid::{Grid, PICTURE, prepare};
use crate::pictures;
use crate::progress::print_line;
use crate::run::OpenRun;

/// Columns of the grid where there are enough codes to fill them.
const COLUMNS: usize = 16;

pub(crate) fn decode(args: &DecodeArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), PICTURE)?;
    let device = args.device.open()?;
    let run = OpenRun::open(&args.run, args.checkpoint, &device)?;
    let (n_latents, n_categories) = (run.config.model.n_latents, run.config.model.n_categories);
    let file = args.codes.display();

    let codes = read_codes(&args.codes, n_latents, args.limit.get())?;
    if codes.is_empty() {
        bail!("{file}: the array `codes` holds no code");
    }
    let n_codes = codes.len() / n_latents;
    let mut indices = Vec::with_capacity(codes.len());
    for (i, &code) in codes.iter().enumerate() {
        match u32::try_from(code) {
            Ok(index) if (index as usize) < n_categories => indices.push(index),
            _ => bail!(
                "{file}: codes[{}, {}] is {code}, but the run has categories 0 to {}",
                i / n_latents,
                i % n_latents,
                n_categories - 1
            ),
        }
    }
    let indices = Tensor::from_vec(indices, (n_codes, n_latents), &device)?;
    let z = one_hot(&indices, n_categories, DType::F32)?;
    let cols = n_codes.min(COLUMNS);
    let mut grid = Grid::new(n_codes.div_ceil(cols), cols, run.image_shape()?)?;
    for (i, pixels) in pictures::pixel_means(&run.model, &z)?.iter().enumerate() {
        grid.put(i / cols, i % cols, pixels);
    }
    let out = run.out(args.out.as_deref(), "decoded.png");
    grid.save(&out)?;
    print_line(&format!("{}: {n_codes} images", out.display()));
    Ok(ExitCode::SUCCESS)
}

//! `catvae decode`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use catvae_data::codes::read_codes;
use catvae_model::ModelSettings;

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
    let (code, code_shape) = (run.config.model.code, run.config.model.code_shape());
    let width = code.width(code_shape);
    let file = args.codes.display();

    let codes = read_codes(&args.codes, width, args.limit.get())?;
    if codes.is_empty() {
        bail!("{file}: the array `codes` holds no code");
    }
    let n_codes = codes.len() / width;
    let z = code.from_numbers(&codes, code_shape, &device).with_context(|| file.to_string())?;
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

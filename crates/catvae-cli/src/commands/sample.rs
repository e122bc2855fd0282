//! `catvae sample`.

use std::process::ExitCode;

use anyhow::Result;
use catvae_train::stream;
use gumbel_core::Generator;

use crate::args::SampleArgs;
use crate::grid::{PICTURE, prepare};
use crate::pictures;
use crate::progress::print_line;
use crate::run::OpenRun;

pub(crate) fn sample(args: &SampleArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), PICTURE)?;
    let device = args.device.open()?;
    let run = OpenRun::open(&args.run, args.checkpoint, &device)?;
    let mut generator = Generator::new(args.seed).stream(stream::PICTURES);
    let size = (args.rows.get(), args.cols.get());
    let out = run.out(args.out.as_deref(), "sample.png");
    pictures::samples(&run.model, size, run.image_shape()?, &device, &mut generator, &out)?;
    print_line(&format!("{}", out.display()));
    Ok(ExitCode::SUCCESS)
}

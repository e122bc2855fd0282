//! `catvae reconstruct`.

use std::process::ExitCode;

use anyhow::Result;
use catvae_train::stream;
use gumbel_core::Generator;

use crate::args::{Part, ReconstructArgs};
use crate::grid::{PICTURE, prepare};
use crate::pictures;
use crate::progress::print_line;
use crate::run::OpenRun;

pub(crate) fn reconstruct(args: &ReconstructArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), PICTURE)?;
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let test = run.images(&args.run, Part::Test)?;
    let mut generator = Generator::new(run.config.training.seed).stream(stream::PICTURES);
    let binarization = run.config.data.binarization;
    let out = run.out(args.out.as_deref(), "reconstructions.png");
    pictures::reconstructions(&run.model, &test, binarization, &device, &mut generator, &out)?;
    print_line(&format!("{}", out.display()));
    Ok(ExitCode::SUCCESS)
}

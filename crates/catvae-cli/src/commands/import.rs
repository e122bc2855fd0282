//! `catvae import`.

use std::process::ExitCode;

use anyhow::Result;
use candle_core::Device;
use catvae_train::{RunDir, Trainer};

use crate::args::{DeviceName, ImportArgs};
use crate::commands::{settings, train};
use crate::data;
use crate::progress::{print_line, quoted};

/// A run folder whose only checkpoint is the imported model, before any step.
pub(crate) fn import(args: &ImportArgs) -> Result<ExitCode> {
    let mut config = settings::starting_point(args.config.as_deref(), Some(&args.file))?;
    settings::apply(&args.settings, args.config.is_none(), &mut config)?;
    config.training.init_from = Some(args.file.clone());
    config.check()?;
    let dataset = data::load(&config.data)?;
    if args.config.is_none() {
        config.model.image_shape = [dataset.train.rows(), dataset.train.cols()];
    }
    let dataset = config.bind_data(dataset, DeviceName::Cpu.as_str())?;
    let mut trainer = Trainer::new(config, Device::Cpu)?;
    let run = match &args.out {
        Some(out) => RunDir::new(out),
        None => train::claim_folder(&dataset.name)?,
    };
    let run = run.lock()?;
    run.check_unused()?;
    trainer.keep_start(&run)?;
    print_line(&format!("{}", run.path().display()));
    print_line(&format!("Next: catvae evaluate {}", quoted(run.path())));
    Ok(ExitCode::SUCCESS)
}

//! `catvae encode`.

use std::process::ExitCode;

use anyhow::Result;
use candle_core::{D, DType, Tensor};
use catvae_data::codes::{Array, npz_bytes};
use gumbel_core::{Generator, gumbel_max};

use crate::args::{EncodeArgs, Part};
use crate::grid::write_file;
use crate::pictures;
use crate::progress::print_line;
use crate::run::OpenRun;

/// Images encoded at once.
const BATCH: usize = 1000;

pub(crate) fn encode(args: &EncodeArgs) -> Result<ExitCode> {
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let dataset = run.dataset(&args.run)?;
    let images = match args.part {
        Part::Train => dataset.train,
        Part::Test => dataset.test,
    };
    let mut generator = Generator::new(args.seed);
    let mut codes: Vec<u32> = Vec::with_capacity(images.len() * run.config.model.n_latents);
    for batch in pictures::batches(&images, BATCH, run.config.data.binarization) {
        let shape = (batch.len, images.pixels_per_image());
        let input = Tensor::from_vec(batch.images, shape, &device)?;
        let logits = run.model.encode(&input)?.detach();
        let batch = match args.sampled {
            true => gumbel_max(&logits, D::Minus1, &mut generator)?,
            false => logits.argmax(D::Minus1)?,
        };
        codes.extend(batch.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?);
    }
    let shape = vec![images.len(), run.config.model.n_latents];
    let codes = codes.into_iter().map(i64::from).collect();
    let labels = images.labels().iter().map(|&label| i64::from(label)).collect();
    let arrays = [
        Array { name: "codes", shape: shape.clone(), values: codes },
        Array { name: "labels", shape: vec![images.len()], values: labels },
    ];
    write_file(&args.out, &npz_bytes(&arrays)?)?;
    print_line(&format!(
        "{}: codes ({}, {}) and labels ({}) as int64",
        args.out.display(),
        shape[0],
        shape[1],
        shape[0]
    ));
    Ok(ExitCode::SUCCESS)
}

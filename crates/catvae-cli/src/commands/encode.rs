//! `catvae encode`.

use std::process::ExitCode;

use anyhow::Result;
use candle_core::{DType, Tensor};
use catvae_data::codes::{Array, Values, npz_bytes};
use catvae_model::{Model, ModelSettings};
use gumbel_core::Generator;

use crate::args::EncodeArgs;
use crate::grid::{prepare, write_file};
use crate::pictures;
use crate::progress::print_line;
use crate::run::OpenRun;

/// Images encoded at once.
const BATCH: usize = 1000;

pub(crate) fn encode(args: &EncodeArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), &["npz"])?;
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let images = run.images(&args.run, args.part)?;
    let mut generator = Generator::new(args.seed);
    let (code, code_shape) = (run.config.model.code, run.config.model.code_shape());
    let (structure, width) = (code.structure(), code.width(code_shape));
    let mut codes: Vec<u32> = Vec::with_capacity(images.len() * width);
    let (mut posterior, mut losses): (Vec<f32>, Vec<f32>) = Default::default();
    for batch in pictures::batches(&images, BATCH, run.config.data.binarization) {
        let shape = (batch.len, images.pixels_per_image());
        let input = Tensor::from_vec(batch.images, shape, &device)?;
        let logits = run.model.encode(&input)?.detach();
        if args.posterior {
            posterior.extend(code.posterior(&logits)?.flatten_all()?.to_vec1::<f32>()?);
        }
        let z = match args.sampled {
            true => structure.sample(&logits, &mut generator)?,
            false => structure.solve(&logits)?,
        };
        if args.posterior {
            losses.extend(run.model.neg_log_likelihood(&z, &input)?.to_vec1::<f32>()?);
        }
        let batch = code.numbers(&z)?;
        codes.extend(batch.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?);
    }
    let shape = vec![images.len(), width];
    let codes = Values::I64(codes.into_iter().map(i64::from).collect());
    let mut arrays = vec![Array { name: "codes", shape: shape.clone(), values: codes }];
    if let Some(labels) = images.labels() {
        let values = Values::I64(labels.iter().map(|&label| i64::from(label)).collect());
        arrays.push(Array { name: "labels", shape: vec![images.len()], values });
    }
    let out = run.out(args.out.as_deref(), "codes.npz");
    if args.posterior {
        let values = Values::F32(losses);
        arrays.push(Array { name: "neg_log_likelihood", shape: vec![images.len()], values });
        let shape = vec![images.len(), code_shape[0], code_shape[1]];
        arrays.push(Array { name: "posterior", shape, values: Values::F32(posterior) });
    }
    write_file(&out, &npz_bytes(&arrays)?)?;
    let labels =
        images.labels().map_or(String::new(), |labels| format!(" and labels ({})", labels.len()));
    print_line(&format!(
        "{}: codes ({}, {}){labels} as int64{}",
        out.display(),
        shape[0],
        shape[1],
        if args.posterior { ", posterior and neg_log_likelihood as float32" } else { "" }
    ));
    Ok(ExitCode::SUCCESS)
}

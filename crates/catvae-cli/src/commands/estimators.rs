//! `catvae estimators`.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use catvae_model::{CategoricalVae, Model, ModelSettings};
use catvae_train::{EstimatorLab, EstimatorMeasurement, stream};
use gumbel_core::Generator;
use gumbel_core::estimators::Estimator;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{EstimatorsArgs, Part};
use crate::grid::{FIGURE, prepare};
use crate::plot::{EstimatorRow, draw_estimators};
use crate::progress::print_line;
use crate::run::OpenRun;

pub(crate) fn estimators(args: &EstimatorsArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), FIGURE)?;
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let images = run.images(&args.run, Part::Test)?.take(args.limit.get());
    let lab = EstimatorLab::new(&run.model, &images, run.config.data.binarization, &device)?;
    let chosen = choose(args, &lab)?;

    if !args.json {
        introduce(args, &run, &lab, images.len());
    }

    let bar = ProgressBar::new((chosen.len() * args.samples.get()) as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {eta}") {
        bar.set_style(style);
    }
    let mut rows = Vec::with_capacity(chosen.len());
    for estimator in chosen {
        bar.set_message(estimator.to_string());
        // The same stream for each: they see the same noise where they use it alike.
        let mut generator = Generator::new(args.seed).stream(stream::ESTIMATORS);
        let row = lab.measure(estimator, args.temperature, args.samples, &mut generator, || {
            bar.inc(1);
        })?;
        if !args.json {
            bar.suspend(|| print_line(&line(&row)));
        }
        rows.push(row);
    }
    bar.finish_and_clear();

    if args.json {
        let config = run.model.settings();
        let object = serde_json::json!({
            "step": run.step,
            "code": config.code.to_string(),
            "n_latents": config.code_shape()[0],
            "n_categories": config.code_shape()[1],
            "n_images": images.len(),
            "samples": args.samples,
            "seed": args.seed,
            "exact_ms": lab.exact_ms(),
            "estimators": rows,
        });
        print_line(&object.to_string());
    }
    if let Some(path) = &args.out {
        let title = format!("{}, τ = {}", run.name(), args.temperature);
        draw_estimators(&title, &rows.iter().map(bars).collect::<Vec<_>>(), path)?;
        if !args.json {
            print_line(&format!("{}", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the table below it is.
fn introduce(
    args: &EstimatorsArgs,
    run: &OpenRun,
    lab: &EstimatorLab<'_, CategoricalVae>,
    n_images: usize,
) {
    let config = run.model.settings();
    print_line(&format!(
        "{}, model of step {}, {n_images} images, {} draws of the gradient of the cross-entropy",
        config.describe_code(),
        run.step,
        args.samples
    ));
    print_line(&format!(
        "with respect to the logits, against the exact one ({:.0} ms). τ = {} where there is one.\n",
        lab.exact_ms(),
        args.temperature
    ));
    print_line(
        "  estimator                      cosine   one draw   rel. bias   (floor)   rel. std   ms/draw",
    );
}

/// The estimators asked for, or all that the model can take.
fn choose(args: &EstimatorsArgs, lab: &EstimatorLab<'_, CategoricalVae>) -> Result<Vec<Estimator>> {
    match &args.only {
        None => Ok(Estimator::ALL.into_iter().filter(|&e| lab.takes(e)).collect()),
        Some(chosen) => {
            for &estimator in chosen {
                let reason = match estimator {
                    Estimator::Enumeration => "it is what the others are measured against",
                    _ => "it needs two categories",
                };
                ensure!(lab.takes(estimator), "{estimator} cannot be measured here: {reason}");
            }
            Ok(chosen.clone())
        }
    }
}

fn line(row: &EstimatorMeasurement) -> String {
    format!(
        "  {:<30} {:>6.3}   {:>8.3}   {:>9.3}   {:>7.3}   {:>8.2}   {:>7.2}",
        row.estimator.to_string(),
        row.cosine,
        row.draw_cosine,
        row.relative_bias,
        row.bias_floor,
        row.relative_std,
        row.ms_per_draw
    )
}

fn bars(row: &EstimatorMeasurement) -> EstimatorRow {
    EstimatorRow {
        name: row.estimator.to_string(),
        cosine: row.cosine,
        relative_bias: row.relative_bias,
        bias_floor: row.bias_floor,
        relative_std: row.relative_std,
    }
}

//! `catvae evaluate`.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Result;
use catvae_train::{evaluate as evaluate_model, importance_weighted_bound, stream};
use gumbel_core::Generator;
use indicatif::ProgressBar;

use crate::args::{EvaluateArgs, Part};
use crate::progress::print_line;
use crate::run::{OpenRun, chosen_on};

pub(crate) fn evaluate(args: &EvaluateArgs) -> Result<ExitCode> {
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let images = run.images(&args.run, args.part)?;
    let binarization = run.config.data.binarization;
    // The draws that training evaluates with: the last epoch's numbers come out again.
    let mut generator = Generator::new(run.config.training.seed).stream(stream::EVALUATION);
    let n_draws = NonZeroUsize::new(run.config.training.eval_draws).unwrap_or(NonZeroUsize::MIN);
    let n_draws = args.draws.unwrap_or(n_draws);
    let result =
        evaluate_model(&run.model, &images, binarization, n_draws, &device, &mut generator)?;
    let bound = match args.importance_samples {
        None => None,
        Some(n_samples) => {
            let bar = ProgressBar::new(images.len() as u64);
            let bound = importance_weighted_bound(
                &run.model,
                &images,
                binarization,
                n_samples,
                &device,
                &mut generator,
                |n_done| bar.set_position(n_done as u64),
            )?;
            bar.finish_and_clear();
            Some((n_samples, bound))
        }
    };

    let part = args.part.name();
    let chosen_on = run.is_best.then(|| chosen_on(&run.config));
    if args.json {
        let mut object = serde_json::json!({
            "step": run.step,
            "n_images": images.len(),
            format!("{part}_neg_elbo"): result.neg_elbo,
            format!("{part}_neg_elbo_standard_error"): result.standard_error,
            format!("{part}_bce"): result.bce,
            format!("{part}_kl"): result.kl,
        });
        if let Some(part) = chosen_on {
            object["chosen_on"] = part.name().into();
        }
        if let Some((n_samples, bound)) = bound {
            object["importance_samples"] = n_samples.get().into();
            object[format!("{part}_importance_weighted_bound")] = bound.into();
        }
        print_line(&object.to_string());
    } else {
        print_line(&format!(
            "{} {} images, model of step {}, exact discrete samples, nats per image:",
            images.len(),
            match (&args.run.images, args.part) {
                (Some(_), _) => "given",
                (None, Part::Train) => "training",
                (None, part) => part.name(),
            },
            run.step
        ));
        let error = result.standard_error.map_or(String::new(), |e| format!(" ± {e:.3}"));
        print_line(&format!("  negative ELBO            {:11.3}{error}", result.neg_elbo));
        print_line(&format!("    reconstruction         {:11.3}", result.bce));
        print_line(&format!("    KL to the prior        {:11.3}", result.kl));
        if let Some((n_samples, bound)) = bound {
            let label = format!("bound on -ln p(x), {n_samples} samples");
            print_line(&format!("  {label:<24} {bound:11.3}"));
        }
        match chosen_on {
            Some(Part::Test) if args.part == Part::Test && args.run.images.is_none() => print_line(
                "This checkpoint was chosen on these test images, which flatters it: \
                 catvae train --validation-images N chooses on others.",
            ),
            Some(part) => {
                print_line(&format!("This checkpoint was chosen on the {} images.", part.name()))
            }
            None => (),
        }
    }
    Ok(ExitCode::SUCCESS)
}

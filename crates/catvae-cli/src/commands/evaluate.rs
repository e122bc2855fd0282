//! `catvae evaluate`.

use std::process::ExitCode;

use anyhow::Result;
use catvae_train::{evaluate as evaluate_model, importance_weighted_bound, stream};
use gumbel_core::Generator;
use indicatif::ProgressBar;

use crate::args::{EvaluateArgs, Part};
use crate::progress::print_line;
use crate::run::OpenRun;

pub(crate) fn evaluate(args: &EvaluateArgs) -> Result<ExitCode> {
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let test = run.images(&args.run, Part::Test)?;
    let binarization = run.config.data.binarization;
    // The draws that training evaluates with: the last epoch's numbers come out again.
    let mut generator = Generator::new(run.config.training.seed).stream(stream::EVALUATION);
    let result = evaluate_model(&run.model, &test, binarization, &device, &mut generator)?;
    let bound = match args.importance_samples {
        None => None,
        Some(n_samples) => {
            let bar = ProgressBar::new(test.len() as u64);
            let bound = importance_weighted_bound(
                &run.model,
                &test,
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

    if args.json {
        let mut object = serde_json::json!({
            "step": run.step,
            "n_images": test.len(),
            "test_neg_elbo": result.neg_elbo,
            "test_bce": result.bce,
            "test_kl": result.kl,
        });
        if let Some((n_samples, bound)) = bound {
            object["importance_samples"] = n_samples.get().into();
            object["test_importance_weighted_bound"] = bound.into();
        }
        print_line(&object.to_string());
    } else {
        print_line(&format!(
            "{} {} images, model of step {}, exact discrete samples, nats per image:",
            test.len(),
            if args.run.images.is_some() { "given" } else { "test" },
            run.step
        ));
        print_line(&format!("  negative ELBO            {:11.3}", result.neg_elbo));
        print_line(&format!("    reconstruction         {:11.3}", result.bce));
        print_line(&format!("    KL to the prior        {:11.3}", result.kl));
        if let Some((n_samples, bound)) = bound {
            let label = format!("bound on -ln p(x), {n_samples} samples");
            print_line(&format!("  {label:<24} {bound:11.3}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

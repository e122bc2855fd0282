//! `catvae latents`.

use std::process::ExitCode;

use anyhow::Result;
use catvae_model::Code;
use catvae_train::{LatentUse, latent_statistics};

use crate::args::{LatentsArgs, Part};
use crate::grid::{FIGURE, prepare};
use crate::plot::draw_latents;
use crate::progress::print_line;
use crate::run::OpenRun;

pub(crate) fn latents(args: &LatentsArgs) -> Result<ExitCode> {
    prepare(args.out.as_deref(), FIGURE)?;
    let device = args.run.device.open()?;
    let mut run = OpenRun::open(&args.run.run, args.run.checkpoint, &device)?;
    let images = run.images(&args.run, Part::Test)?;
    let found = latent_statistics(&run.model, &images, run.config.data.binarization, &device)?;
    if let Some(path) = &args.out {
        let tau = run.config.temperature.at(run.step.saturating_sub(1));
        draw_latents(&format!("{}, trained at τ = {tau}", run.name()), &found, path)?;
    }
    if args.json {
        let mut object = serde_json::to_value(&found)?;
        object["step"] = run.step.into();
        print_line(&object.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    print_line(&format!(
        "{} images, model of step {}; nats, means over images\n",
        found.n_images, run.step
    ));
    if let Code::Subset { n, .. } = run.config.model.code {
        print_line(&format!(
            "A latent is an item: whether it is in its subset. Subset 0 has 0 to {}.\n",
            n - 1
        ));
    }
    print_line("  latent   perplexity      KL   entropy   I(z; image)   I(z; label)");
    let mut order: Vec<(usize, &LatentUse)> = found.latents.iter().enumerate().collect();
    order.sort_by(|a, b| b.1.information.total_cmp(&a.1.information));
    for (i, latent) in order {
        print_line(&line(i, latent));
    }
    let n_dead = found.latents.iter().filter(|latent| latent.is_dead()).count();
    print_line(&format!(
        "\n{n_dead} of {} are dead; KL of the code {:.3}",
        found.latents.len(),
        found.kl
    ));
    if let Some(path) = &args.out {
        print_line(&format!("{}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(i: usize, latent: &LatentUse) -> String {
    let label = latent.label_information.map_or("-".to_owned(), |x| format!("{x:.3}"));
    format!(
        "  {i:>6}   {:>10.2}   {:>5.3}   {:>7.3}   {:>11.3}   {label:>11}{}",
        latent.perplexity,
        latent.kl,
        latent.entropy,
        latent.information,
        if latent.is_dead() { "   dead" } else { "" }
    )
}

//! `catvae export`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use candle_core::Device;
use catvae_model::Code;
use catvae_train::RunDir;
use serde_json::json;

use crate::args::{DeviceName, ExportArgs, Format, Part, RunArgs};
use crate::explorer::{self, Exhibit};
use crate::grid::write_file;
use crate::progress::{print_line, warn};
use crate::run::OpenRun;
use crate::{onnx, tensorboard};

const WEIGHTS: &str = "model.safetensors";

pub(crate) fn export(args: &ExportArgs) -> Result<ExitCode> {
    let mut run = OpenRun::open(&args.run, args.checkpoint, &Device::Cpu)?;
    let out = run.out(args.out.as_deref(), "export");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let write = |name: &str, bytes: &[u8]| -> Result<()> {
        write_file(&out.join(name), bytes)?;
        print_line(&format!("{}", out.join(name).display()));
        Ok(())
    };
    let weights = || read(&run.checkpoint.join(WEIGHTS));
    if matches!(args.format, Format::Safetensors | Format::Hf) {
        write(WEIGHTS, &weights()?)?;
    }
    match (args.format, onnx::encoder(&run.model)) {
        (Format::Onnx | Format::Hf, Ok(encoder)) => {
            write("encoder.onnx", &encoder)?;
            write("decoder.onnx", &onnx::decoder(&run.model)?)?;
        }
        (Format::Onnx, Err(error)) => return Err(error),
        // The rest of the folder is worth having.
        (Format::Hf, Err(error)) => warn(&format!("warning: no ONNX files are written: {error:#}")),
        (Format::Safetensors | Format::Html, _) => {}
    }
    if args.format == Format::Hf {
        let config = serde_json::to_string_pretty(&run.config.model)?;
        write("config.json", (config + "\n").as_bytes())?;
        write("README.md", card(&run)?.as_bytes())?;
        let events = run.path.join(tensorboard::FILE);
        if events.is_file() {
            write(tensorboard::FILE, &read(&events)?)?;
        }
    }
    match args.format {
        Format::Html => page(args, &mut run, &out)?,
        // The rest of the folder is worth having where the images are not to be had.
        Format::Hf => {
            if let Err(error) = page(args, &mut run, &out) {
                warn(&format!("warning: index.html is not written: {error:#}"));
            }
        }
        Format::Safetensors | Format::Onnx => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The explorer, as the page that a web server shows for the folder.
fn page(args: &ExportArgs, run: &mut OpenRun, out: &Path) -> Result<()> {
    let of_images = RunArgs {
        run: args.run.clone(),
        checkpoint: args.checkpoint,
        data_dir: args.data_dir.clone(),
        images: None,
        device: DeviceName::Cpu,
    };
    let images = run.images(&of_images, Part::Test)?;
    let folder = RunDir::new(&run.path);
    let exhibit = Exhibit { run: &folder, config: &run.config, model: &run.model, step: run.step };
    let path = out.join("index.html");
    explorer::write(&[exhibit], &images, None, &Device::Cpu, &path)?;
    print_line(&format!("{}", path.display()));
    Ok(())
}

/// The model card. It names no licence: that is for those who publish the model to choose.
fn card(run: &OpenRun) -> Result<String> {
    let config = &run.config;
    let metrics = RunDir::new(&run.path).metrics().read()?;
    let measured = metrics.iter().rfind(|m| m.step <= run.step && m.test_neg_elbo.is_some());
    let dataset = &config.data.dataset;
    // JSON strings are YAML's too, whatever a path holds.
    let quoted = |text: &str| json!(text).to_string();
    let (mut results, mut sentence) = (String::new(), String::new());
    if let Some((m, elbo)) = measured.and_then(|m| Some((m, m.test_neg_elbo?))) {
        results = format!(
            "model-index:\n- name: catvae\n  results:\n  - task:\n      type: image-reconstruction\n    dataset:\n      name: {0}\n      \
             type: {0}\n      split: test\n    metrics:\n    - type: negative-elbo\n      name: negative ELBO with exact samples, nats per \
             image\n      value: {elbo}\n",
            quoted(dataset)
        );
        sentence = format!(
            "After epoch {} the test images have a negative ELBO of {elbo:.2} nats.\n",
            m.epoch
        );
    }
    let [rows, cols] = run.image_shape()?;
    let (tag, page, graphs) = match config.model.code {
        Code::Categories => (
            "- onnx\n",
            "| `index.html` | the explorer: open it in a browser |\n",
            "| `encoder.onnx` | pixels in [0, 1] to logits, probabilities and the most probable codes, which are no samples |\n| \
             `decoder.onnx` | codes to logits and means of the pixels |\n",
        ),
        Code::Chain | Code::Subset { .. } => ("", "", ""),
    };
    Ok(format!(
        "---\nlibrary_name: catvae\ntags:\n- categorical-vae\n- discrete-latents\n- gumbel-softmax\n{tag}{results}---\n\n# A \
         categorical VAE\n\nImages of {rows} x {cols} pixels as {}; {} network, {} pixels, trained on \
         {} with `{}`, seed {}.\n{sentence}\n| file | is |\n|---|---|\n{page}| \
         `model.safetensors`, `config.json` | weights with PyTorch's names and layouts, and what they belong to |\n{graphs}\n## Settings\n\n```toml\n{}```\n",
        config.model.describe_code(),
        config.model.network.name(),
        config.model.likelihood.name(),
        dataset,
        config.estimator,
        config.training.seed,
        config.to_toml()?
    ))
}

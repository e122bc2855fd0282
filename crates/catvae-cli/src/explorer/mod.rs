//! The explorer: a page on which a run's code can be flipped, drawn and looked into. One file that carries the models,
//! test images and all that it does, and needs neither server nor network.

mod model;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use catvae_data::{Binarization, ImageSet};
use catvae_model::{CategoricalVae, Code};
use catvae_train::{RunDir, TrainConfig, latent_statistics};
use serde_json::{Value, json};

use crate::grid::write_file;
use crate::pictures;

/// What the page is made of. Modules come in the order of their imports, and share one scope.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const MODULES: [&str; 10] = [
    include_str!("network.js"),
    include_str!("page.js"),
    include_str!("state.js"),
    include_str!("draw.js"),
    include_str!("code.js"),
    include_str!("latents.js"),
    include_str!("temperature.js"),
    include_str!("walk.js"),
    include_str!("report.js"),
    include_str!("main.js"),
];

/// Test images in a page, unless a flag says otherwise; fewer where they are large.
const IMAGES: usize = 500;
/// Pixels of all of them.
const PIXELS: usize = 1 << 20;

/// A trained model on show.
pub(crate) struct Exhibit<'a> {
    pub(crate) run: &'a RunDir,
    pub(crate) config: &'a TrainConfig,
    pub(crate) model: &'a CategoricalVae,
    /// Steps that it was trained for.
    pub(crate) step: u64,
}

/// Where the page of a run lies.
pub(crate) fn path_in(run: &RunDir) -> PathBuf {
    run.path().join("explorer.html")
}

/// Writes the page of one model, or of two beside each other, with test images of the first.
pub(crate) fn write(
    exhibits: &[Exhibit],
    images: &ImageSet,
    n_images: Option<usize>,
    device: &Device,
    path: &Path,
) -> Result<()> {
    let first = exhibits.first().context("there is no run to show")?;
    for Exhibit { config, .. } in exhibits {
        let code = config.model.code;
        ensure!(code == Code::Categories, "the explorer shows codes of categories, not `{code}`");
    }
    let binarization = first.config.data.binarization;
    let runs = exhibits.iter().map(|exhibit| exhibit.json(images, device));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let fitting = (PIXELS / images.pixels_per_image()).clamp(1, IMAGES);
    let shown = images.take(n_images.unwrap_or(fitting));
    let data = json!({ "runs": runs, "images": images_json(&shown, binarization)? });
    let names: Vec<_> = exhibits.iter().map(Exhibit::name).collect();
    let title = format!("{} · catvae", names.join(" and "));
    write_file(path, page(&title, &data)?.as_bytes())
}

impl Exhibit<'_> {
    fn name(&self) -> String {
        let path = self.run.path();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.file_name().map_or("run".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    fn json(&self, images: &ImageSet, device: &Device) -> Result<Value> {
        let Self { run, config, model, step } = self;
        let widths: Vec<_> = config.model.encoder_widths()?.iter().map(usize::to_string).collect();
        Ok(json!({
            "name": self.name(),
            "step": step,
            "summary": format!(
                "{}, {} {}, {}", config.data.dataset, config.model.network.name(), widths.join("-"), config.estimator
            ),
            "isExact": config.estimator.samples_are_exact(),
            "metrics": run.metrics().read()?,
            "settings": settings_of(config)?,
            "latents": latent_statistics(*model, images, config.data.binarization, device)?,
            "model": model::layers(config, model)?,
            "weights": model::weights(model)?,
        }))
    }
}

/// Every setting with its value, as in `config.toml`.
pub(crate) fn settings_of(config: &TrainConfig) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    flatten("", &toml::Value::try_from(config)?, &mut settings);
    Ok(settings)
}

fn flatten(prefix: &str, value: &toml::Value, settings: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{key}"), value, settings);
            }
        }
        toml::Value::String(text) => settings.push((prefix.to_owned(), text.clone())),
        other => settings.push((prefix.to_owned(), other.to_string())),
    }
}

/// Images as the model sees them in an evaluation, a byte a pixel.
fn images_json(images: &ImageSet, binarization: Binarization) -> Result<Value> {
    let batches = pictures::batches(images, 1000, binarization);
    let bytes = batches.flat_map(|batch| batch.images).map(|v| (v * 255.0).round() as u8);
    let pixels = model::packed(&bytes.collect::<Vec<u8>>())?;
    let binarized = !matches!(binarization, Binarization::Grey);
    Ok(
        json!({ "n": images.len(), "pixels": pixels, "labels": images.labels(), "binarized": binarized }),
    )
}

/// Fills the page's places. Each comes once, and what is put in is not looked at again.
fn page(title: &str, data: &Value) -> Result<String> {
    // Inside of an element, `<` could begin another one.
    let data = data.to_string().replace('<', "\\u003c");
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let script: String = MODULES.iter().map(|module| without_modules(module)).collect();
    let places =
        [("title", title.as_str()), ("style", STYLE), ("data", &data), ("script", &script)];
    let (mut page, mut rest) = (String::new(), PAGE);
    for (place, text) in places {
        let (before, after) = rest
            .split_once(&format!("{{{{{place}}}}}"))
            .with_context(|| format!("the page has no place for its {place}"))?;
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    ensure!(!rest.contains("{{"), "the page has a place that nothing fills");
    Ok(page + rest)
}

/// A module for the scope that all share.
fn without_modules(module: &str) -> String {
    let lines = module.lines().filter(|line| !line.starts_with("import "));
    lines.map(|line| format!("{}\n", line.strip_prefix("export ").unwrap_or(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_filled_and_loads_nothing() {
        let data = json!({ "name": "</script><img src=x>" });
        let page = page("a < b & {{data}}", &data).unwrap();
        assert!(page.contains("<title>a &lt; b &amp; {{data}}</title>"));
        assert!(page.contains(r#"{"name":"\u003c/script>\u003cimg src=x>"}"#));
        for loading in ["\nimport ", "\nexport ", "<script src", "@import", "url(", "fetch("] {
            assert!(!page.contains(loading), "{loading}");
        }
        for (i, _) in page.match_indices("http") {
            let names = ["http-equiv", "http://www.w3.org/2000/svg"];
            assert!(names.iter().any(|name| page[i..].starts_with(name)), "{}", &page[i..i + 40]);
        }
    }

    #[test]
    fn settings_are_listed_under_their_names() {
        let mut settings = Vec::new();
        let value = toml::toml! { a = 1
        [b]
        c = "x" };
        flatten("", &value.into(), &mut settings);
        let expected = [("a", "1"), ("b.c", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(settings, expected);
    }
}

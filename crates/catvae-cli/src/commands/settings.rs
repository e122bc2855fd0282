//! From flags and a file to the configuration of a run: flag before file before default.

use std::path::Path;

use anyhow::{Context, Result, bail};
use catvae_model::{Code, ModelConfig};
use catvae_train::{RunDir, Setting, TrainConfig};
use gumbel_core::TemperatureSchedule;
use toml::{Table, Value};

use crate::args::ScheduleArgs;
use crate::data;
use crate::flags::Flags;

/// What flags are put over where no run is gone on with: a file, or the defaults with the model whose weights are taken.
pub(crate) fn starting_point(file: Option<&Path>, weights: Option<&Path>) -> Result<TrainConfig> {
    match file {
        Some(path) => Ok(TrainConfig::read(path)?),
        None => {
            let model = weights.map(model_of).transpose()?.flatten();
            Ok(TrainConfig { model: model.unwrap_or_default(), ..TrainConfig::default() })
        }
    }
}

/// What the model of a run is built from, or that of a file with the config.json of `catvae export` beside it.
fn model_of(weights: &Path) -> Result<Option<ModelConfig>> {
    if weights.is_dir() {
        return Ok(Some(RunDir::new(weights).read_config()?.model));
    }
    let path = weights.with_file_name("config.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let model = serde_json::from_slice(&bytes);
            Ok(Some(model.with_context(|| format!("cannot read {}", path.display()))?))
        }
        Err(_) => Ok(None),
    }
}

/// Puts the flags that were given over `config`. In a `fresh` one, a folder alone says which images are meant.
pub(crate) fn apply(flags: &Flags, fresh: bool, config: &mut TrainConfig) -> Result<()> {
    flags.apply(config)?;
    if let (Code::Subset { .. }, Some(value)) =
        (config.model.code, flags.text("model.n_categories"))
    {
        let (field, value) = ("model.n_categories", value.to_owned());
        let range = "left out for subsets, whose items are the n of the code";
        return Err(catvae_train::Error::Setting { field, range, value }.into());
    }
    data::fold_case(&mut config.data);
    if flags.give("data.data_dir") {
        let folder = config.data.data_dir.take().unwrap_or_default();
        if !flags.give("data.dataset") && fresh {
            config.data.dataset = last_name(&folder).unwrap_or_default();
        }
        data::set_folder(&mut config.data, Some(&folder))?;
    }
    Ok(())
}

/// The text of a configuration with the meaning of every setting above it.
pub(crate) fn commented(toml: &str) -> String {
    let (mut section, mut text) = (String::new(), String::new());
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let key = line.split_once(" = ").map(|(field, _)| format!("{section}{field}"));
        if let Some(setting) = key.and_then(|key| Setting::named(&key)) {
            text.push_str(&format!("# {}\n", setting.help.trim()));
        }
        text.push_str(&format!("{line}\n"));
    }
    text
}

fn last_name(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    Some(folder.file_name()?.to_string_lossy().into_owned())
}

/// The fields of each kind of schedule, and the flag of each.
const SCHEDULES: [(&str, &[(&str, &str)]); 4] = [
    ("constant", &[("value", "")]),
    ("linear", &[("init", ""), ("end", "-end"), ("steps", "-steps")]),
    ("cosine", &[("init", ""), ("end", "-end"), ("steps", "-steps")]),
    ("exponential", &[("init", ""), ("min", "-end"), ("rate", "-rate"), ("every", "-every")]),
];

/// The schedule of the temperature that the flags describe; `n_steps` is the length of the run. What no flag
/// says is taken from the schedule so far, where that has such a field.
pub(crate) fn schedule(
    args: &ScheduleArgs,
    current: TemperatureSchedule,
    n_steps: u64,
) -> Result<TemperatureSchedule> {
    let current = Table::try_from(current)?;
    let fields_of = |kind: &str| SCHEDULES.iter().find(|(name, _)| *name == kind).map(|s| s.1);
    let kind = args.schedule.as_deref().or(current.get("kind").and_then(Value::as_str));
    let kind = kind.unwrap_or("constant");
    let fields = fields_of(kind).unwrap_or_default();
    let before = current.get("kind").and_then(Value::as_str).and_then(fields_of);
    let flags: [(&str, Option<Value>, Value); 5] = [
        ("", args.temperature.map(Value::from), 1.0.into()),
        ("-end", args.temperature_end.map(Value::from), 0.5.into()),
        ("-steps", args.temperature_steps.map(Value::from), Value::from(n_steps as i64)),
        ("-rate", args.temperature_rate.map(Value::from), 3e-5.into()),
        ("-every", args.temperature_every.map(Value::from), 1000.into()),
    ];
    let mut table = Table::from_iter([("kind".to_owned(), kind.into())]);
    for (flag, given, default) in flags {
        match (fields.iter().find(|field| field.1 == flag), given) {
            (Some((field, _)), given) => {
                let of_flag = |fields: &'static [(&str, &str)]| fields.iter().find(|f| f.1 == flag);
                let so_far = before.and_then(of_flag).and_then(|f| current.get(f.0)).cloned();
                table.insert((*field).to_owned(), given.or(so_far).unwrap_or(default));
            }
            (None, Some(_)) => bail!(
                "--temperature{flag} does not go with this schedule: choose one that has it with --schedule"
            ),
            (None, None) => (),
        }
    }
    Ok(table.try_into()?)
}

//! Checkpoints: on the disk complete or absent, and never believed without a check.
//!
//! A checkpoint is a folder `step-000000600` with the model and the optimiser as safetensors files,
//! a `state.json` that holds everything else, and the `SHA256SUMS` of these three. It is written beside
//! its place, synced, and renamed into it.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use catvae_model::{Model, ModelConfig, ModelSettings, Parameter, from_state_dict};
use gumbel_core::GeneratorState;
use gumbel_core::estimators::EstimatorState;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::durable::{create_child_synced, open_regular, sync_dir, write_synced};
use crate::error::io;
use crate::sums::Sums;
use crate::{Error, Moments, OptimizerKind, Result};

/// Version of the format; older ones are still read.
const FORMAT: u32 = 2;

pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
pub(crate) const STATE: &str = "state.json";
pub(crate) const SUMS: &str = "SHA256SUMS";
/// All that a checkpoint's folder holds. A folder with anything else in it is not ours, and stays. They are removed in
/// this order: what holds a `state.json` is a checkpoint, however much of it is gone.
const FILES: [&str; 4] = [MODEL, OPTIMIZER, SUMS, STATE];

/// The best checkpoint, by [`EpochMetrics::chosen_by`](crate::EpochMetrics::chosen_by).
const BEST: &str = "best";
/// Before the name of a checkpoint that is being written.
const INCOMING: &str = ".incoming-";
/// Before the name of a checkpoint that another one takes the place of.
const OUTGOING: &str = ".outgoing-";

/// How far a run has come, and all that its next step depends on besides the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps taken since the start of the run.
    pub step: u64,
    /// Epochs completed.
    pub epochs_done: usize,
    /// Batches of the current epoch that are done.
    pub batches_done: usize,
    /// Images of the current epoch that are done.
    pub n_images: u64,
    /// Sum over these images of the relaxed objective's cross-entropy.
    pub sum_bce: f64,
    /// Sum over these images of the KL.
    pub sum_kl: f64,
    /// Sum over these images of the unrelaxed objective's cross-entropy.
    pub sum_bce_unrelaxed: f64,
    /// Seconds of training in the current epoch.
    pub train_seconds: f64,
}

impl Position {
    /// A run must not be resumed to end before the point where it is: its configuration would be that of
    /// another run.
    pub(crate) fn check_epochs(&self, epochs: usize) -> Result<()> {
        let begun = self.epochs_done + usize::from(self.batches_done > 0);
        match epochs < begun {
            true => Err(Error::FewerEpochs { begun, epochs }),
            false => Ok(()),
        }
    }
}

/// `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    format: u32,
    version: String,
    position: Position,
    noise: GeneratorState,
    unrelaxed_noise: GeneratorState,
    estimator_state: EstimatorState,
    optimizer: OptimizerKind,
    optimizer_steps: u64,
}

/// What a trainer hands over to be kept.
pub(crate) struct Snapshot<'a> {
    pub(crate) parameters: &'a [Parameter],
    pub(crate) moments: &'a [Moments],
    pub(crate) optimizer: OptimizerKind,
    pub(crate) moment: &'a Moment,
}

/// All that a step changes besides the tensors.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) position: Position,
    pub(crate) optimizer_steps: u64,
    pub(crate) estimator_state: EstimatorState,
    pub(crate) noise: GeneratorState,
    pub(crate) unrelaxed_noise: GeneratorState,
}

/// A checkpoint that passed every check.
#[derive(Debug)]
pub struct LoadedCheckpoint<S: ModelSettings = ModelConfig> {
    /// Its folder.
    pub path: PathBuf,
    /// How far the run had come.
    pub position: Position,
    /// The model.
    pub model: S::Model,
    /// What the estimator had learnt.
    pub estimator_state: EstimatorState,
    /// State of the noise for the relaxed samples.
    pub noise: GeneratorState,
    /// State of the noise for the unrelaxed samples.
    pub unrelaxed_noise: GeneratorState,
    /// The optimiser's rule.
    pub optimizer: OptimizerKind,
    /// The optimiser's number of steps.
    pub optimizer_steps: u64,
    /// The optimiser's moments, in the order of the model's parameters.
    pub moments: Vec<Moments>,
}

/// The part of a checkpoint that is enough to use the model; the optimiser's file is not read for it.
#[derive(Debug)]
pub struct LoadedModel<S: ModelSettings = ModelConfig> {
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// How far the run had come.
    pub position: Position,
    /// The model.
    pub model: S::Model,
}

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    pub(crate) path: PathBuf,
}

impl Checkpoints {
    /// The checkpoints in `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Steps and folders, newest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for (name, path) in self.entries()? {
            // One that was being replaced when the process died still stands for its step.
            let name = match name.strip_prefix(OUTGOING) {
                Some(name) if !self.path.join(name).exists() => name,
                _ => &name,
            };
            if let Some(step) = name.strip_prefix("step-").and_then(|n| n.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Writes a checkpoint, and removes all but the newest `keep` and those of later steps: a run
    /// that writes this one was resumed from before them, since they could not be used. A folder that
    /// holds anything else than a checkpoint is never removed.
    ///
    /// # Errors
    /// [`Error::Io`], for instance on a full disk; the older checkpoints are then untouched.
    pub(crate) fn save(&self, snapshot: &Snapshot, keep: usize) -> Result<PathBuf> {
        let step = snapshot.moment.position.step;
        let place = self.write(&format!("step-{step:09}"), snapshot)?;
        let (up_to_here, later): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().filter(is_checkpoint).partition(|(found, _)| *found <= step);
        for (_, old) in later.into_iter().chain(up_to_here.into_iter().skip(keep.max(1))) {
            remove(&old)?;
        }
        Ok(place)
    }

    /// Writes the checkpoint that [`Self::load_best`] loads; [`Self::save`] never removes it.
    ///
    /// # Errors
    /// [`Error::Io`]; the best one before is then untouched.
    pub(crate) fn save_best(&self, snapshot: &Snapshot) -> Result<PathBuf> {
        self.write(BEST, snapshot)
    }

    /// Writes a checkpoint as `name`, in place of the one of that name if there is one.
    fn write(&self, name: &str, snapshot: &Snapshot) -> Result<PathBuf> {
        create_child_synced(&self.path)?;
        self.clear_leftovers()?;
        let place = self.path.join(name);
        let incoming = self.path.join(format!("{INCOMING}{name}"));
        let written = write_folder(&incoming, snapshot).and_then(|()| {
            // A folder cannot be renamed over another one that holds something.
            if place.exists() {
                if !holds_only_ours(&place) {
                    let message = "it holds something else than a checkpoint";
                    return Err(io("cannot replace", &place)(std::io::Error::other(message)));
                }
                let outgoing = self.path.join(format!("{OUTGOING}{name}"));
                match fs::rename(&place, &outgoing) {
                    // In a container, a folder that came with its image cannot be moved, but removed.
                    Err(error) if error.kind() == ErrorKind::CrossesDevices => remove(&place)?,
                    moved => moved.map_err(io("cannot rename", &place))?,
                }
            }
            fs::rename(&incoming, &place).map_err(io("cannot rename to", &place))
        });
        if let Err(error) = written {
            // Room for the next attempt, and the old one back in its place; the error to report
            // is the first one.
            let _ = self.clear_leftovers();
            return Err(error);
        }
        sync_dir(&self.path)?;
        self.clear_leftovers()?;
        Ok(place)
    }

    /// Removes what an attempt to write left behind, and puts a checkpoint back that was moved out
    /// of the way of one that never came.
    fn clear_leftovers(&self) -> Result<()> {
        for (name, path) in self.entries()? {
            let replaced = name.strip_prefix(OUTGOING).map(|name| self.path.join(name));
            match replaced {
                Some(place) if !place.exists() => {
                    fs::rename(&path, &place).map_err(io("cannot rename to", &place))?;
                }
                _ if (replaced.is_some() || name.starts_with(INCOMING))
                    && holds_only_ours(&path) =>
                {
                    remove(&path)?;
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// Names and paths of what lies in the folder; nothing where there is none.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("cannot read", &self.path)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io("cannot read", &self.path))?;
            if let Ok(name) = entry.file_name().into_string() {
                found.push((name, entry.path()));
            }
        }
        Ok(found)
    }

    /// Loads the best checkpoint of the run so far.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] when none was kept; [`Error::DamagedCheckpoint`],
    /// [`Error::NewerCheckpoint`], a model of another shape.
    pub fn load_best<S: ModelSettings>(
        &self,
        config: &S,
        device: &Device,
    ) -> Result<LoadedModel<S>> {
        let path = self.path.join(BEST);
        let replaced = self.path.join(format!("{OUTGOING}{BEST}"));
        match (path.is_dir(), replaced.is_dir()) {
            (true, _) => load_model(&path, config, device),
            (false, true) => load_model(&replaced, config, device),
            (false, false) => Err(Error::NoCheckpoint { path }),
        }
    }

    /// Loads the newest checkpoint that is whole. `on_damage` is told of each newer one that is
    /// not.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`], [`Error::NoUsableCheckpoint`]; [`Error::NewerCheckpoint`] and a
    /// model of another shape end the search at once: those are no damage.
    pub fn load_newest<S: ModelSettings>(
        &self,
        config: &S,
        device: &Device,
        on_damage: impl FnMut(&Error),
    ) -> Result<LoadedCheckpoint<S>> {
        self.newest(|folder| parse(folder, config, device, files_in(folder, config)), on_damage)
    }

    /// As [`Self::load_newest`], for those who only use the model: the optimiser's file may be missing.
    ///
    /// # Errors
    /// As [`Self::load_newest`].
    pub fn load_newest_model<S: ModelSettings>(
        &self,
        config: &S,
        device: &Device,
        on_damage: impl FnMut(&Error),
    ) -> Result<LoadedModel<S>> {
        self.newest(|folder| load_model(folder, config, device), on_damage)
    }

    fn newest<T>(
        &self,
        load: impl Fn(&Path) -> Result<T>,
        mut on_damage: impl FnMut(&Error),
    ) -> Result<T> {
        loop {
            let found = self.list()?;
            if found.is_empty() {
                return Err(Error::NoCheckpoint { path: self.path.clone() });
            }
            let mut reasons = Vec::new();
            for (_, path) in &found {
                match load(path) {
                    Ok(loaded) => return Ok(loaded),
                    Err(error @ (Error::DamagedCheckpoint { .. } | Error::Io { .. })) => {
                        on_damage(&error);
                        reasons.push(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
            // A trainer may have replaced all of them meanwhile.
            if self.list()? == found {
                return Err(Error::NoUsableCheckpoint { path: self.path.clone(), reasons });
            }
        }
    }
}

/// Whether a folder holds nothing but files of a checkpoint.
fn holds_only_ours(folder: &Path) -> bool {
    let is_folder = folder.symlink_metadata().is_ok_and(|found| found.is_dir());
    is_folder
        && fs::read_dir(folder).is_ok_and(|mut entries| {
            entries
                .all(|entry| entry.is_ok_and(|e| FILES.iter().any(|&file| e.file_name() == file)))
        })
}

fn is_checkpoint((_, folder): &(u64, PathBuf)) -> bool {
    folder.join(STATE).is_file() && holds_only_ours(folder)
}

/// Removes a checkpoint file by file, so that nothing else can go with it.
fn remove(folder: &Path) -> Result<()> {
    for path in FILES.map(|file| folder.join(file)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io("cannot remove", &path)(error));
            }
            _ => (),
        }
    }
    fs::remove_dir(folder).map_err(io("cannot remove", folder))
}

fn write_folder(folder: &Path, snapshot: &Snapshot) -> Result<()> {
    let Snapshot { parameters, moments, optimizer, moment } = *snapshot;
    for parameter in parameters {
        let weights = parameter.var.flatten_all()?.to_vec1::<f32>()?;
        if !weights.iter().all(|weight| weight.is_finite()) {
            let (parameter, step) = (parameter.name.clone(), moment.position.step);
            return Err(Error::WorthlessModel { parameter, step });
        }
    }
    fs::create_dir(folder).map_err(io("cannot create", folder))?;
    let model: Vec<_> =
        parameters.iter().map(|p| (p.name.clone(), p.var.as_tensor().clone())).collect();
    let mut averages = Vec::new();
    for (parameter, m) in parameters.iter().zip(moments) {
        averages.push((format!("{}.exp_avg", parameter.name), m.exp_avg.as_tensor().clone()));
        averages.push((format!("{}.exp_avg_sq", parameter.name), m.exp_avg_sq.as_tensor().clone()));
    }
    let mut sums = Sums::default();
    let mut write = |file: &str, bytes: &[u8]| {
        sums.add(file, bytes);
        write_synced(&folder.join(file), bytes)
    };
    for (file, tensors) in [(MODEL, model), (OPTIMIZER, averages)] {
        write(file, &to_safetensors(&folder.join(file), &tensors)?)?;
    }
    let state = State {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        position: moment.position.clone(),
        noise: moment.noise.clone(),
        unrelaxed_noise: moment.unrelaxed_noise.clone(),
        estimator_state: moment.estimator_state,
        optimizer,
        optimizer_steps: moment.optimizer_steps,
    };
    let path = folder.join(STATE);
    let text = serde_json::to_string_pretty(&state)
        .map_err(|error| io("cannot write", &path)(std::io::Error::other(error)))?;
    // JSON has no NaN: what could not be read again must not push out what can.
    parse_state(text.as_bytes(), &path)?;
    write(STATE, text.as_bytes())?;
    write_synced(&folder.join(SUMS), sums.to_string().as_bytes())?;
    sync_dir(folder)
}

fn to_safetensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let mut bytes_of = Vec::with_capacity(tensors.len());
    for (_, tensor) in tensors {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        bytes_of.push(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    let invalid =
        |e: safetensors::SafeTensorError| io("cannot write", path)(std::io::Error::other(e));
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), bytes) in tensors.iter().zip(&bytes_of) {
        let view = TensorView::new(Dtype::F32, tensor.dims().to_vec(), bytes)
            .map_err(|e| io("cannot write", path)(std::io::Error::other(e)))?;
        views.push((name, view));
    }
    // One key of metadata only: several come out in random order.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(invalid)
}

/// Bytes for all of a file besides its tensors.
const MOST_TEXT: u64 = 1 << 20;

/// Reads files of a checkpoint by their names. What is larger than a model of these settings needs is not read.
fn files_in(folder: &Path, config: &impl ModelSettings) -> impl Fn(&str) -> Result<Vec<u8>> {
    let n_parameters = config.n_parameters();
    move |file| {
        let path = folder.join(file);
        let values = match (file, n_parameters) {
            (MODEL, Some(n)) => n as u64,
            (OPTIMIZER, Some(n)) => 2 * n as u64,
            (MODEL | OPTIMIZER, None) => u64::MAX / 8,
            _ => 0,
        };
        let most = 4 * values + MOST_TEXT;
        let mut file = open_regular(&path).map_err(io("cannot read", &path))?;
        let mut bytes = Vec::new();
        file.by_ref().take(most + 1).read_to_end(&mut bytes).map_err(io("cannot read", &path))?;
        match bytes.len() as u64 > most {
            true => Err(damaged(&path)(format!(
                "it has more than {most} bytes, and a model of these settings needs fewer"
            ))),
            false => Ok(bytes),
        }
    }
}

fn load_model<S: ModelSettings>(
    folder: &Path,
    config: &S,
    device: &Device,
) -> Result<LoadedModel<S>> {
    let (state, model, _) = parse_model(folder, config, device, &files_in(folder, config))?;
    Ok(LoadedModel { path: folder.to_owned(), position: state.position, model })
}

fn parse_model<S: ModelSettings>(
    folder: &Path,
    config: &S,
    device: &Device,
    read: &impl Fn(&str) -> Result<Vec<u8>>,
) -> Result<(State, S::Model, Sums)> {
    let path = folder.join(STATE);
    let state = read(STATE)?;
    let sums = sums_of(folder, &state, read)?;
    // First of all: a flipped bit must not pass for a newer format.
    sums.check(STATE, &state).map_err(damaged(&path))?;
    let state = parse_state(&state, &path)?;
    let weights = parse_tensors(folder, MODEL, &sums, device, read)?;
    Ok((state, from_state_dict(config, weights, device)?, sums))
}

fn sums_of(folder: &Path, state: &[u8], read: &impl Fn(&str) -> Result<Vec<u8>>) -> Result<Sums> {
    match read(SUMS) {
        Ok(bytes) => Sums::parse(&bytes).map_err(damaged(&folder.join(SUMS))),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let message = "SHA256SUMS is missing beside it, and it holds no checksums of its own";
            Sums::of_format_1(state).ok_or_else(|| damaged(&folder.join(STATE))(message.to_owned()))
        }
        Err(error) => Err(error),
    }
}

fn damaged(path: &Path) -> impl Fn(String) -> Error {
    |message| Error::DamagedCheckpoint { path: path.to_owned(), message }
}

/// The tensors of a file with the right checksum.
fn parse_tensors(
    folder: &Path,
    file: &str,
    sums: &Sums,
    device: &Device,
    read: &impl Fn(&str) -> Result<Vec<u8>>,
) -> Result<HashMap<String, Tensor>> {
    let bytes = read(file)?;
    sums.check(file, &bytes)
        .and_then(|()| from_safetensors(&bytes, device))
        .map_err(damaged(&folder.join(file)))
}

/// Loads and checks a checkpoint whose files `read` gives.
pub(crate) fn parse<S: ModelSettings>(
    folder: &Path,
    config: &S,
    device: &Device,
    read: impl Fn(&str) -> Result<Vec<u8>>,
) -> Result<LoadedCheckpoint<S>> {
    let (state, model, sums) = parse_model(folder, config, device, &read)?;
    let mut tensors = parse_tensors(folder, OPTIMIZER, &sums, device, &read)?;
    let mut moments = Vec::new();
    for parameter in model.parameters() {
        let mut take = |suffix: &str| {
            let name = format!("{}.{suffix}", parameter.name);
            tensors.remove(&name).filter(|t| t.dims() == parameter.var.dims()).ok_or_else(|| {
                let message = format!("{name} is missing or has another shape than its parameter");
                damaged(&folder.join(OPTIMIZER))(message)
            })
        };
        moments.push(Moments {
            exp_avg: Var::from_tensor(&take("exp_avg")?)?,
            exp_avg_sq: Var::from_tensor(&take("exp_avg_sq")?)?,
        });
    }
    if let Some(name) = tensors.keys().min() {
        let message = format!("it holds {name}, which belongs to no parameter");
        return Err(damaged(&folder.join(OPTIMIZER))(message));
    }
    Ok(LoadedCheckpoint {
        path: folder.to_owned(),
        position: state.position,
        model,
        estimator_state: state.estimator_state,
        noise: state.noise,
        unrelaxed_noise: state.unrelaxed_noise,
        optimizer: state.optimizer,
        optimizer_steps: state.optimizer_steps,
        moments,
    })
}

fn parse_state(bytes: &[u8], path: &Path) -> Result<State> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
        version: String,
    }
    let parse_error =
        |e: serde_json::Error| damaged(path)(format!("it is not what was written: {e}"));
    let Format { format, version } = serde_json::from_slice(bytes).map_err(parse_error)?;
    if format > FORMAT {
        let path = path.parent().unwrap_or(path).to_owned();
        return Err(Error::NewerCheckpoint { path, found: format, version, known: FORMAT });
    }
    serde_json::from_slice(bytes).map_err(parse_error)
}

fn from_safetensors(
    bytes: &[u8],
    device: &Device,
) -> std::result::Result<HashMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} holds {:?}, but only F32 is written", view.dtype()));
        }
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let tensor = Tensor::from_vec(values, view.shape(), device).map_err(|e| e.to_string())?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use catvae_model::CategoricalVae;
    use gumbel_core::Generator;

    use super::*;
    use crate::Optimizer;

    #[test]
    fn a_state_that_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().join("checkpoints"));
        let config = ModelConfig::mlp([2, 2], &[3], [2, 2]);
        let generator = Generator::new(0);
        let model =
            CategoricalVae::initialise(&config, &Device::Cpu, &mut generator.clone()).unwrap();
        let optimizer = Optimizer::new(OptimizerKind::Adam, 1e-3, &model.parameters()).unwrap();
        let save = |step, sum_bce_unrelaxed| {
            let position = Position { step, sum_bce_unrelaxed, ..Position::default() };
            let moment = Moment {
                position,
                optimizer_steps: 0,
                estimator_state: EstimatorState::default(),
                noise: generator.state(),
                unrelaxed_noise: generator.state(),
            };
            let (parameters, moments) = (&model.parameters(), optimizer.moments());
            let optimizer = optimizer.kind();
            checkpoints.save(&Snapshot { parameters, moments, optimizer, moment: &moment }, 1)
        };
        save(1, 0.5).unwrap();
        let error = save(2, f64::INFINITY).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("null"), "{error}");
        let loaded = checkpoints.load_newest(&config, &Device::Cpu, |e| panic!("{e}")).unwrap();
        assert_eq!(loaded.position.step, 1);
    }
}

//! What can go wrong in training, evaluating and keeping a run.

use std::path::{Path, PathBuf};

use gumbel_core::estimators::MAX_CODES;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting has a value outside its range.
    #[error("{field} must be {range}, but is {value}")]
    Setting {
        /// Section and field of the configuration file.
        field: &'static str,
        /// The legal values.
        range: &'static str,
        /// The value given.
        value: String,
    },
    /// A configuration file is not what a configuration file may hold.
    #[error("{}: {message}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// A run is resumed with another configuration than it was started with.
    #[error(
        "the run in {} was started with {field} = {before}, but is now asked to go on with {field} = {now}: \
         resume with the settings it has, or start a new run in another folder",
        run.display()
    )]
    ConfigurationDiffers {
        /// The run folder.
        run: PathBuf,
        /// Section and field.
        field: String,
        /// Value in the run's `config.toml`.
        before: String,
        /// Value asked for.
        now: String,
    },
    /// Training in bf16 was asked for where it cannot be had, or gains nothing.
    #[error(
        "training.precision = \"bf16\": {reason}. Train in f32; a run in bf16 goes on only where bf16 can be had"
    )]
    NoBf16 {
        /// What is missing.
        reason: String,
    },
    /// The data are not those that the run was started with.
    #[error(
        "the {part} images of {dataset} are not the ones the configuration was written for \
         (sha256 {actual}, not {expected}): a new run on other images takes a configuration without [provenance]"
    )]
    OtherData {
        /// Name of the dataset.
        dataset: String,
        /// `training`, `validation` or `test`.
        part: &'static str,
        /// Checksum in the configuration.
        expected: String,
        /// Checksum of the images found.
        actual: String,
    },
    /// Images of another size than the network's.
    #[error("the images have {actual} pixels, but the network was made for {expected}")]
    ImageSize {
        /// Pixels that the network takes.
        expected: usize,
        /// Pixels of an image of the dataset.
        actual: usize,
    },
    /// There are not enough images to train on.
    #[error("{what} holds {n_images} images: at least {needed} are needed")]
    TooFewImages {
        /// Which set.
        what: &'static str,
        /// Images it holds.
        n_images: usize,
        /// Images needed.
        needed: usize,
    },
    /// A fresh run was asked for where another one left something.
    #[error(
        "{} already holds a run or the remains of one ({}): continue it, or choose another folder",
        path.display(),
        found.display()
    )]
    RunExists {
        /// The run folder.
        path: PathBuf,
        /// What is there.
        found: PathBuf,
    },
    /// The estimator visits every code, and there are too many.
    #[error(
        "the estimator `enumeration` visits every code, and {base}^{exponent} codes are more than \
         {MAX_CODES}: take fewer latents or categories, or another estimator"
    )]
    TooManyCodes {
        /// Values of a latent.
        base: usize,
        /// How many latents there are.
        exponent: usize,
    },
    /// The estimator is not made for this kind of code.
    #[error(
        "the estimator `{estimator}` takes categories, but model.code is `{code}`; there choose one of: {}",
        names.join(", ")
    )]
    EstimatorOfCode {
        /// The estimator's name.
        estimator: &'static str,
        /// `model.code`.
        code: String,
        /// Those that take it.
        names: Vec<&'static str>,
    },
    /// A resume would end before the point where the run is.
    #[error(
        "training.epochs must be at least {begun}, since so many are done or begun, but is {epochs}"
    )]
    FewerEpochs {
        /// Epochs that the run has begun.
        begun: usize,
        /// `training.epochs`.
        epochs: usize,
    },
    /// The folder is no run folder.
    #[error("{} is not a run folder: it has no config.toml", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process trains into this folder.
    #[error("another process is training into {}: wait for it, or choose another folder", path.display())]
    Locked {
        /// The run folder.
        path: PathBuf,
    },
    /// The run folder is no longer the one that was locked.
    #[error(
        "the run folder {} was removed or replaced while the run was going on: nothing more can be saved",
        path.display()
    )]
    RunVanished {
        /// The run folder.
        path: PathBuf,
    },
    /// There is nothing to resume from or to load.
    #[error("{} holds no checkpoint", path.display())]
    NoCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
    },
    /// Checkpoints are there, but none can be used.
    #[error("none of the checkpoints in {} can be used:\n  {}", path.display(), reasons.join("\n  "))]
    NoUsableCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Why each was refused, newest first.
        reasons: Vec<String>,
    },
    /// A checkpoint is damaged.
    #[error("the checkpoint {} is damaged: {message}", path.display())]
    DamagedCheckpoint {
        /// The checkpoint's folder or file.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// A checkpoint was written by a newer version of this program.
    #[error(
        "the checkpoint {} has format {found}, written by version {version}; this version reads formats up to {known}: \
         use version {version} or newer",
        path.display()
    )]
    NewerCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Its format number.
        found: u32,
        /// The version that wrote it.
        version: String,
        /// The newest format known here.
        known: u32,
    },
    /// A loss, a gradient or a logit is NaN or infinite.
    #[error(
        "{what} at step {step} (epoch {epoch}), and the run is stopped. {}. A smaller learning rate, \
         a larger temperature or a limit to the norm of the gradient usually mends this",
        last_checkpoint(checkpoint)
    )]
    NotFinite {
        /// What is not finite, as the start of a sentence.
        what: String,
        /// The step, counted from 1.
        step: u64,
        /// The epoch, counted from 1.
        epoch: usize,
        /// The newest checkpoint before it.
        checkpoint: Option<PathBuf>,
    },
    /// A weight is NaN or infinite: a model that is worth nothing is not kept.
    #[error("{parameter} holds a number that is not finite at step {step}: this model is not kept")]
    WorthlessModel {
        /// State-dict name.
        parameter: String,
        /// Steps since the start of the run.
        step: u64,
    },
    /// Metrics or a checkpoint of a run could not be written.
    #[error("{error}. {}", last_checkpoint(checkpoint))]
    NotKept {
        /// What went wrong; shown in this one's words, and so not its source.
        error: Box<Error>,
        /// The newest checkpoint before it, as it was written.
        checkpoint: Option<PathBuf>,
    },
    /// A file of weights from elsewhere cannot be used.
    #[error("{}: no weights that can be read: {message}", path.display())]
    StateDict {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A parameter got no gradient: the graph is broken.
    #[error("the loss does not depend on {parameter}: no gradient reaches it")]
    NoGradient {
        /// State-dict name.
        parameter: String,
    },
    /// A line of `metrics.jsonl` cannot be read.
    #[error("{} line {line}: {message}", path.display())]
    MetricsLine {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A file or folder could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The model.
    #[error(transparent)]
    Model(#[from] catvae_model::Error),
    /// The data.
    #[error(transparent)]
    Data(#[from] catvae_data::Error),
    /// A kernel was handed slices that do not fit: a defect of this program.
    #[error(transparent)]
    Kernel(#[from] gumbel_kernels::LengthError),
    /// Sampling.
    #[error(transparent)]
    Sampling(#[from] gumbel_core::Error),
    /// A tensor operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

fn last_checkpoint(path: &Option<PathBuf>) -> String {
    match path {
        Some(path) => format!("Last good checkpoint: {}", path.display()),
        None => "There is no checkpoint yet".to_owned(),
    }
}

/// Names the file and the action in an I/O error.
pub(crate) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

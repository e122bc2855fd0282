//! Everything that a run depends on, as one checked value and as a TOML file.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use catvae_data::{Binarization, Dataset, ImageSet};
use catvae_model::{Code, ModelConfig, ModelSettings};
use gumbel_core::estimators::{Estimator, EstimatorState, Evaluation, MAX_CODES};
use gumbel_core::{Generator, TemperatureSchedule};
use serde::{Deserialize, Serialize};

use crate::error::io;
use crate::settings::{Field, Range, Setting, section};
use crate::{Error, LearningRateSchedule, OptimizerKind, Precision, Result};

/// Configuration of a training run of a [`CategoricalVae`](catvae_model::CategoricalVae).
pub type TrainConfig = RunConfig<ModelConfig>;

/// Configuration of a training run; the defaults are those of Jang et al. 2017. `M` is the section `[model]`.
///
/// As a file it has the sections `[data]`, `[model]`, `[estimator]`, `[training]` and `[temperature]`; unknown
/// sections and fields are errors. A run's own `config.toml` has `[provenance]` besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "M: ModelSettings")]
pub struct RunConfig<M> {
    /// What is trained on.
    pub data: DataSettings,
    /// What the model is built from.
    pub model: M,
    /// How a gradient gets through the discrete sample.
    #[serde(with = "crate::estimator_table")]
    pub estimator: Estimator,
    /// How it is trained.
    pub training: TrainingSettings,
    /// The temperature τ of the relaxation over the steps.
    pub temperature: TemperatureSchedule,
    /// Where the file comes from; absent in a file written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

section! {
    /// The section `[data]`.
    DataSettings in data as DATA {
        /// digits (drawn by the program), hub:mnist, hub:fashion-mnist, a folder's name, or a path to IDX, PNG or JPEG files
        dataset: String = "digits".to_owned(), "dataset" "NAME",
        /// Where the dataset lies, if not in $CATVAE_DATA_DIR/NAME or ./data/NAME: DIR or DIR/NAME
        #[serde(skip_serializing_if = "Option::is_none")]
        data_dir: Option<PathBuf> = None, "data-dir" "DIR"; may_change = true,
        /// How grey pixels become values: grey, threshold, static, dynamic (the last two also :SEED)
        binarization: Binarization = Binarization::Grey, "binarization" "NAME",
        /// Use only the first N training images
        #[serde(skip_serializing_if = "Option::is_none")]
        n_train: Option<usize> = None, "train-images" "N", range AtLeastOne,
        /// Take N of the training images out for validation, the same ones in every run; the best checkpoint is chosen on them
        #[serde(skip_serializing_if = "Option::is_none")]
        n_validation: Option<usize> = None, "validation-images" "N", range AtLeastOne,
        /// Use only the first N test images
        #[serde(skip_serializing_if = "Option::is_none")]
        n_test: Option<usize> = None, "test-images" "N", range AtLeastOne,
    }
}

section! {
    /// The section `[training]`. Integers end at 2^63 − 1, as TOML's do.
    TrainingSettings in training as TRAINING {
        /// Passes over the training images
        epochs: usize = 10, "epochs" "N", range AtLeastOne; may_change = true,
        /// Images in a step; the last one of an epoch may have fewer
        batch_size: usize = 100, "batch-size" "N", range AtLeastOne,
        /// Update rule
        optimizer: OptimizerKind = OptimizerKind::Adam, "optimizer" "NAME",
        /// Step size of the optimiser
        learning_rate: f64 = 1e-3, "lr" "X", range Positive,
        /// How the learning rate changes over the run: constant, or linear or cosine to 0 at its end
        #[serde(skip_serializing_if = "LearningRateSchedule::is_constant")]
        learning_rate_schedule: LearningRateSchedule = LearningRateSchedule::Constant, "lr-schedule" "NAME",
        /// Factors of the step's products: f32, or bf16 with f32 sums on processors with AVX512-BF16
        precision: Precision = Precision::F32, "precision" "NAME",
        /// Start with the weights of this run, safetensors or PyTorch file, which must fit the model
        #[serde(skip_serializing_if = "Option::is_none")]
        init_from: Option<PathBuf> = None, "init-from" "RUN|FILE",
        /// Fixes initialisation, order and noise
        seed: u64 = 0, "seed" "N",
        /// Epochs between evaluations; 0 for the last epoch only
        eval_every: usize = 1, "eval-every" "N"; may_change = true,
        /// Exact samples of an image's code in an evaluation
        #[serde(skip_serializing_if = "is_one")]
        eval_draws: usize = 1, "eval-draws" "N", range AtLeastOne; may_change = true,
        /// Evaluate on the test images
        #[serde(skip_serializing_if = "is_true")]
        test: bool = true, off "no-test"; may_change = true,
        /// Track the unrelaxed objective on the training batches
        unrelaxed: bool = true, off "no-unrelaxed",
        /// Steps between checkpoints besides the one after each epoch; 0 for none
        checkpoint_every: u64 = 0, "checkpoint-every" "N"; may_change = true,
        /// How many of the newest checkpoints stay
        keep_checkpoints: usize = 3, "keep-checkpoints" "N", range AtLeastOne; may_change = true,
        /// Keep the best checkpoint besides, as `checkpoints/best`: by validation images, without them by the test images
        keep_best: bool = true, off "no-keep-best"; may_change = true,
        /// Largest Euclidean norm of the whole gradient; a longer one is scaled down to it
        #[serde(skip_serializing_if = "Option::is_none")]
        clip_gradient_norm: Option<f64> = None, "clip-gradient-norm" "X", range Positive,
    }
}

/// The section `[model]` is `catvae-model`'s; here are its flags.
const MODEL: &[Setting] = &[
    checked(
        "model.code",
        "code",
        "NAME",
        "What a code is: categories, each independent; chain, each dependent on the one before; or subset:k=10,n=20, subsets of k of n items, \
         as many as --latents",
        |c| &mut c.model.code,
    ),
    checked(
        "model.n_latents",
        "latents",
        "N",
        "Categorical variables of a code, or how many subsets",
        |c| &mut c.model.n_latents,
    ),
    checked(
        "model.n_categories",
        "categories",
        "K",
        "Categories of each variable; of no meaning for subsets",
        |c| &mut c.model.n_categories,
    ),
    checked(
        "model.network",
        "network",
        "NAME",
        "Layers of encoder and decoder, by name or as a table such as '{ kind = \"conv\", channels = [16, 32] }'",
        |c| &mut c.model.network,
    ),
    checked(
        "model.network.hidden",
        "hidden",
        "W,W,…",
        "Hidden widths of the network's fully connected layers; the decoder mirrors them",
        |c| c.model.network.hidden(),
    ),
    checked("model.likelihood", "likelihood", "NAME", "The law of the pixels", |c| {
        &mut c.model.likelihood
    }),
    checked("model.logits", "logits", "NAME", "What follows the encoder's last layer", |c| {
        &mut c.model.logits
    }),
];

/// A setting whose range is checked by its own type.
const fn checked(
    key: &'static str,
    flag: &'static str,
    value: &'static str,
    help: &'static str,
    field: fn(&mut TrainConfig) -> &mut dyn Field,
) -> Setting {
    let flag = Some((flag, Some(value)));
    Setting { key, help, flag, range: Range::Any, may_change: false, field }
}

const ESTIMATOR: &[Setting] = &[checked(
    "estimator",
    "estimator",
    "NAME",
    "How a gradient gets through the discrete sample; some take parameters, as in gumbel-rao:draws=100",
    |c| &mut c.estimator,
)];

pub(crate) const SECTIONS: [&[Setting]; 4] = [DATA, MODEL, ESTIMATOR, TRAINING];

/// The section `[provenance]` of a run's `config.toml`: what is needed to repeat the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of catvae that wrote the file.
    pub version: String,
    /// Device that the run was started on.
    pub device: String,
    /// Operating system and processor family.
    pub platform: String,
    /// Rows and columns of an image.
    pub image_shape: [usize; 2],
    /// SHA-256 of the training images and labels.
    pub train_sha256: String,
    /// SHA-256 of the validation images and labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_sha256: Option<String>,
    /// SHA-256 of the test images and labels.
    pub test_sha256: String,
    /// What the person who started the run wants to remember of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Files of runs that do not use the setting can be read by versions that do not know it.
fn is_one(n: &usize) -> bool {
    *n == 1
}

fn is_true(on: &bool) -> bool {
    *on
}

impl<M: Default> Default for RunConfig<M> {
    fn default() -> Self {
        Self {
            data: DataSettings::default(),
            model: M::default(),
            estimator: Estimator::GumbelSoftmax,
            training: TrainingSettings::default(),
            temperature: TemperatureSchedule::Constant { value: 1.0 },
            provenance: None,
        }
    }
}

impl<M: ModelSettings> RunConfig<M> {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is out of range, by name.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        let mut fields = TrainConfig {
            data: self.data.clone(),
            model: ModelConfig::default(),
            estimator: self.estimator,
            training: self.training.clone(),
            temperature: self.temperature,
            provenance: None,
        };
        for setting in Setting::all() {
            setting.check(&mut fields)?;
        }
        if let Some(value) = self.unnamed_integers().into_iter().find(|&n| n.1 > i64::MAX as u64) {
            let (field, range, value) = (value.0, "at most 2^63 - 1", value.1.to_string());
            return Err(Error::Setting { field, range, value });
        }
        let (code, shape) = (self.model.code(), self.model.code_shape());
        if !takes(self.estimator, code)? {
            let names = Estimator::ALL.into_iter().filter(|&e| takes(e, code).unwrap_or(false));
            let names: Vec<_> = names.map(Estimator::name).collect();
            let estimator = self.estimator.name();
            return Err(Error::EstimatorOfCode { estimator, code: code.to_string(), names });
        }
        let n_categories = shape[1];
        if self.estimator == Estimator::DisArm && n_categories != 2 {
            let (field, value) = ("model.n_categories", n_categories.to_string());
            return Err(Error::Setting { field, range: "2 for the estimator `disarm`", value });
        }
        if self.estimator == Estimator::Enumeration {
            let (base, exponent) = code.count(shape);
            let n_codes = base.checked_pow(u32::try_from(exponent).unwrap_or(u32::MAX));
            if n_codes.is_none_or(|n| n > MAX_CODES) {
                return Err(Error::TooManyCodes { base, exponent });
            }
        }
        if let Some(Provenance { image_shape: [rows, cols], .. }) = self.provenance
            && rows.checked_mul(cols) != Some(self.n_pixels())
        {
            let (field, range) = (
                "provenance.image_shape",
                "rows and columns of as many pixels as model.image_shape has",
            );
            return Err(Error::Setting { field, range, value: format!("[{rows}, {cols}]") });
        }
        self.temperature.checked()?;
        Ok(())
    }

    /// Pixels of the model's images.
    fn n_pixels(&self) -> usize {
        self.model.image_shape().iter().product()
    }

    /// The integers inside of values that are chosen by name.
    fn unnamed_integers(&self) -> [(&'static str, u64); 2] {
        let binarization_seed = match self.data.binarization {
            Binarization::Grey | Binarization::Threshold => 0,
            Binarization::Static { seed } | Binarization::Dynamic { seed } => seed,
        };
        let temperature = match self.temperature {
            TemperatureSchedule::Constant { .. } => ("temperature", 0),
            TemperatureSchedule::Linear { steps, .. }
            | TemperatureSchedule::Cosine { steps, .. } => ("temperature.steps", steps),
            TemperatureSchedule::Exponential { every, .. } => ("temperature.every", every),
        };
        [("data.binarization.seed", binarization_seed), temperature]
    }

    /// Reads a configuration file. What it leaves out has its default.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown field, or a value out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(io("cannot read", path))?;
        let config = Self::from_toml(&text)
            .map_err(|message| Error::ConfigFile { path: path.to_owned(), message })?;
        Ok(config)
    }

    /// Parses and checks the text of a configuration file.
    ///
    /// # Errors
    /// What is wrong, with line and column where the parser knows them.
    pub fn from_toml(text: &str) -> std::result::Result<Self, String> {
        let config: Self = match of_format_1(text) {
            Some(table) => table.try_into(),
            None => toml::from_str(text),
        }
        .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    /// The text of a configuration file that [`Self::from_toml`] reads back to the same value.
    ///
    /// # Errors
    /// A path that is not Unicode.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::ConfigFile {
            path: PathBuf::from("config.toml"),
            message: e.to_string(),
        })
    }

    /// Compares with the configuration that a run was started with.
    ///
    /// # Errors
    /// [`Error::ConfigurationDiffers`] naming the first field that may not change and did.
    pub fn check_resumes(&self, started_with: &Self, run: &Path) -> Result<()> {
        let (before, now) = (flatten(started_with)?, flatten(self)?);
        let mut fields: Vec<&String> = before.keys().chain(now.keys()).collect();
        fields.sort();
        for field in fields {
            let may_change = Setting::named(field).is_some_and(|setting| setting.may_change)
                && (field != "training.epochs"
                    || self.training.learning_rate_schedule.is_constant());
            if may_change || field.starts_with("provenance.") {
                continue;
            }
            let show = |value: Option<&toml::Value>| {
                value.map_or_else(|| "nothing".to_owned(), toml::Value::to_string)
            };
            let (before, now) = (before.get(field), now.get(field));
            if before != now {
                return Err(Error::ConfigurationDiffers {
                    run: run.to_owned(),
                    field: field.clone(),
                    before: show(before),
                    now: show(now),
                });
            }
        }
        Ok(())
    }

    /// Fits the configuration to a dataset: takes the subsets asked for, and records or checks the
    /// checksums of the images.
    ///
    /// # Errors
    /// [`Error::ImageSize`], [`Error::TooFewImages`], [`Error::OtherData`], [`Error::Data`].
    pub fn bind_data(&mut self, mut dataset: Dataset, device: &str) -> Result<Dataset> {
        dataset.train = dataset.train.take(self.data.n_train.unwrap_or(usize::MAX));
        dataset.test = dataset.test.take(self.data.n_test.unwrap_or(usize::MAX));
        let actual = dataset.train.pixels_per_image();
        if actual != self.n_pixels() {
            return Err(Error::ImageSize { expected: self.n_pixels(), actual });
        }
        for (what, set) in [("the training set", &dataset.train), ("the test set", &dataset.test)] {
            if set.is_empty() {
                return Err(Error::TooFewImages { what, n_images: 0, needed: 1 });
            }
        }
        if let Some(n_validation) = self.data.n_validation {
            dataset.hold_out(n_validation)?;
        }
        let (train, test) = (dataset.train.checksum(), dataset.test.checksum());
        let validation = dataset.validation.as_ref().map(ImageSet::checksum);
        if let Some(old) = &self.provenance {
            let none = "none".to_owned();
            for (part, expected, actual) in [
                ("training", Some(&old.train_sha256), Some(&train)),
                ("validation", old.validation_sha256.as_ref(), validation.as_ref()),
                ("test", Some(&old.test_sha256), Some(&test)),
            ] {
                if expected != actual {
                    return Err(Error::OtherData {
                        dataset: dataset.name,
                        part,
                        expected: expected.unwrap_or(&none).clone(),
                        actual: actual.unwrap_or(&none).clone(),
                    });
                }
            }
        }
        self.provenance = Some(Provenance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.to_owned(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            image_shape: [dataset.train.rows(), dataset.train.cols()],
            train_sha256: train,
            validation_sha256: validation,
            test_sha256: test,
            note: self.provenance.take().and_then(|old| old.note),
        });
        Ok(dataset)
    }
}

/// Whether the estimator can make a gradient for codes of this kind: it is tried at a small one.
pub(crate) fn takes(estimator: Estimator, code: Code) -> Result<bool> {
    let (code, shape) = match code {
        Code::Categories => return Ok(true),
        Code::Chain => (Code::Chain, [2, 2]),
        Code::Subset { .. } => (Code::Subset { k: 1, n: 2 }, [2, 2]),
    };
    // Its parameters decide nothing, and may be large.
    let estimator = Estimator::ALL.into_iter().find(|e| e.name() == estimator.name());
    let dims = [&[1], code.dims(shape).as_slice()].concat();
    let logits = Tensor::zeros(dims, DType::F32, &Device::Cpu)?;
    let (state, generator) = (&mut EstimatorState::default(), &mut Generator::new(0));
    let mut tried = || {
        let estimator = estimator.unwrap_or_default();
        let (structure, tau) = (code.structure(), 1.0.into());
        let proposal = estimator.propose_on(&structure, &logits, &tau, state, generator)?;
        let loss = logits.flatten_all()?.narrow(0, 0, 1)?;
        let evaluation = Evaluation { loss, gradient: Some(logits.clone()) };
        let evaluations = vec![evaluation; proposal.points().len()];
        proposal.combine(&evaluations, state)
    };
    match tried() {
        Ok(_) => Ok(true),
        Err(gumbel_core::Error::UnsupportedStructure { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A file of format 1, which had the estimator in `[training]`, as one of today.
fn of_format_1(text: &str) -> Option<toml::Table> {
    let mut table: toml::Table = text.parse().ok()?;
    let estimator = table.get_mut("training")?.as_table_mut()?.remove("estimator")?;
    table.entry("estimator").or_insert(estimator);
    Some(table)
}

/// All fields under their dotted names.
fn flatten<M: ModelSettings>(
    config: &RunConfig<M>,
) -> Result<std::collections::BTreeMap<String, toml::Value>> {
    fn walk(
        prefix: &str,
        value: toml::Value,
        into: &mut std::collections::BTreeMap<String, toml::Value>,
    ) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    walk(&name, value, into);
                }
            }
            value => {
                into.insert(prefix.to_owned(), value);
            }
        }
    }
    let value = toml::Value::try_from(config).map_err(|e| Error::ConfigFile {
        path: PathBuf::from("config.toml"),
        message: e.to_string(),
    })?;
    let mut fields = std::collections::BTreeMap::new();
    walk("", value, &mut fields);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_ones_that_are_documented() {
        let c = TrainConfig::default();
        c.check().unwrap();
        assert_eq!((c.training.epochs, c.training.batch_size), (10, 100));
        assert_eq!((c.training.learning_rate, c.temperature.at(0)), (1e-3, 1.0));
    }

    #[test]
    fn a_configuration_survives_its_file() {
        let mut config = TrainConfig::default();
        config.data.n_train = Some(500);
        config.data.binarization = Binarization::Dynamic { seed: 3 };
        config.training.clip_gradient_norm = Some(5.0);
        config.estimator = Estimator::StGumbelSoftmax;
        config.temperature =
            TemperatureSchedule::Exponential { init: 1.0, rate: 3e-5, min: 0.5, every: 1000 };
        let text = config.to_toml().unwrap();
        assert_eq!(TrainConfig::from_toml(&text).unwrap(), config, "{text}");
    }

    #[test]
    fn an_estimator_is_a_table_or_a_text_and_stood_in_training_once() {
        let expected = TrainConfig {
            estimator: Estimator::GumbelRao { draws: 100 },
            ..TrainConfig::default()
        };
        for text in [
            "[estimator]\nname = \"gumbel-rao\"\ndraws = 100",
            "estimator = \"gumbel-rao:draws=100\"",
            "[training]\nestimator = \"gumbel-rao:draws=100\"",
        ] {
            assert_eq!(TrainConfig::from_toml(text).unwrap(), expected, "{text}");
        }
        let text = expected.to_toml().unwrap();
        assert!(text.contains("[estimator]\nname = \"gumbel-rao\"\ndraws = 100\n"), "{text}");
        let error = TrainConfig::from_toml("[estimator]\nname = \"reimax\"").unwrap_err();
        assert!(error.contains("reinmax") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(TrainConfig::from_toml("").unwrap(), TrainConfig::default());
    }

    #[test]
    fn unknown_fields_are_named_with_their_line() {
        let error = TrainConfig::from_toml("[training]\nepoch = 3\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("unknown field `epoch`"), "{error}");
        let error = TrainConfig::from_toml("[trainig]\n").unwrap_err();
        assert!(error.contains("unknown field `trainig`"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (text, expected) in [
            ("[training]\nepochs = 0", "training.epochs must be at least 1, but is 0"),
            ("[training]\nbatch_size = 0", "training.batch_size must be at least 1"),
            ("[training]\nlearning_rate = nan", "training.learning_rate must be finite"),
            ("[training]\nclip_gradient_norm = -1.0", "training.clip_gradient_norm"),
            ("[training]\nestimator = \"softmax\"", "softmax"),
            ("[model]\nn_categories = 1", "n_categories must be at least 2, but is 1"),
            (
                "[training]\nestimator = \"disarm\"",
                "model.n_categories must be 2 for the estimator `disarm`, but is 10",
            ),
            ("[data]\nn_train = 0", "data.n_train must be at least 1"),
            ("[temperature]\nkind = \"constant\"\nvalue = 0.0", "value"),
            ("[temperature]\nkind = \"constant\"\nvalue = nan", "value"),
        ] {
            let error = TrainConfig::from_toml(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn integers_that_no_file_can_hold_are_named() {
        const BEYOND: u64 = 1 << 63;
        type Change = fn(&mut TrainConfig);
        let changes: [(&str, Change); 4] = [
            ("data.binarization.seed", |c| {
                c.data.binarization = Binarization::Dynamic { seed: BEYOND };
            }),
            ("training.seed", |c| c.training.seed = BEYOND),
            ("training.checkpoint_every", |c| c.training.checkpoint_every = BEYOND),
            ("temperature.steps", |c| {
                let (init, end, steps) = (1.0, 0.5, BEYOND);
                c.temperature = TemperatureSchedule::Linear { init, end, steps };
            }),
        ];
        for (field, change) in changes {
            let mut config = TrainConfig::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            let expected = format!("{field} must be at most 2^63 - 1, but is 9223372036854775808");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_resume_may_go_on_longer_but_not_otherwise() {
        let before = TrainConfig::default();
        let mut now = before.clone();
        now.training.epochs = 20;
        now.check_resumes(&before, Path::new("run")).unwrap();
        now.training.learning_rate = 2e-3;
        let error = now.check_resumes(&before, Path::new("run")).unwrap_err().to_string();
        assert!(error.contains("training.learning_rate = 0.001"), "{error}");
        assert!(error.contains("training.learning_rate = 0.002"), "{error}");

        // A rate that falls to 0 at the end of the run would have fallen otherwise.
        let mut before = before;
        before.training.learning_rate_schedule = LearningRateSchedule::Linear;
        let mut now = before.clone();
        now.training.epochs = 20;
        let error = now.check_resumes(&before, Path::new("run")).unwrap_err().to_string();
        assert!(error.contains("training.epochs = 20"), "{error}");
    }

    #[test]
    fn other_images_than_the_recorded_ones_are_refused() {
        let data = || catvae_data::digits_with(1, 20, 10);
        let mut config = TrainConfig::default();
        config.bind_data(data(), "cpu").unwrap();
        config.bind_data(data(), "cpu").unwrap();
        let other = catvae_data::digits_with(2, 20, 10);
        let error = config.bind_data(other, "cpu").unwrap_err().to_string();
        assert!(error.contains("training images of digits"), "{error}");
    }

    #[test]
    fn validation_images_are_recorded_and_compared() {
        let data = || catvae_data::digits_with(1, 20, 10);
        let mut config = TrainConfig::default();
        config.data.n_validation = Some(5);
        let bound = config.bind_data(data(), "cpu").unwrap();
        assert_eq!((bound.train.len(), bound.validation.unwrap().len()), (15, 5));
        config = TrainConfig::from_toml(&config.to_toml().unwrap()).unwrap();
        config.bind_data(data(), "cpu").unwrap();
        config.provenance.as_mut().unwrap().validation_sha256 = None;
        let error = config.bind_data(data(), "cpu").unwrap_err().to_string();
        assert!(
            error.contains("validation images of digits") && error.contains("not none"),
            "{error}"
        );
        config.data.n_validation = Some(20);
        let error = config.bind_data(data(), "cpu").unwrap_err().to_string();
        assert!(error.contains("20 validation images cannot be taken out of 20"), "{error}");
    }
}

//! The command line.

use std::any::TypeId;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use gumbel_core::Temperature;
use gumbel_core::estimators::Estimator;

use crate::download::Name;
use crate::flags::Flags;
use crate::sweep::grid::GridFlags;
use crate::sweep::rank::Shard;

/// Trains a categorical VAE with Gumbel-softmax samples, and shows what it learnt.
#[derive(Debug, Parser)]
#[command(name = "catvae", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Work with this many threads [default: as many as there are cores, and in training fewer while other programs
    /// need them]; changes no result
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model into a run folder, or resume one
    Train(Box<TrainCommand>),
    /// Measure a run's model on test, validation or training images with exact discrete samples
    Evaluate(EvaluateArgs),
    /// Draw images from codes that are sampled from the uniform prior
    Sample(SampleArgs),
    /// Draw test images above their reconstructions
    Reconstruct(ReconstructArgs),
    /// Write the discrete codes of images to an .npz file
    Encode(EncodeArgs),
    /// Draw the images of discrete codes from an .npz file
    Decode(DecodeArgs),
    /// Show what each latent is used for: use, perplexity, KL, entropy, mutual information
    Latents(LatentsArgs),
    /// Write a page that shows what a run learnt, to be opened in a browser: flip the code, draw, compare two runs
    Explore(ExploreArgs),
    /// Write a run's model for other programs: safetensors, ONNX, a folder for the Hugging Face hub, or the explorer
    Export(ExportArgs),
    /// Fetch a data set into the folder where `--dataset` looks for it
    Download(DownloadArgs),
    /// Make a run of a model's weights: safetensors, or PyTorch's .pth with the same names and shapes
    Import(Box<ImportArgs>),
    /// Draw relaxed samples over a row of temperatures, beside the categorical they relax
    Temperature(TemperatureArgs),
    /// Measure gradient estimators against a run's exact gradient (at most 16,384 codes)
    Estimators(EstimatorsArgs),
    /// Train every combination of flags with several values, such as --temperature 0.5,1 --seed 0..4, and show means
    /// over seeds
    Sweep(Box<SweepArgs>),
    /// Choose the temperature: candidates with the same seeds, judged by exact samples on validation images, with
    /// intervals and one confirmation on the test images
    Tune(Box<TuneArgs>),
    /// List runs, the best first, with their objectives and the settings that differ
    List(ListArgs),
    /// Tell what a run is: settings other than the defaults, best and last epoch, gap, disk, what to do next
    Show(ShowArgs),
    /// Compare runs as a table and a figure; those that differ by the seed only are one row
    Compare(CompareArgs),
    /// Write a manual page for every command: man catvae-train, once DIR is in the manual's path
    Man {
        /// The folder, for example ~/.local/share/man/man1
        #[arg(long, value_name = "DIR", default_value = "man")]
        out: PathBuf,
    },
    /// Print what makes a shell complete these commands, for example
    /// catvae completions bash > ~/.local/share/bash-completion/completions/catvae
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    #[default]
    Cpu,
    Cuda,
    Metal,
    /// cuda or metal, whichever this program was built with
    Gpu,
    /// the same where there is one, else cpu
    Auto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckpointName {
    /// the last one written that is whole
    #[default]
    Newest,
    /// the one with the best objective on the validation images, without them on the test images
    Best,
}

#[derive(Debug, Args)]
pub(crate) struct TrainCommand {
    #[command(flatten)]
    pub(crate) args: TrainArgs,
    /// Print the configuration that the flags give, with comments, and train nothing
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Load the data, build the model and check the run folder, and train nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// One epoch of 1,000 images in a folder that is removed again: does all of it work here?
    #[arg(long, conflicts_with_all = ["out", "resume", "name", "json"])]
    pub(crate) quick: bool,
    /// Call the run NAME: its folder is the first free of runs/NAME, runs/NAME-2, …
    #[arg(long, value_name = "NAME", value_parser = folder_name, conflicts_with_all = ["out", "resume"])]
    pub(crate) name: Option<String>,
    /// Words to remember the run by: they stand in its config.toml, and `catvae show` tells them
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Say nothing but warnings and errors
    #[arg(long)]
    pub(crate) quiet: bool,
    /// As --quiet, and at the end one JSON object, that of `catvae show --json`
    #[arg(long, conflicts_with_all = ["print_config", "dry_run"])]
    pub(crate) json: bool,
    /// Stop when K epochs in a row have no better objective on the validation images
    #[arg(long, value_name = "K")]
    pub(crate) early_stop: Option<NonZeroUsize>,
    /// Save and stop after so long, such as 90s, 10m or 2h; `--resume` goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<Duration>,
}

/// A name for a folder in another.
fn folder_name(text: &str) -> Result<String, String> {
    let mut parts = Path::new(text).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name == text => Ok(text.to_owned()),
        _ => Err("it names a folder in runs/ and is no path; --out takes paths".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let number: f64 = number.parse().unwrap_or(f64::NAN);
    let expected = "expected a number with a unit, such as 90s, 10m or 2h";
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected)
}

/// A temperature that samples can be relaxed at.
fn temperature(text: &str) -> Result<f64, String> {
    let value = number(text)?;
    Temperature::new(value).map(|_| value).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "expected a number, such as 0.5 or 1e-3")
}

/// Has every flag that takes a number say what it expects. Rust's own parsers only say which digit is invalid.
pub(crate) fn numbers_in_words(command: clap::Command) -> clap::Command {
    fn parser<T: FromStr + Clone + Send + Sync + 'static>(expected: &'static str) -> ValueParser {
        ValueParser::new(move |text: &str| text.parse::<T>().map_err(|_| expected))
    }
    command.mut_subcommands(numbers_in_words).mut_args(|arg| {
        let takes = arg.get_value_parser().type_id();
        let parser = if takes == TypeId::of::<NonZeroUsize>() {
            parser::<NonZeroUsize>("expected a whole number from 1 to 2^64 - 1")
        } else if takes == TypeId::of::<u64>() {
            parser::<u64>("expected a whole number from 0 to 2^64 - 1")
        } else if takes == TypeId::of::<i64>() {
            parser::<i64>("expected a whole number from 0 to 2^63 - 1")
        } else if takes == TypeId::of::<f64>() && arg.get_value_delimiter().is_some() {
            ValueParser::new(number)
        } else {
            return arg;
        };
        arg.allow_negative_numbers(true).value_parser(parser)
    })
}

impl TrainArgs {
    /// Whether a run is gone on with.
    pub(crate) fn resumes(&self) -> bool {
        self.resume.is_some()
    }

    /// The run folder, where one is named.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.resume.as_ref().and_then(Option::as_deref).or(self.out.as_deref())
    }

    /// What clap's own rules cannot say.
    pub(crate) fn check_usage(&self) -> Result<(), clap::Error> {
        let error = |kind, message| Err(Cli::command().error(kind, message));
        match (&self.resume, &self.out) {
            (Some(None), None) => error(
                ErrorKind::MissingRequiredArgument,
                "--resume needs the run folder: catvae train --resume RUN",
            ),
            (Some(Some(_)), Some(_)) => error(
                ErrorKind::ArgumentConflict,
                "--resume RUN and --out RUN both name a run folder: leave one out",
            ),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct TrainArgs {
    /// Configuration file; flags win over it, and it wins over the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The run folder [default: the first free of runs/NAME, runs/NAME-2, …]
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// Go on where RUN stopped, or the run in --out
    #[arg(long, value_name = "RUN", num_args = 0..=1, conflicts_with = "config")]
    #[expect(clippy::option_option, reason = "clap's way of a flag whose value may be left out")]
    pub(crate) resume: Option<Option<PathBuf>>,
    /// Write no event file for TensorBoard
    #[arg(long)]
    pub(crate) no_tensorboard: bool,
    /// The settings of the configuration file, each under its flag
    #[command(flatten)]
    pub(crate) settings: Flags,
    /// The same as --estimator st-gumbel-softmax: exact samples forward, the gradient of the relaxed ones backward
    #[arg(long, conflicts_with = "estimator", help_heading = "Model")]
    pub(crate) straight_through: bool,
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,
    /// Where to compute
    #[arg(long, value_enum, default_value_t, help_heading = None)]
    pub(crate) device: DeviceName,
}

/// Which of these a schedule has stands in `commands/settings.rs`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Temperature")]
pub(crate) struct ScheduleArgs {
    /// How the temperature τ changes over the steps: not, along a line or half a cosine to --temperature-end,
    /// or as max(--temperature-end, τ·e^(−rate·step)) [default: constant]
    #[arg(long, value_name = "NAME", value_parser = ["constant", "linear", "cosine", "exponential"])]
    pub(crate) schedule: Option<String>,
    /// Temperature τ, at step 0 where a schedule changes it [default: 1]
    #[arg(long, visible_alias = "tau", value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub(crate) temperature: Option<f64>,
    /// Last or least τ of a schedule [default: 0.5]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub(crate) temperature_end: Option<f64>,
    /// Steps until a linear or cosine schedule ends [default: all steps of the run]
    #[arg(long, value_name = "N")]
    pub(crate) temperature_steps: Option<i64>,
    /// Decay of an exponential schedule per step [default: 3e-5]
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = number)]
    pub(crate) temperature_rate: Option<f64>,
    /// Steps between updates of an exponential schedule [default: 1000]
    #[arg(long, value_name = "N")]
    pub(crate) temperature_every: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The run folder, or a path in it
    pub(crate) run: PathBuf,
    /// Which of the run's models
    #[arg(long, value_enum, default_value_t)]
    pub(crate) checkpoint: CheckpointName,
    /// Where the dataset lies: DIR or DIR/NAME [default: as in training]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Other images than the run's, of their size: PNG, JPEG or IDX, one file or a folder of them
    #[arg(long, value_name = "PATH", conflicts_with = "data_dir")]
    pub(crate) images: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: DeviceName,
}

/// Every flag of `catvae train` takes a list: `0.5,1`, `0..4` for 0 to 4, or the flag again for a value with commas.
/// Cells that are there already are gone on with, so the same command again finishes what was stopped or killed, and
/// any number of processes may work on one folder.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// A file with the tables `settings`, `grid` and `variants`; flags win over it
    #[arg(value_name = "GRID.toml")]
    pub(crate) grid: Option<PathBuf>,
    /// The folder of the run folders [default: runs/NAME of NAME.toml, else runs/sweep]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Runs that are trained at once in this process [default: one a core], each with one thread or --threads
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Train every n-th cell only, from the i-th on (0 to n-1), where processes share no folder; auto takes both from
    /// Slurm, mpirun or torchrun
    #[arg(long, value_name = "I/N|auto")]
    pub(crate) shard: Option<Shard>,
    /// Train nothing: the table of what is in these folders, of sweeps or of any runs
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["grid", "out", "workers", "shard"])]
    pub(crate) merge: Option<Vec<PathBuf>>,
    /// Train nothing: print the cells
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the table as JSON, one object a row
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print one line of comma-separated values a cell
    #[arg(long)]
    pub(crate) csv: bool,
    #[command(flatten)]
    pub(crate) flags: GridFlags,
}

/// All flags of `catvae train` say what is tuned; --temperature is the default that the choice is compared with. --out is
/// the folder of the runs [default: runs/tune]. The same command again goes on where it was stopped or killed.
#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// The candidates [default: seven between 0.2 and 2, for the ReinMax family between 1 and 4]
    #[arg(long, visible_alias = "taus", value_name = "T,T,…", value_delimiter = ',')]
    pub(crate) temperatures: Vec<f64>,
    /// Candidates for the temperature of the gradient, with decoupled-straight-through
    #[arg(long, value_name = "T,T,…", value_delimiter = ',')]
    pub(crate) backward_temperatures: Vec<f64>,
    /// Seeds of each candidate at the last rung, from --seed on
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) seeds: NonZeroUsize,
    /// Runs that are trained at once [default: one a core], each with one thread or --threads
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Take fewer epochs than --epochs where that many would not be done by then: 10m, 1h. The first rung is measured
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<Duration>,
    /// Print what tune.json holds, instead of table and sentences
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) train: TrainArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Run folders, or folders that hold some
    #[arg(value_name = "RUN|DIR", default_value = "runs")]
    pub(crate) places: Vec<PathBuf>,
    /// Print one JSON object a run, with all its settings
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print one line of comma-separated values an epoch
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run folder, or a path in it
    pub(crate) run: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Run folders, or folders that hold some
    #[arg(value_name = "RUN|DIR", required = true)]
    pub(crate) places: Vec<PathBuf>,
    /// Print one JSON object a group
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print one line of comma-separated values a run
    #[arg(long)]
    pub(crate) csv: bool,
    /// Also draw the groups over their epochs, with a band of one standard deviation over seeds; .png or .svg
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which of the run's images, or of given ones that are divided
    #[arg(long, value_enum, default_value = "test")]
    pub(crate) part: Part,
    /// Exact samples of an image's code [default: as in training]
    #[arg(long, value_name = "N")]
    pub(crate) draws: Option<NonZeroUsize>,
    /// Also the importance-weighted bound with M samples per image
    #[arg(long, value_name = "M")]
    pub(crate) importance_samples: Option<NonZeroUsize>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SampleArgs {
    /// The run folder, or a path in it
    pub(crate) run: PathBuf,
    /// Which of the run's models
    #[arg(long, value_enum, default_value_t)]
    pub(crate) checkpoint: CheckpointName,
    /// Rows of the grid
    #[arg(long, value_name = "N", default_value = "8")]
    pub(crate) rows: NonZeroUsize,
    /// Columns of the grid
    #[arg(long, value_name = "N", default_value = "8")]
    pub(crate) cols: NonZeroUsize,
    /// Fixes the codes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The picture [default: RUN/sample.png]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: DeviceName,
}

#[derive(Debug, Args)]
pub(crate) struct ReconstructArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The picture [default: RUN/reconstructions.png]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    /// As on the command line and before the names of metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EncodeArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Which images, where they are divided
    #[arg(long, value_enum, default_value = "test")]
    pub(crate) part: Part,
    /// Draw the codes from the posterior instead of taking its most probable one
    #[arg(long)]
    pub(crate) sampled: bool,
    /// Fixes the draws of --sampled
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Also the probabilities of all categories, or of all items of subsets, the array `posterior` (n, latents, categories), and
    /// −ln p(x|code) of every image at its code in nats, `neg_log_likelihood` (n)
    #[arg(long)]
    pub(crate) posterior: bool,
    /// The file: arrays `codes` (n, latents; for subsets the k items of each, ascending) and, where the images have labels, `labels` (n) [default: RUN/codes.npz]
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// The run folder, or a path in it
    pub(crate) run: PathBuf,
    /// Which of the run's models
    #[arg(long, value_enum, default_value_t)]
    pub(crate) checkpoint: CheckpointName,
    /// The file with the array `codes` (n, latents)
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) codes: PathBuf,
    /// Decode at most the first N codes
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) limit: NonZeroUsize,
    /// The picture [default: RUN/decoded.png]
    #[arg(long, value_name = "FILE.png")]
    pub(crate) out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: DeviceName,
}

#[derive(Debug, Args)]
pub(crate) struct LatentsArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print one JSON object, with the information between latents
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw it
    #[arg(long, value_name = "FILE.png|svg")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExploreArgs {
    /// The run folder, or a path in it
    pub(crate) run: PathBuf,
    /// Another run on images of the same size, side by side with the first
    pub(crate) other: Option<PathBuf>,
    /// Which of each run's models
    #[arg(long, value_enum, default_value_t)]
    pub(crate) checkpoint: CheckpointName,
    /// Where the dataset lies: DIR or DIR/NAME [default: as in training]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Test images in the page [default: 500, or fewer if they are large]
    #[arg(long, value_name = "N")]
    pub(crate) images: Option<NonZeroUsize>,
    /// The page [default: RUN/explorer.html]
    #[arg(long, value_name = "FILE.html")]
    pub(crate) out: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: DeviceName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// model.safetensors, with PyTorch's names and layouts
    Safetensors,
    /// encoder.onnx and decoder.onnx, with a batch of any size
    Onnx,
    /// a folder for the Hugging Face hub: card, config.json, weights, ONNX, events, and the explorer as its page
    Hf,
    /// index.html, the explorer
    Html,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The run folder, or a path in it
    pub(crate) run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// The folder to write into [default: RUN/export]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Which of the run's models
    #[arg(long, value_enum, default_value_t)]
    pub(crate) checkpoint: CheckpointName,
    /// Where the dataset lies, for the explorer: DIR or DIR/NAME [default: as in training]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The data set
    #[arg(ignore_case = true)]
    pub(crate) name: Name,
    /// The folder that holds one folder per data set [default: $CATVAE_DATA_DIR, or data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Look here instead of at the usual places; the file's name is appended. May be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The weights: a safetensors file, or what torch.save made of a state_dict()
    pub(crate) file: PathBuf,
    /// The run folder [default: the first free of runs/NAME, runs/NAME-2, …]
    #[arg(long, value_name = "RUN")]
    pub(crate) out: Option<PathBuf>,
    /// Configuration that the model belongs to [default: a config.json beside FILE, or that of `catvae train`]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The settings of the configuration file, each under its flag
    #[command(flatten)]
    pub(crate) settings: Flags,
}

#[derive(Debug, Args)]
pub(crate) struct TemperatureArgs {
    /// Fixes the samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The figure [default: temperature.png]
    #[arg(long, value_name = "FILE.png|svg")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EstimatorsArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Draws of the gradient that each estimator is judged by
    #[arg(long, value_name = "N", default_value = "1024")]
    pub(crate) samples: NonZeroUsize,
    /// Use the first N test images
    #[arg(long, value_name = "N", default_value = "100")]
    pub(crate) limit: NonZeroUsize,
    /// Only these [default: all that the model can take]
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    pub(crate) only: Option<Vec<Estimator>>,
    /// Temperature τ of the estimators that have one
    #[arg(
        long,
        visible_alias = "tau",
        value_name = "T",
        default_value_t = 1.0,
        allow_negative_numbers = true,
        value_parser = temperature
    )]
    pub(crate) temperature: f64,
    /// Fixes the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw it
    #[arg(long, value_name = "FILE.png|svg")]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_says_in_words_what_it_expects() {
        let root = numbers_in_words(Cli::command());
        let mut n_numbers = 0;
        for command in root.get_subcommands() {
            let flags = command.get_arguments().chain(root.get_arguments());
            let flags = flags.filter(|arg| arg.get_action().takes_values());
            for flag in flags.filter_map(clap::Arg::get_long) {
                for value in ["x", "-1", "0", "1.5", "1e999", "99999999999999999999999999", "xs"] {
                    let words = ["catvae", command.get_name(), &format!("--{flag}"), value];
                    let Err(error) = root.clone().try_get_matches_from(words) else { continue };
                    let said = error.to_string();
                    // Whether it is a number shows in what it says; a file's name is no number.
                    n_numbers += usize::from(said.contains("expected a"));
                    for raw in ["invalid digit", "float", "would be zero", "too large", "Duration"]
                    {
                        assert!(!said.contains(raw), "{words:?}: {said}");
                    }
                }
            }
        }
        assert!(n_numbers > 100, "{n_numbers} of them were tried");
        for (words, expected) in [
            ("train --batch-size x", "expected a whole number from 1 to"),
            ("train --seed -1", "expected a whole number from 0 to"),
            ("train --early-stop 0", "expected a whole number from 1 to"),
            ("sample run --seed -1", "expected a whole number from 0 to"),
            ("train --hidden 5,x", "expected whole numbers, such as 512,256"),
            ("tune --temperatures 1,x", "expected a number, such as"),
            ("train --max-time 1e300h", "expected a number with a unit"),
        ] {
            let words = std::iter::once("catvae").chain(words.split(' '));
            let said = root.clone().try_get_matches_from(words).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}

//! Experiments with known answers for structured variables. Each is one command that ends with a table and a figure:
//! `cargo run --release -p experiments -- chain-posterior`. They use the public interface of `gumbel-core` only.

// What they share.
mod figure;
mod method;
mod network;
mod posterior;
mod report;
mod unscramble;

// The experiments.
mod chain_posterior;
mod feature_selection;
mod jigsaw;
mod number_sorting;
mod patches;
mod tree_posterior;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Experiments with known answers for structured variables.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
    /// How many seeds, from 0
    #[arg(long, global = true, default_value_t = 5)]
    seeds: u64,
    /// The folder that the figure goes to
    #[arg(long, global = true, default_value = "docs/images")]
    figures: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// An approximate posterior of a hidden Markov model, whose bound can reach ln p(x)
    ChainPosterior,
    /// A distribution over spanning trees that can reach its target
    TreePosterior,
    /// Which features matter: XOR, orange skin, additive, switch (Chen et al. 2018)
    FeatureSelection,
    /// Learning to sort numbers by matchings (Mena et al. 2018)
    NumberSorting {
        /// Lengths of lists
        #[arg(default_values_t = [5, 15, 40, 80, 120])]
        sizes: Vec<usize>,
    },
    /// Putting the pieces of MNIST's images into their places (Mena et al. 2018)
    Jigsaw {
        /// Pieces along each side
        #[arg(default_values_t = [2, 3, 4])]
        sides: Vec<usize>,
        /// The folder with MNIST's four files
        #[arg(long, default_value = "data/mnist")]
        data_dir: PathBuf,
    },
    /// Which patches tell a three from an eight (Chen et al. 2018)
    Patches {
        /// The folder with MNIST's four files
        #[arg(long, default_value = "data/mnist")]
        data_dir: PathBuf,
    },
}

fn main() -> Result<()> {
    let Cli { experiment, seeds, figures } = Cli::parse();
    let start = std::time::Instant::now();
    let (name, report) = match experiment {
        Experiment::ChainPosterior => ("chain_posterior", chain_posterior::run(seeds)?),
        Experiment::TreePosterior => ("tree_posterior", tree_posterior::run(seeds)?),
        Experiment::FeatureSelection => ("feature_selection", feature_selection::run(seeds)?),
        Experiment::NumberSorting { sizes } => {
            ("number_sorting", number_sorting::run(seeds, &sizes)?)
        }
        Experiment::Jigsaw { sides, data_dir } => match jigsaw::images(&data_dir)? {
            Some(images) => ("jigsaw", jigsaw::run(seeds, &sides, &images)?),
            None => return Ok(()),
        },
        Experiment::Patches { data_dir } => match jigsaw::images(&data_dir)? {
            Some(images) => ("patches", patches::run(seeds, &images)?),
            None => return Ok(()),
        },
    };
    report.finish(&figures.join(name).with_extension("svg"))?;
    eprintln!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

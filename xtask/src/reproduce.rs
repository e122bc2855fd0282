//! `cargo xtask reproduce`: a published table, trained by `catvae sweep`, beside the published numbers.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{download, process, train, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which table
    #[arg(value_parser = ["reinmax-table"])]
    table: String,
    /// Passes over the training images; the published numbers are those after as many
    #[arg(long, value_name = "N", default_value_t = 160)]
    epochs: usize,
    /// Seeds, from 0 on
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// The folder of the runs; the same command goes on there [default: runs/reinmax-table]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Train nothing: the table of the finished runs in these folders
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["out", "seeds"])]
    merge: Vec<PathBuf>,
    /// A catvae that is built already
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The folder that holds one folder per data set [default: $CATVAE_DATA_DIR, or data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Further flags for `catvae sweep`, such as `-- --estimator reinmax --workers 1`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Trains what is not there yet, and prints the comparison as a table of Markdown.
pub(crate) fn run(args: &Args) -> Result<()> {
    let experiments = workspace::root().join("experiments");
    let published = published(&experiments.join("reinmax-published.csv"), args.epochs)?;
    let catvae = args.program.clone().map_or_else(train::build_catvae, Ok)?;
    let mut sweep = Command::new(&catvae);
    sweep.arg("sweep").arg("--json");
    if args.merge.is_empty() {
        let data = download::mnist(&catvae, args.data_dir.as_deref())?;
        let out = args.out.clone().unwrap_or_else(|| workspace::root().join("runs/reinmax-table"));
        sweep.arg(experiments.join("reinmax-table.toml")).arg("--out").arg(out);
        sweep.arg("--data-dir").arg(data).arg("--epochs").arg(args.epochs.to_string());
        sweep.arg("--seed").arg(format!("0..{}", args.seeds - 1)).args(&args.flags);
    } else {
        sweep.arg("--merge").args(&args.merge);
    }
    eprintln!("$ {}", process::shown(&sweep));
    let rows = process::stdout_of(&mut sweep)?;
    let rows = rows.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let rows = rows.context("catvae sweep --json did not print JSON")?;

    println!("| shape | estimator | seeds | train | published | test | published | |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut n_shown = 0;
    for published in &published {
        for row in rows.iter().filter(|row| published.is_of(row, args.epochs)) {
            if let Some(line) = line(published, row) {
                println!("{line}");
                n_shown += 1;
            }
        }
    }
    println!(
        "\nMean ± standard deviation over seeds after {} epochs, nats. `=`: ours lies within two published standard deviations of the \
         published mean; `-` below (better), `+` above.",
        args.epochs
    );
    ensure!(n_shown > 0, "no run of this table has finished {} epochs", args.epochs);
    Ok(())
}

/// A row of the published table: of a shape and an estimator after as many epochs as asked for.
#[derive(Debug, PartialEq)]
struct Published {
    categories: u64,
    latents: u64,
    estimator: String,
    train: (f64, f64),
    test: (f64, f64),
}

impl Published {
    /// Whether a row of ours is this one's.
    fn is_of(&self, row: &Value, epochs: usize) -> bool {
        // Settings are text.
        let is = |key: &str, value: &str| row["settings"][key] == value;
        is("estimator.name", &self.estimator)
            && is("model.n_categories", &self.categories.to_string())
            && is("model.n_latents", &self.latents.to_string())
            && is("training.epochs", &epochs.to_string())
    }
}

/// The published numbers after so many epochs.
fn published(path: &std::path::Path, epochs: usize) -> Result<Vec<Published>> {
    let told = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).with_context(told)?;
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows = lines.map(|line| parse(line).with_context(|| format!("{}: {line}", told())));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let known: std::collections::BTreeSet<usize> = rows.iter().map(|row| row.0).collect();
    ensure!(
        known.contains(&epochs),
        "no numbers were published after {epochs} epochs: --epochs takes one of {known:?}"
    );
    Ok(rows.into_iter().filter(|row| row.0 == epochs).map(|row| row.1).collect())
}

/// `shape,estimator,epoch,seeds,train_mean,train_sd,test_mean,test_sd`.
fn parse(line: &str) -> Option<(usize, Published)> {
    let fields: Vec<&str> = line.split(',').collect();
    let (categories, latents) = fields.first()?.split_once('x')?;
    let number = |i: usize| fields.get(i)?.parse::<f64>().ok();
    let row = Published {
        categories: categories.parse().ok()?,
        latents: latents.parse().ok()?,
        estimator: (*fields.get(1)?).to_owned(),
        train: (number(4)?, number(5)?),
        test: (number(6)?, number(7)?),
    };
    Some((fields.get(2)?.parse().ok()?, row))
}

/// Cross-entropy above which all codes give the mean image, whose own is 206 nats on MNIST.
const COLLAPSED: f64 = 200.0;

/// A line of the table; none where no seed is done.
fn line(published: &Published, row: &Value) -> Option<String> {
    let ours = |part: &str| {
        let numbers = &row[part];
        Some((numbers["mean"].as_f64()?, numbers["sd"].as_f64(), numbers["n"].as_u64()?))
    };
    let (train, test) = (ours("train")?, ours("test")?);
    let shown = |(mean, sd, _): (f64, Option<f64>, u64)| match sd {
        Some(sd) => format!("{mean:.2} ± {sd:.2}"),
        None => format!("{mean:.2}"),
    };
    let mark = |ours: f64, (mean, sd): (f64, f64)| match ours - mean {
        d if d < -2.0 * sd => '-',
        d if d > 2.0 * sd => '+',
        _ => '=',
    };
    // A mean over seeds of which one collapsed says nothing of the others.
    let seeds = row["seeds"].as_array()?;
    let done: Vec<&Value> =
        seeds.iter().map(|seed| &seed["last"]).filter(|m| m.is_object()).collect();
    let carries = |m: &&&Value| m["test_bce"].as_f64().is_some_and(|bce| bce < COLLAPSED);
    let others: Vec<_> = done.iter().filter(carries).collect();
    let mut notes = Vec::new();
    if others.len() < done.len() && !others.is_empty() {
        let mean = |key: &str| {
            let numbers = others.iter().filter_map(|m| m[key].as_f64());
            numbers.sum::<f64>() / others.len() as f64
        };
        let (train, test) = (mean("train_neg_elbo"), mean("test_neg_elbo"));
        let n = done.len() - others.len();
        notes.push(format!("{n} collapsed, the others {train:.2} and {test:.2}"));
    }
    for state in ["missing", "diverged"] {
        if let Some(n) = row[state].as_u64().filter(|&n| n > 0) {
            notes.push(format!("{n} {state}"));
        }
    }
    let of = |(mean, sd): (f64, f64)| format!("{mean:.2} ± {sd:.2}");
    Some(format!(
        "| {}x{} | `{}` | {} | {} {} | {} | {} {} | {} | {} |",
        published.categories,
        published.latents,
        published.estimator,
        test.2,
        shown(train),
        mark(train.0, published.train),
        of(published.train),
        shown(test),
        mark(test.0, published.test),
        of(published.test),
        notes.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_published_table_has_six_shapes_by_six_estimators_and_a_grid_to_match() {
        let experiments = workspace::root().join("experiments");
        for epochs in [20, 40, 160] {
            let rows = published(&experiments.join("reinmax-published.csv"), epochs).unwrap();
            assert_eq!(rows.len(), 36, "{epochs}");
        }
        let error = published(&experiments.join("reinmax-published.csv"), 41).unwrap_err();
        assert!(error.to_string().contains("40"), "{error}");
        let rows = published(&experiments.join("reinmax-published.csv"), 160).unwrap();
        let grid = std::fs::read_to_string(experiments.join("reinmax-table.toml")).unwrap();
        for Published { categories, latents, estimator, .. } in &rows {
            let name = format!("name = \"{estimator}-{categories}x{latents}\"\n");
            let (_, variant) = grid.split_once(&name).unwrap();
            let variant = variant.split("[[").next().unwrap();
            assert!(variant.contains(&format!("categories = {categories}\nlatents = {latents}\n")));
            assert!(variant.starts_with(&format!("estimator = \"{estimator}")), "{variant}");
        }
    }

    #[test]
    fn a_line_marks_what_lies_within_two_standard_deviations_and_tells_a_collapse() {
        let published = parse("8x4,reinmax,40,10,129.5,0.6,129.7,0.7").unwrap().1;
        let seed = |bce: f64, train: f64| json!({ "last": { "test_bce": bce, "train_neg_elbo": train, "test_neg_elbo": train } });
        let row = json!({
            "settings": { "estimator.name": "reinmax", "model.n_categories": "8", "model.n_latents": "4", "training.epochs": "40" },
            "train": { "mean": 130.6, "sd": 0.5, "n": 2 }, "test": { "mean": 131.2, "sd": null, "n": 2 },
            "missing": 1, "diverged": 0, "seeds": [seed(120.0, 130.0), seed(206.0, 214.0), { "last": null }],
        });
        assert!(published.is_of(&row, 40) && !published.is_of(&row, 20));
        let expected = "| 8x4 | `reinmax` | 2 | 130.60 ± 0.50 = | 129.50 ± 0.60 | 131.20 + | 129.70 ± 0.70 | 1 collapsed, the others \
            130.00 and 130.00; 1 missing |";
        assert_eq!(line(&published, &row).unwrap(), expected);
    }
}

//! `cargo xtask download`: fetches a data set, file by file, and puts only verified files in place.

mod catalogue;
mod fetch;
mod partial;
#[cfg(test)]
mod test_data;
#[cfg(test)]
mod test_server;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use catalogue::Name;
use catalogue::{DataFile, Dataset};
use fetch::{Failure, Limits};
use partial::Partial;
use verify::{Packing, Verdict};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data set
    dataset: Name,
    /// The folder that holds one folder per data set [default: $CATVAE_DATA_DIR, or data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Look here instead of at the usual places; the file's name is appended. May be repeated
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
}

/// Downloads what is missing or damaged.
pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = args.dataset.folder(args.data_dir.as_deref())?;
    fetch_dataset(args.dataset, &args.mirror, &folder)?;
    println!("{}", folder.display());
    Ok(())
}

/// Makes `folder` hold the data set; files that are there and sound are left alone.
///
/// # Errors
/// When a file can be had from none of the mirrors, or cannot be written.
pub(crate) fn fetch_dataset(name: Name, mirrors: &[String], folder: &Path) -> Result<()> {
    let dataset = name.dataset();
    let mirrors = if mirrors.is_empty() {
        dataset.mirrors.iter().map(ToString::to_string).collect()
    } else {
        mirrors.to_vec()
    };
    let limits = Limits::for_the_internet();
    Download { agent: fetch::agent(&limits, true), limits, mirrors }.dataset(&dataset, folder)
}

/// Whether `folder` holds all files of the data set, sound.
pub(crate) fn is_complete(name: Name, folder: &Path) -> Result<bool> {
    for file in &name.dataset().files {
        if present(file, folder)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How to fetch, and from where.
struct Download {
    agent: ureq::Agent,
    limits: Limits,
    mirrors: Vec<String>,
}

impl Download {
    fn dataset(&self, dataset: &Dataset, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for file in &dataset.files {
            match present(file, folder)? {
                Some(path) => eprintln!("{}: there, and sound", path.display()),
                None => self.file(file, dataset, folder)?,
            }
        }
        Ok(())
    }

    /// Fetches one file from the first mirror that has it whole.
    fn file(&self, file: &DataFile, dataset: &Dataset, folder: &Path) -> Result<()> {
        let target = folder.join(file.gz_name());
        let mut partial = Partial::open(&target)?;
        let bar = progress_bar(&file.gz_name());
        let mut failures = Vec::new();
        for mirror in &self.mirrors {
            let url = format!("{}/{}", mirror.trim_end_matches('/'), file.gz_name());
            match self.try_mirror(file, &url, &mut partial, &bar) {
                Ok(()) => {
                    partial.commit(&target)?;
                    bar.finish_and_clear();
                    eprintln!(
                        "{}: downloaded from {mirror}, checksum as it should be",
                        target.display()
                    );
                    return Ok(());
                }
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Mirror(reason) | Failure::Passing(reason)) => {
                    bar.suspend(|| eprintln!("{url}: {reason}"));
                    failures.push(format!("{url}: {reason}"));
                }
            }
        }
        bar.finish_and_clear();
        bail!(
            "{} could not be downloaded, every mirror failed:\n  {}\n{}",
            file.gz_name(),
            failures.join("\n  "),
            by_hand(dataset, folder)
        )
    }

    /// Tries one mirror again and again for as long as the file grows, and a few times without.
    fn try_mirror(
        &self,
        file: &DataFile,
        url: &str,
        partial: &mut Partial,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let mut longest = 0;
        let mut fruitless = 0;
        loop {
            let ended = fetch::attempt(&self.agent, url, partial, file.most_gz_bytes(), bar);
            let passing = match ended {
                Ok(()) => None,
                Err(Failure::Passing(reason)) => Some(reason),
                Err(other) => return Err(other),
            };
            // Whatever the server said about lengths, what counts is the checksum.
            let reason = match (
                verify::verify(partial.path(), file, Packing::Gzip).map_err(Failure::Local)?,
                passing,
            ) {
                (Verdict::Sound, _) => return Ok(()),
                (_, Some(cut)) => cut,
                (Verdict::Unknown(wrong) | Verdict::Damaged(wrong), None) => {
                    partial.discard().map_err(Failure::Local)?;
                    format!("what it sent is damaged: {wrong}")
                }
            };
            if partial.len() > longest {
                longest = partial.len();
                fruitless = 0;
            } else {
                fruitless += 1;
            }
            if fruitless >= self.limits.fruitless_attempts {
                return Err(Failure::Mirror(reason));
            }
            bar.suspend(|| eprintln!("{url}: {reason}; trying again from byte {}", partial.len()));
            std::thread::sleep(self.limits.pause * (1 + fruitless));
        }
    }
}

/// Where the file lies in `folder`, raw or `.gz`, if it is sound.
///
/// # Errors
/// When a raw file is damaged: it is not ours to replace, and it would be read before the `.gz`.
fn present(file: &DataFile, folder: &Path) -> Result<Option<PathBuf>> {
    let mut present = None;
    for (name, packing) in [(file.gz_name(), Packing::Gzip), (file.name.to_owned(), Packing::Raw)] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        match verify::verify(&path, file, packing)? {
            Verdict::Sound => present = Some(path),
            Verdict::Unknown(why) => {
                eprintln!("{}: taken as it is; {why}", path.display());
                present = Some(path);
            }
            Verdict::Damaged(wrong) if packing == Packing::Raw => {
                bail!("{} is damaged: {wrong}. Move it away and run this again", path.display());
            }
            Verdict::Damaged(wrong) => eprintln!("{} is damaged: {wrong}", path.display()),
        }
    }
    Ok(present)
}

/// What someone without this network can do.
fn by_hand(dataset: &Dataset, folder: &Path) -> String {
    let files: Vec<_> = dataset.files.iter().map(DataFile::gz_name).collect();
    format!(
        "Without a network, put these files (as they are or unpacked) into {} by hand:\n  {}\n\
         They are found at {}; another place can be named with --mirror URL",
        folder.display(),
        files.join("\n  "),
        dataset.mirrors.join(" and "),
    )
}

/// A bar on stderr; indicatif hides it where stderr is no terminal.
fn progress_bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::no_length().with_message(name.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests;

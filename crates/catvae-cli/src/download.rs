//! `catvae download`: fetches a data set, file by file, and puts in place only what its checksum confirms.
//!
//! A file is received in memory (the largest has 26 MB), checked, written under a name that was free, and renamed.
//! So an interrupted download leaves nothing behind, and no file that is there is ever opened for writing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::{StatusCode, header};

use crate::args::DownloadArgs;
use crate::progress::{print_line, warn};

/// A data set that can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Handwritten digits, 60,000 + 10,000 (LeCun, Cortes and Burges)
    Mnist,
    /// Articles of clothing in the same format (Xiao, Rasul and Vollgraf 2017)
    FashionMnist,
    /// Cursive Japanese characters in the same format (Clanuwat et al. 2018)
    Kmnist,
}

/// The files of each data set, without `.gz`.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Where a data set is published, and how its files are known.
#[derive(Debug)]
struct Dataset {
    mirrors: Vec<String>,
    hashed: Hashed,
    /// SHA-256 of each of [`FILES`], as hexadecimal digits.
    checksums: [String; 4],
}

/// What the checksums are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hashed {
    /// The unpacked bytes, for files that mirrors have packed anew.
    Content,
    /// The `.gz` as its authors publish it.
    Packed,
}

impl Name {
    fn dataset(self) -> Dataset {
        let (mirrors, hashed, checksums): (&[&str], _, _) = match self {
            Self::Mnist => (
                &[
                    "https://ossci-datasets.s3.amazonaws.com/mnist",
                    "https://storage.googleapis.com/cvdf-datasets/mnist",
                ],
                Hashed::Content,
                [
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ],
            ),
            Self::FashionMnist => (
                &[
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
                    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
                ],
                Hashed::Packed,
                [
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ],
            ),
            Self::Kmnist => (
                &["https://codh.rois.ac.jp/kmnist/dataset/kmnist"],
                Hashed::Packed,
                [
                    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
                ],
            ),
        };
        Dataset {
            mirrors: mirrors.iter().map(ToString::to_string).collect(),
            hashed,
            checksums: checksums.map(str::to_owned),
        }
    }

    /// Where it lies, or belongs: `data_dir` if that holds some of the files itself, else the folder of this
    /// name in `data_dir`, `$CATVAE_DATA_DIR`, or `data`: where `--dataset` looks for it.
    fn folder(self, data_dir: Option<&Path>) -> PathBuf {
        let is_there = |dir: &Path, name: &str| {
            dir.join(name).is_file() || dir.join(format!("{name}.gz")).is_file()
        };
        if let Some(dir) = data_dir.filter(|dir| FILES.iter().any(|name| is_there(dir, name))) {
            return dir.to_owned();
        }
        let variable = std::env::var_os("CATVAE_DATA_DIR").filter(|dir| !dir.is_empty());
        let all = data_dir.map(Path::to_owned).or(variable.map(PathBuf::from));
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        all.unwrap_or_else(|| PathBuf::from("data")).join(name.unwrap_or_default())
    }
}

pub(crate) fn download(args: &DownloadArgs) -> Result<ExitCode> {
    let folder = args.name.folder(args.data_dir.as_deref());
    fetch(args.name, &args.mirror, &folder)?;
    print_line(&format!("{}", folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// Makes `folder` hold the data set; files that are there are checked and left alone.
///
/// # Errors
/// When a file that is there is another one, can be had from none of the mirrors, or cannot be written.
fn fetch(name: Name, mirrors: &[String], folder: &Path) -> Result<()> {
    let mut dataset = name.dataset();
    if !mirrors.is_empty() {
        dataset.mirrors = mirrors.to_vec();
    }
    let agent = agent(PATIENCE, ureq::Proxy::try_from_env());
    Download { agent, dataset, patience: PATIENCE }.all(folder)
}

/// How long a server may take to answer, and may send nothing or next to nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes per second; a server that is slower is left.
const LEAST_RATE: f64 = 1024.0;
/// More than any of the files has, packed or not.
const MOST_BYTES: usize = 64 << 20;
/// An answer of so many bytes makes it worth asking again for the rest. More than a server that is left can send.
const WORTH_RESUMING: usize = 64 << 10;

fn agent(patience: Duration, proxy: Option<ureq::Proxy>) -> Agent {
    Agent::config_builder()
        .timeout_resolve(Some(patience))
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .proxy(proxy)
        // The files are gzip themselves: nothing may be unpacked, or packed again, on the way.
        .accept_encoding("identity")
        .build()
        .into()
}

struct Download {
    agent: Agent,
    dataset: Dataset,
    patience: Duration,
}

impl Download {
    fn all(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for (name, checksum) in FILES.iter().zip(&self.dataset.checksums) {
            if !self.is_there(name, checksum, folder)? {
                let bytes = self.fetch_file(name, checksum, folder)?;
                put(&folder.join(format!("{name}.gz")), &bytes)?;
            }
        }
        Ok(())
    }

    /// Whether the file is there, raw or packed. What is there is never replaced: who put it there may need it.
    fn is_there(&self, name: &str, checksum: &str, folder: &Path) -> Result<bool> {
        let (raw, packed) = (folder.join(name), folder.join(format!("{name}.gz")));
        let Some(path) = [&raw, &packed].into_iter().find(|path| path.is_file()) else {
            return Ok(false);
        };
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let checked = self.dataset.check(file, *path == packed, checksum);
        checked.with_context(|| {
            format!(
                "{} is not the published file; move it away, or name another folder with --data-dir",
                path.display()
            )
        })?;
        warn(&format!("{}: there", path.display()));
        Ok(true)
    }

    /// The packed file, from the first mirror that has it.
    fn fetch_file(&self, name: &str, checksum: &str, folder: &Path) -> Result<Vec<u8>> {
        let mut failures = String::new();
        for mirror in &self.dataset.mirrors {
            let url = format!("{}/{name}.gz", mirror.trim_end_matches('/'));
            let shown = without_credentials(&url);
            warn(&format!("{shown} …"));
            match self.fetch_from(&url, checksum) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    let reason = format!("{error:#}").replace(&url, &shown);
                    failures.push_str(&format!("\n  {shown}: {reason}"));
                }
            }
        }
        bail!(
            "{name}.gz could not be downloaded, every mirror failed:{failures}\n\
             By hand: put these files, packed or not, into {}:\n  {}\n\
             From another place: catvae download NAME --mirror URL",
            folder.display(),
            FILES.map(|name| format!("{name}.gz")).join("\n  "),
        )
    }

    /// Asks one mirror, and again for the rest as long as every answer brings some of it.
    fn fetch_from(&self, url: &str, checksum: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            match self.receive(url, &mut bytes) {
                Ok(()) => break,
                Err(_) if bytes.len() >= before + WORTH_RESUMING => {}
                Err(error) => return Err(error),
            }
        }
        self.dataset.check(&bytes[..], true, checksum).context("what it sent is damaged")?;
        Ok(bytes)
    }

    /// Appends what is missing of the file. A server that does not know ranges begins anew; whether the parts
    /// belong together is for the checksum to say.
    fn receive(&self, url: &str, bytes: &mut Vec<u8>) -> Result<()> {
        let range = format!("bytes={}-", bytes.len());
        let answer = self.agent.get(url).header(header::RANGE, range).call()?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            bytes.clear();
        }
        let body_length = answer.body().content_length();
        let mut body = answer.into_body().into_reader();
        let (started, before) = (Instant::now(), bytes.len());
        let mut buffer = vec![0; 64 << 10];
        let length = body_length.map(|rest| rest + before as u64);
        let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let _cleared = Cleared(&bar);
        loop {
            bar.set_position(bytes.len() as u64);
            let n_read = body
                .read(&mut buffer)
                .with_context(|| format!("the connection broke after {} bytes", bytes.len()))?;
            if n_read == 0 {
                return Ok(());
            }
            if bytes.len() + n_read > MOST_BYTES {
                bytes.clear();
                bail!("it sends more than the file can have");
            }
            bytes.extend_from_slice(&buffer[..n_read]);
            let (elapsed, n_received) = (started.elapsed(), bytes.len() - before);
            ensure!(
                elapsed < self.patience || n_received as f64 > LEAST_RATE * elapsed.as_secs_f64(),
                "it sent only {n_received} bytes in {} s",
                elapsed.as_secs()
            );
        }
    }
}

/// Takes the bar off the screen, however the download ends.
struct Cleared<'a>(&'a ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Dataset {
    /// An error unless the file is the published one.
    fn check(&self, file: impl Read, is_packed: bool, checksum: &str) -> Result<()> {
        let found = match (self.hashed, is_packed) {
            (Hashed::Content, true) => {
                let content = MultiGzDecoder::new(file).take(MOST_BYTES as u64);
                sha256(content).context("it does not unpack")?
            }
            (Hashed::Content, false) | (Hashed::Packed, true) => sha256(file)?,
            // Nobody published a checksum of the unpacked files.
            (Hashed::Packed, false) => return Ok(()),
        };
        ensure!(found == checksum, "its SHA-256 is {found} where {checksum} belongs");
        Ok(())
    }
}

fn sha256(mut bytes: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n_read => hash.update(&buffer[..n_read]),
        }
    }
}

/// Writes beside the target and renames, so that the file is there whole or not at all.
fn put(target: &Path, bytes: &[u8]) -> Result<()> {
    let beside = target.with_extension(format!("gz.{}", std::process::id()));
    let cannot_write = || format!("cannot write {}", beside.display());
    let mut file = File::create_new(&beside).with_context(cannot_write)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, target));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.with_context(cannot_write)
}

/// The address without the name and password that it may begin with.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests;

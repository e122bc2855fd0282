//! The folder of a run: where everything of it lies, and who may write there.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use catvae_model::ModelSettings;

use crate::durable::{create_dir_synced, write_atomically};
use crate::error::io;
use crate::{Checkpoints, Error, Metrics, Result, RunConfig};

/// A run folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

/// A run folder that this process alone may write to, until this is dropped or the process ends.
#[derive(Debug)]
pub struct LockedRun {
    run: RunDir,
    /// The folder itself; `None` where folders cannot be opened.
    folder: Option<File>,
    /// `None` on a file system without locks.
    lock: Mutex<Option<File>>,
}

impl Deref for LockedRun {
    type Target = RunDir;

    fn deref(&self) -> &RunDir {
        &self.run
    }
}

impl LockedRun {
    /// Makes sure that a fresh run may begin here: it would overwrite what another one left.
    ///
    /// # Errors
    /// [`Error::RunExists`] naming what is there.
    pub fn check_unused(&self) -> Result<()> {
        let remains = [self.config_path(), self.checkpoints().path, self.metrics().path];
        match remains.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(found) => Err(Error::RunExists { path: self.path.clone(), found }),
            None => Ok(()),
        }
    }

    /// Writes the configuration of the run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config<M: ModelSettings>(&self, config: &RunConfig<M>) -> Result<()> {
        let text = format!(
            "# Written by catvae. `catvae train --config` with this file repeats the run.\n\n{}",
            config.to_toml()?
        );
        write_atomically(&self.config_path(), text.as_bytes())
    }

    /// Makes sure that the folder is still the one that was locked. Without this, a run whose
    /// folder was removed would go on into a new folder that lacks its configuration and its past.
    ///
    /// # Errors
    /// [`Error::RunVanished`].
    fn check_is_there(&self) -> Result<()> {
        if !self.folder.as_ref().is_none_or(|folder| is_same_file(folder, &self.path)) {
            return Err(Error::RunVanished { path: self.path.clone() });
        }
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // A cleaner of old files may have taken the lock alone.
        if lock.as_ref().is_some_and(|lock| !is_same_file(lock, &self.lock_path())) {
            *lock = self.run.take_lock()?;
        }
        Ok(())
    }

    /// Whether other processes are kept out: some file systems have no locks.
    pub fn keeps_others_out(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Writes something into the folder. Where that fails because the folder vanishes meanwhile, it is
    /// this that is reported, and not the file that was being written.
    pub(crate) fn write<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check_is_there()?;
        write().map_err(|error| self.check_is_there().err().unwrap_or(error))
    }
}

impl RunDir {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the resolved configuration.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.path.join("metrics.jsonl"))
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join("checkpoints"))
    }

    /// Whether a run was started here.
    pub fn holds_run(&self) -> bool {
        self.config_path().is_file()
    }

    /// Makes the folder where it is missing and locks it against other processes.
    ///
    /// # Errors
    /// [`Error::Locked`]; [`Error::Io`] when the folder cannot be made or written to.
    pub fn lock(&self) -> Result<LockedRun> {
        create_dir_synced(&self.path)?;
        let lock = Mutex::new(self.take_lock()?);
        Ok(LockedRun { run: self.clone(), folder: File::open(&self.path).ok(), lock })
    }

    fn take_lock(&self) -> Result<Option<File>> {
        let path = self.lock_path();
        // A link would lead out of the folder, and opening a pipe would wait for its other end.
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Err(io("cannot lock", &path)(std::io::Error::other("it is no regular file")));
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io("cannot write", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: self.path.clone() }),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io("cannot lock", &path)(error)),
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join(".lock")
    }

    /// Reads the configuration of the run.
    ///
    /// # Errors
    /// [`Error::NoRun`] when the folder holds no run; those of [`RunConfig::read`].
    pub fn read_config<M: ModelSettings>(&self) -> Result<RunConfig<M>> {
        let path = self.config_path();
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(io("cannot read", &path)(std::io::Error::other("it is no regular file")));
        }
        RunConfig::read(&path).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                Error::NoRun { path: self.path.clone() }
            }
            error => error,
        })
    }
}

/// Whether the error means that there are no locks, and not that this one failed.
fn has_no_locks(error: &std::io::Error) -> bool {
    // ENOLCK, which the standard library has no name for.
    let no_locks = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == ErrorKind::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(no_locks))
}

/// Whether the open file or folder still lies at `path`.
#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

/// Other systems keep what is open from being removed.
#[cfg(not(unix))]
fn is_same_file(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use catvae_model::ModelConfig;

    use super::*;
    use crate::TrainConfig;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("new/run"));
        let first = run.lock().unwrap();
        let error = run.lock().unwrap_err().to_string();
        assert!(error.contains("another process is training"), "{error}");
        drop(first);
        run.lock().unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_removed_or_replaced_folder_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("run"));
        let locked = run.lock().unwrap();
        locked.check_is_there().unwrap();
        std::fs::remove_dir_all(run.path()).unwrap();
        let error = locked.check_is_there().unwrap_err().to_string();
        assert!(error.contains("was removed or replaced"), "{error}");
        let other = run.lock().unwrap();
        assert!(locked.check_is_there().is_err());
        other.check_is_there().unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_lock_that_was_removed_is_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path().join("run"));
        let locked = run.lock().unwrap();
        std::fs::remove_file(run.lock_path()).unwrap();
        locked.check_is_there().unwrap();
        assert!(matches!(run.lock(), Err(Error::Locked { .. })));
        // Unless another process was faster.
        std::fs::remove_file(run.lock_path()).unwrap();
        let _other = run.lock().unwrap();
        assert!(matches!(locked.check_is_there(), Err(Error::Locked { .. })));
    }

    #[test]
    fn the_configuration_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let error = run.read_config::<ModelConfig>().unwrap_err();
        assert!(error.to_string().contains("is not a run folder"));
        let mut config = TrainConfig::default();
        config.training.seed = 42;
        run.lock().unwrap().write_config(&config).unwrap();
        assert_eq!(run.read_config().unwrap(), config);
    }
}

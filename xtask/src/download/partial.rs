//! A download that has begun: `NAME.gz.part`, and beside it `NAME.gz.part.json` with where it comes from.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

/// What the bytes so far are the beginning of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) url: String,
    /// The server's `ETag` or `Last-Modified`, for `If-Range`. Without one nothing can be resumed.
    pub(super) validator: Option<String>,
}

/// The file that grows; locked against a second download of the same file for as long as it is open.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    origin: Option<Origin>,
}

impl Partial {
    /// Opens what an earlier attempt left beside `target`, or an empty file.
    ///
    /// # Errors
    /// When it cannot be opened, or another process is at it.
    pub(super) fn open(target: &Path) -> Result<Self> {
        let path = with_suffix(target, ".part");
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("cannot open {} for writing", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another download is at {}; wait for it", path.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let len =
            file.metadata().with_context(|| format!("cannot look at {}", path.display()))?.len();
        let origin = fs::read_to_string(with_suffix(&path, ".json"))
            .ok()
            .and_then(|text| parse_origin(&text));
        Ok(Self { path, file, len, origin })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The validator to resume from `url` with; none when there is nothing to resume.
    pub(super) fn validator_for(&self, url: &str) -> Option<&str> {
        let origin = self.origin.as_ref().filter(|origin| origin.url == url)?;
        origin.validator.as_deref().filter(|_| self.len > 0)
    }

    /// Starts over with bytes from `origin`.
    pub(super) fn restart(&mut self, origin: Origin) -> Result<()> {
        self.truncate()?;
        let note = json!({ "url": origin.url, "validator": origin.validator });
        let path = with_suffix(&self.path, ".json");
        fs::write(&path, note.to_string()).map_err(|error| cannot_write(&path, error))?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.path, error))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets the bytes so far.
    pub(super) fn discard(&mut self) -> Result<()> {
        self.truncate()?;
        self.origin = None;
        remove_if_there(&with_suffix(&self.path, ".json"))
    }

    /// Puts the file in place, all of it or nothing: the bytes reach the disk first, then the name.
    pub(super) fn commit(self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|error| cannot_write(&self.path, error))?;
        fs::rename(&self.path, target).with_context(|| {
            format!("cannot rename {} to {}", self.path.display(), target.display())
        })?;
        remove_if_there(&with_suffix(&self.path, ".json"))?;
        sync_folder_of(target)
    }

    fn truncate(&mut self) -> Result<()> {
        if self.len > 0 {
            self.file.set_len(0).map_err(|error| cannot_write(&self.path, error))?;
            self.len = 0;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A download of which nothing came leaves nothing; after `commit` the name is gone already.
        if self.len == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn parse_origin(text: &str) -> Option<Origin> {
    let note: Value = serde_json::from_str(text).ok()?;
    Some(Origin {
        url: note.get("url")?.as_str()?.to_owned(),
        validator: note.get("validator").and_then(Value::as_str).map(str::to_owned),
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path, error: io::Error) -> anyhow::Error {
    let folder = path.parent().unwrap_or(path);
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
            "; the disk is full: make room in {} or name another folder with --data-dir, and run this again: \
             it goes on where it stopped",
            folder.display()
        ),
        _ => String::new(),
    };
    let message = format!("cannot write {}{hint}", path.display());
    anyhow!(error).context(message)
}

/// Makes the rename itself durable, where a folder can be opened as a file.
fn sync_folder_of(path: &Path) -> Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("cannot sync the folder {}", folder.display()))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { url: "http://a/b.gz".to_owned(), validator: Some("\"tag\"".to_owned()) }
    }

    #[test]
    fn a_second_process_sees_what_the_first_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.gz");
        let mut first = Partial::open(&target).unwrap();
        first.restart(origin()).unwrap();
        first.append(b"begun").unwrap();
        drop(first);

        let second = Partial::open(&target).unwrap();
        assert_eq!(second.len(), 5);
        assert_eq!(second.validator_for("http://a/b.gz"), Some("\"tag\""));
        assert_eq!(second.validator_for("http://other/b.gz"), None);
    }

    #[test]
    fn an_unreadable_note_means_starting_over_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.gz");
        fs::write(folder.path().join("b.gz.part"), b"begun").unwrap();
        fs::write(folder.path().join("b.gz.part.json"), b"{\"url\": \"http://a/b").unwrap();
        assert_eq!(Partial::open(&target).unwrap().validator_for("http://a/b.gz"), None);
    }

    #[test]
    fn a_committed_file_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.gz");
        let mut partial = Partial::open(&target).unwrap();
        partial.restart(origin()).unwrap();
        partial.append(b"all").unwrap();
        partial.commit(&target).unwrap();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["b.gz"]);
        assert_eq!(fs::read(&target).unwrap(), b"all");
    }

    #[test]
    fn two_downloads_of_one_file_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("b.gz");
        let _first = Partial::open(&target).unwrap();
        let error = Partial::open(&target).unwrap_err();
        assert!(error.to_string().contains("another download"), "{error}");
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Partial::open(&folder.path().join("missing/b.gz")).unwrap_err();
        assert!(error.to_string().contains("b.gz.part"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_called_that() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("b.gz.part")).unwrap();
        let mut partial = Partial::open(&folder.path().join("b.gz")).unwrap();
        let error = partial.append(b"no room").unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
}

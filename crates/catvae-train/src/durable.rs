//! Files that are complete or absent, also after a crash or a power loss.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use catvae_data::replace_file;

use crate::error::io;
use crate::{Error, Result};

/// Writes a file that is not there yet and waits until its bytes are on the disk. A link in its place is no
/// way out of the folder: it is an error.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create_new(path).map_err(io("cannot create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("cannot write", path))
}

/// Makes a folder and those above it that are missing, and waits until their entries are on the disk.
pub(crate) fn create_dir_synced(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    // Of several missing folders, the error names the one that was asked for.
    create_dir_synced(parent).map_err(|error| match error {
        Error::Io { action, source, .. } => Error::Io { action, path: path.to_owned(), source },
        error => error,
    })?;
    create_child_synced(path)
}

/// Makes a folder whose parent is there, and waits until its entry is on the disk. In a run that goes on, a parent that
/// is missing was removed, and must not come back.
pub(crate) fn create_child_synced(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    match fs::create_dir(path) {
        // Another process was faster; it may not have synced yet.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if !path.is_dir() {
                let message = "there is a file of that name: choose another name for the folder";
                return Err(io("cannot create", path)(std::io::Error::new(error.kind(), message)));
            }
        }
        made => made.map_err(io("cannot create", path))?,
    }
    sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// Waits until the entries of a folder are on the disk: a rename is durable only after this.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    // The parent of `name` is the empty path.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // Other systems have no way to sync a folder, and no need of it.
    #[cfg(unix)]
    match File::open(path).and_then(|dir| dir.sync_all()) {
        // Nor have some file systems, such as those of a network. What they promise is all there is.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
        synced => synced.map_err(io("cannot sync", path))?,
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Replaces a file in one step: a reader sees the old bytes or the new ones. A link at `path` is replaced too.
///
/// # Errors
/// [`Error::Io`]; the old file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_file(path, |file| file.write_all(bytes)).map_err(io("cannot write", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Opens a regular file. Opening a pipe in its place would wait for a writer, and a device may have no end.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<File> {
    match path.metadata()?.is_file() {
        true => File::open(path),
        false => Err(std::io::Error::other("it is no regular file")),
    }
}

/// The path with something after its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

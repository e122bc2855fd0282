//! Files that are complete or absent, also after a crash or a power loss.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::Result;
use crate::error::io;

/// Writes a new file and waits until its bytes are on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(io("cannot create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("cannot write", path))
}

/// Waits until the entries of a folder are on the disk: a rename is durable only after this.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    // Other systems have no way to sync a folder, and no need of it.
    #[cfg(unix)]
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io("cannot sync", path))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Replaces a file in one step: a reader sees the old bytes or the new ones.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut incoming = path.as_os_str().to_owned();
    incoming.push(".incoming");
    let incoming = Path::new(&incoming);
    let written = write_synced(incoming, bytes)
        .and_then(|()| fs::rename(incoming, path).map_err(io("cannot rename to", path)));
    if written.is_err() {
        // The error is reported; a left-over would be overwritten by the next attempt anyway.
        let _ = fs::remove_file(incoming);
    }
    written?;
    path.parent().map_or(Ok(()), sync_dir)
}

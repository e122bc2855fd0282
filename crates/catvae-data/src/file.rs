//! Files that are complete or absent, and never pipes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use crate::FileDefect;

/// Replaces the file at `path` with what `write` writes: a reader sees the old bytes or the new ones.
///
/// The new bytes go into `path.incoming`, which is on the disk before it is renamed. A link in the
/// place of that file is not followed.
///
/// # Errors
/// Those of `write` and of the operating system; then `path` is as it was.
pub fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut incoming = path.as_os_str().to_owned();
    incoming.push(".incoming");
    let incoming = Path::new(&incoming);
    // The remains of a program that was killed.
    match fs::remove_file(incoming) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let written = File::create_new(incoming).and_then(|file| {
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        fs::rename(incoming, path)
    });
    // What is left of a failed write is of no use; the error that matters is the first.
    written.inspect_err(|_| drop(fs::remove_file(incoming)))
}

/// Bytes in hexadecimal, as checksums are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a regular file and tells its length. Opening a pipe would wait for its writer.
pub(crate) fn open(path: &Path) -> Result<(File, u64), FileDefect> {
    if !fs::metadata(path)?.is_file() {
        return Err(FileDefect::NotAFile);
    }
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// The first `N` bytes.
pub(crate) fn start<const N: usize>(mut file: File) -> Result<[u8; N], FileDefect> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

//! Where the workspace lies.

use std::path::Path;

/// The workspace's root: the folder that this package's own lies in.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

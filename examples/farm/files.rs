//! Where the images are, and where their thumbnails go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;
use watertight::prelude::*;

use crate::thumbnail::Job;

/// Files that are taken for images: what is in them is found out later.
const ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "gif", "runs"];

/// An image.
pub struct File {
    path: PathBuf,
    /// Below the folder in which it was found.
    pub name: PathBuf,
}

impl File {
    /// What a worker is told.
    pub fn job(&self, size: u32) -> Job {
        Job { path: OsString::from(&self.path), size }
    }

    /// Writes its thumbnail.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn write(&self, folder: &Path, png: &[u8]) -> std::io::Result<()> {
        let mut name = OsString::from(folder.join(&self.name));
        name.push(".png");
        let path = PathBuf::from(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, png)
    }
}

/// All images below a folder, in the order of their names, without what an earlier run has written.
///
/// # Errors
/// A folder that cannot be read: what is in it would be left out in silence. There are none. The output stands among
/// the images.
pub fn below(folder: &Path, output: Option<&Path>) -> Result<Vec<File>> {
    let output = output.and_then(|folder| folder.canonicalize().ok());
    if output.as_deref() == Some(folder) {
        return Err(Error::new("--output is the folder of the images; name another one, or one below it"));
    }
    let walk = WalkDir::new(folder).sort_by_file_name().into_iter();
    let mut files = Vec::new();
    for entry in walk.filter_entry(|entry| Some(entry.path()) != output.as_deref()) {
        let entry = entry.map_err(|error| Error::from(error).context("failed to look for images"))?;
        let ending = entry.path().extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if entry.file_type().is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            let path = entry.into_path();
            let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            files.push(File { path, name });
        }
    }
    if files.is_empty() {
        let (folder, endings) = (folder.display(), ENDINGS.join(", ."));
        return Err(Error::new(format!(
            "{folder} has no files that end in .{endings}; links are not followed"
        )));
    }
    Ok(files)
}

//! Finds the files to count, before any is opened: their number decides how kills are spread.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::chunk::CHUNK;

/// What there is to count.
#[derive(Default)]
pub struct Plan {
    /// Every regular file once, by its name; two names of one file are two.
    pub files: Vec<PathBuf>,
    /// How many bytes they are said to have.
    pub bytes: u64,
    /// At least so many chunks come of that.
    pub chunks: u64,
    /// Places that are neither folders nor regular files; symbolic links among them.
    pub skipped: u64,
    /// Folders that could not be read.
    pub unreadable: Faults,
}

/// Places that could not be read: all counted, the first few named.
#[derive(Default)]
pub struct Faults {
    /// How many.
    pub count: u64,
    /// What went wrong with the first ones.
    pub named: Vec<String>,
}

/// More lines than these tell a reader nothing new.
const NAMED: usize = 10;

impl Faults {
    /// One more.
    pub fn add(&mut self, path: &Path, error: impl std::fmt::Display) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{}: {error}", path.display()));
        }
    }

    /// Those of both.
    pub fn join(&mut self, other: Faults) {
        self.count += other.count;
        self.named.extend(other.named);
        self.named.truncate(NAMED);
    }
}

/// Walks all roots, which are true paths. Places under several of them count once.
pub fn walk(roots: &[PathBuf]) -> Plan {
    let mut plan = Plan::default();
    // Only where roots may overlap is it worth remembering what was seen.
    let mut seen = (roots.len() > 1).then(HashSet::new);
    for root in roots {
        let walk = WalkDir::new(root).follow_links(false).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| !is_left_out(entry)) {
            match entry {
                Ok(entry) if seen.as_mut().is_none_or(|seen| seen.insert(entry.path().to_owned())) => {
                    plan.add(entry);
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(root).to_owned();
                    match error.io_error() {
                        Some(error) => plan.unreadable.add(&path, error),
                        None => plan.unreadable.add(&path, &error),
                    }
                }
            }
        }
    }
    plan
}

/// Build results and history are not what anybody has written. What the user named is not left out.
fn is_left_out(entry: &DirEntry) -> bool {
    entry.depth() > 0
        && entry.file_type().is_dir()
        && (entry.file_name() == ".git" || entry.file_name() == "target")
}

impl Plan {
    fn add(&mut self, entry: DirEntry) {
        if entry.file_type().is_dir() {
            return;
        }
        if !entry.file_type().is_file() {
            self.skipped += 1;
            return;
        }
        match entry.metadata() {
            Ok(metadata) => {
                self.bytes += metadata.len();
                self.chunks += metadata.len().div_ceil(CHUNK as u64);
                self.files.push(entry.into_path());
            }
            Err(error) => self.unreadable.add(entry.path(), error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn regular_files_are_found_hidden_ones_too_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in
            ["sub/.hidden", "a/target", ".git/left-out", "sub/target/left-out", "targets", "sub/.github/b"]
        {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "words").unwrap();
        }
        symlink(root.join("targets"), root.join("link")).unwrap();
        symlink(&root, root.join("sub/loop")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let mut files = walk(std::slice::from_ref(&root)).files;
        files.sort();
        let expected = ["a/target", "sub/.github/b", "sub/.hidden", "targets"].map(|name| root.join(name));
        assert_eq!(files, expected);
        let overlapping = walk(&[root.clone(), root.join("sub"), root.join("sub/target")]);
        assert_eq!(overlapping.files.len(), expected.len() + 1, "what is named is not left out");
        assert_eq!((overlapping.skipped, overlapping.unreadable.count), (4, 0));
        assert_eq!((overlapping.bytes, overlapping.chunks), (25, 5));
    }
}

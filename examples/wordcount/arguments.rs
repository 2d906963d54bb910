//! What the user asked for.

use std::io;
use std::path::{Path, PathBuf};

use clap::Parser;
use watertight::prelude::*;

/// Counts words with mappers that may die, each a process of its own. The counts are exact whatever dies.
///
/// A word is a maximal run of ASCII letters, in lower case; files are bytes, of any encoding. Symbolic links that are
/// found on the way are not followed, folders named .git and target are left out; a PATH itself may be any of these.
/// Results go to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "wordcount",
    after_help = "Exit code: 0, 1 if counting or checking failed, 2 for wrong use."
)]
pub struct Arguments {
    /// Files and folders [default: the workspace around the current folder, or that folder]
    pub paths: Vec<PathBuf>,
    /// So many mappers [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS))]
    pub workers: Option<u16>,
    /// Kill random mappers so many times, with SIGKILL, spread over the run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub kill: Option<u32>,
    /// Let a mapper fault on this fraction of first attempts, from 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.0, hide_default_value = true, value_parser = fraction)]
    pub segv: f64,
    /// Print so many of the most frequent words
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub top: usize,
    /// Count again on one thread and compare
    #[arg(long)]
    pub check: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// More processes than this only wait for each other.
const MOST_WORKERS: i64 = 256;

impl Arguments {
    /// How many mappers to start.
    pub fn workers(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(2, usize::from).min(256);
        self.workers.map_or_else(processors, usize::from)
    }

    /// Where to begin, each place once and with its true path. A path that the user named is followed if it is a
    /// symbolic link.
    ///
    /// # Errors
    /// A path that does not exist, or cannot be looked at.
    pub fn roots(&self) -> Result<Vec<PathBuf>> {
        let paths = match self.paths.is_empty() {
            true => {
                vec![workspace().map_err(|e| Error::from(e).context("failed to find the current folder"))?]
            }
            false => self.paths.clone(),
        };
        let mut roots = Vec::new();
        for path in paths {
            let root = path.canonicalize();
            roots.push(
                root.map_err(|e| Error::from(e).context(format!("failed to open {}", path.display())))?,
            );
        }
        roots.sort();
        roots.dedup();
        Ok(roots)
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

/// The nearest folder above the current one that holds a Cargo workspace; else the current one.
fn workspace() -> io::Result<PathBuf> {
    let current = std::env::current_dir()?;
    let found = current.ancestors().find(|folder| is_workspace(folder));
    Ok(found.unwrap_or(&current).to_owned())
}

fn is_workspace(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml"));
    manifest.is_ok_and(|text| {
        text.lines()
            .map(str::trim_start)
            .any(|line| line.starts_with("[workspace]") || line.starts_with("[workspace."))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parses(arguments: &[&str]) -> bool {
        Arguments::try_parse_from([&["wordcount"], arguments].concat()).is_ok()
    }

    #[test]
    fn counts_of_zero_and_fractions_outside_0_to_1_are_refused() {
        for wrong in ["--workers=0", "--workers=257", "--kill=0", "--kill=-1", "--top=x"] {
            assert!(!parses(&[wrong]), "{wrong}");
        }
        for wrong in ["--segv=-0.1", "--segv=1.1", "--segv=NaN", "--segv=inf", "--segv=", "--segv=a"] {
            assert!(!parses(&[wrong]), "{wrong}");
        }
        for right in
            ["--workers=1", "--workers=256", "--kill=1", "--segv=0", "--segv=1", "--segv=.5", "--top=0"]
        {
            assert!(parses(&[right]), "{right}");
        }
    }

    #[test]
    fn a_missing_path_is_named() {
        let arguments = Arguments::try_parse_from(["wordcount", "/", "/no/such/place"]).unwrap();
        assert!(arguments.roots().unwrap_err().to_string().contains("/no/such/place"));
    }

    #[test]
    fn the_default_is_a_folder_with_a_workspace() {
        assert!(is_workspace(&workspace().unwrap()));
    }
}

//! What has become of every image, for a reader and for a program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use watertight::pool::TaskError;
use watertight::prelude::*;
use watertight::{CrashReport, Exit};

use crate::files::File;
use crate::thumbnail::{self, Thumbnail};

/// What has become of an image.
pub enum Fate {
    /// It has a thumbnail.
    Done(Thumbnail),
    /// Its decoder said what is wrong with it.
    Damaged(String),
    /// It took more memory than a worker may have.
    OutOfMemory,
    /// It took longer than an image may.
    TooSlow,
    /// Its worker died.
    Died(Box<CrashReport>),
    /// That was not its fault: it should be tried again.
    NotDone(String),
}

impl Fate {
    /// How a task failed that gave nothing back.
    pub fn of(error: TaskError) -> Fate {
        match error {
            TaskError::Died { report, .. } if report.exit == Exit::OutOfMemory => Fate::OutOfMemory,
            // Nothing in a worker is killed from outside but by somebody's mistake.
            TaskError::Died { report, .. } if report.exit == Exit::Killed => {
                Fate::NotDone("its worker was killed".into())
            }
            TaskError::Died { report, .. } => Fate::Died(report),
            TaskError::Deadline { .. } => Fate::TooSlow,
            other => Fate::NotDone(other.to_string()),
        }
    }

    /// In one word; those that are counted together.
    fn word(&self) -> &'static str {
        match self {
            Fate::Done(_) => "done",
            Fate::Damaged(_) => "damaged",
            Fate::OutOfMemory => "out of memory",
            Fate::TooSlow => "too slow",
            Fate::Died(_) => "killed the decoder",
            Fate::NotDone(_) => "not done",
        }
    }

    /// In a line.
    fn line(&self) -> String {
        match self {
            Fate::Damaged(reason) | Fate::NotDone(reason) => format!("{}: {reason}", self.word()),
            Fate::Died(report) => match report.stderr.last() {
                Some(said) => format!("{}: {}; it said: {said}", self.word(), report.exit),
                None => format!("{}: {}", self.word(), report.exit),
            },
            Fate::Done(_) | Fate::OutOfMemory | Fate::TooSlow => self.word().to_owned(),
        }
    }
}

/// How it went.
pub struct Report {
    fates: Vec<(PathBuf, Fate)>,
    workers: usize,
    took: Duration,
    /// Those that come out otherwise in this process; `None` if nobody looked.
    differ: Option<Vec<PathBuf>>,
}

impl Report {
    /// Of these files.
    pub fn new(files: &[File], fates: Vec<Option<Fate>>, workers: usize, took: Duration) -> Report {
        let missing = || Fate::NotDone("the pool gave no result".into());
        let names = files.iter().map(|file| file.name.clone());
        let fates = names.zip(fates).map(|(name, fate)| (name, fate.unwrap_or_else(missing))).collect();
        Report { fates, workers, took, differ: None }
    }

    /// Makes again what came out, in this process: these images have shown that they do no harm.
    pub fn check(&mut self, files: &[File], size: u32) {
        let again = |file: &File| thumbnail::make(file.job(size)).map(|made| made.png);
        let differs = |(file, (name, fate)): (&File, &(PathBuf, Fate))| match fate {
            Fate::Done(thumbnail) if again(file).as_ref() != Ok(&thumbnail.png) => Some(name.clone()),
            _ => None,
        };
        self.differ = Some(files.iter().zip(&self.fates).filter_map(differs).collect());
    }

    fn count(&self, word: &str) -> usize {
        self.fates.iter().filter(|(_, fate)| fate.word() == word).count()
    }

    /// Prints it.
    ///
    /// # Errors
    /// Something was not done that could have been, or came out otherwise in this process.
    pub fn print(&self, as_json: bool) -> Result<()> {
        if as_json {
            println!("{}", self.json());
        } else {
            self.print_lines();
        }
        let differ = self.differ.as_ref().map_or(0, Vec::len);
        match (self.count("not done"), differ) {
            (0, 0) => Ok(()),
            (0, differ) => Err(Error::new(format!("{differ} thumbnails differ from those of one process"))),
            (left, _) => Err(Error::new(format!("{left} images were not done; run it again for them"))),
        }
    }

    fn print_lines(&self) {
        let bad = || self.fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Done(_)));
        let width = bad().map(|(name, _)| shown(name).chars().count()).max().unwrap_or(0);
        for (name, fate) in bad() {
            println!("{:width$}  {}", shown(name), fate.line());
        }
        let others = ["damaged", "out of memory", "too slow", "killed the decoder", "not done"];
        let others = others.map(|word| (self.count(word), word));
        let others: Vec<_> =
            others.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        let pixels: u64 = self.fates.iter().map(|(_, fate)| fate.pixels()).sum();
        println!(
            "{} of {} images done ({:.1} megapixels) by {} workers in {:.2} s{}{}",
            self.count("done"),
            self.fates.len(),
            pixels as f64 / 1e6,
            self.workers,
            self.took.as_secs_f64(),
            if others.is_empty() { "" } else { "; " },
            others.join(", "),
        );
        if let Some(differ) = &self.differ {
            println!("check: {} come out otherwise in one process", differ.len());
            differ.iter().for_each(|name| println!("  {}", shown(name)));
        }
    }

    fn json(&self) -> serde_json::Value {
        let names = |names: &Vec<PathBuf>| names.iter().map(|n| n.to_string_lossy().into_owned()).collect();
        let bad = self.fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Done(_)));
        let bad = bad.map(|(name, fate)| {
            json!({ "file": name.to_string_lossy(), "fate": fate.word(), "what": fate.line() })
        });
        json!({
            "images": self.fates.len(),
            "done": self.count("done"),
            "bad": bad.collect::<Vec<_>>(),
            "workers": self.workers,
            "seconds": self.took.as_secs_f64(),
            "differ": self.differ.as_ref().map(|differ| -> Vec<String> { names(differ) }),
        })
    }
}

/// A name, as it may be shown on a terminal: whoever names files may not write there.
fn shown(name: &Path) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    name.display().to_string().chars().map(escape).collect()
}

impl Fate {
    fn pixels(&self) -> u64 {
        match self {
            Fate::Done(thumbnail) => u64::from(thumbnail.width) * u64::from(thumbnail.height),
            _ => 0,
        }
    }
}

//! What the user sees: results on standard output, everything else on standard error.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::json;
use watertight::Ledger;
use watertight::prelude::*;

use crate::arguments::Arguments;
use crate::check::Recount;
use crate::kill::Deaths;
use crate::read::Reading;
use crate::reduce::Reducer;

/// All that is known at the end.
pub struct Report {
    /// What was read,
    pub reading: Reading,
    /// how many places were no regular files,
    pub skipped: u64,
    /// how mappers died,
    pub deaths: Deaths,
    /// what became of the messages,
    pub ledger: Ledger,
    /// how many chunks were sent again by the program,
    pub resubmitted: u64,
    /// how many mappers there were,
    pub workers: usize,
    /// how long it took without the check,
    pub took: Duration,
    /// and what the check gave, if there was one, and how long that took.
    pub recount: Option<(Recount, Duration)>,
}

/// Says something on standard error. If nobody listens there, that is no reason to stop.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// How many items of a list are named before it only says how many more there are.
const NAMED: usize = 10;

impl Report {
    /// Whether a check was made and found something else.
    pub fn is_wrong(&self) -> bool {
        self.recount.as_ref().is_some_and(|(recount, _)| !recount.wrong.is_empty())
    }

    /// Writes the results. That a reader has seen enough is no error.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print_results(&self, reducer: &Reducer, arguments: &Arguments) -> Result<()> {
        let mut text = String::new();
        if arguments.json {
            writeln!(text, "{}", self.json(reducer, arguments))?;
        } else {
            for (word, count) in reducer.top(arguments.top) {
                writeln!(text, "{count} {}", String::from_utf8_lossy(word))?;
            }
        }
        let mut output = io::stdout().lock();
        match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::from(error).context("failed to write the results to standard output"))
            }
            _ => Ok(()),
        }
    }

    fn json(&self, reducer: &Reducer, arguments: &Arguments) -> serde_json::Value {
        let top = reducer.top(arguments.top);
        let top =
            top.iter().map(|(word, count)| json!({ "word": String::from_utf8_lossy(word), "count": count }));
        json!({
            "files": self.reading.files.len(),
            "unreadable": self.reading.unreadable.count,
            "skipped": self.skipped,
            "non_utf8": self.reading.non_utf8,
            "overlong": self.reading.overlong,
            "bytes": self.reading.bytes,
            "words": reducer.words,
            "distinct": reducer.counts.len(),
            "top": top.collect::<Vec<_>>(),
            "workers": self.workers,
            "chunks": self.reading.jobs,
            "kills": self.deaths.kills,
            "kills_asked": arguments.kill.unwrap_or(0),
            "faults": self.deaths.faults,
            "redelivered": self.ledger.redelivered,
            "resubmitted": self.resubmitted,
            "seconds": self.took.as_secs_f64(),
            "checked": self.recount.as_ref().map(|_| !self.is_wrong()),
            "changed": self.recount.as_ref().map_or(0, |(recount, _)| recount.changed.len()),
        })
    }

    /// Tells how it went.
    pub fn print_summary(&self, reducer: &Reducer, arguments: &Arguments) {
        note(self.summary(reducer, arguments).trim_end());
    }

    fn summary(&self, reducer: &Reducer, arguments: &Arguments) -> String {
        let (reading, deaths) = (&self.reading, &self.deaths);
        let mut lines = Lines(String::new());
        if reading.unreadable.count > 0 {
            lines.add(format_args!("{} could not be read:", reading.unreadable.count));
            lines.list(&reading.unreadable.named, reading.unreadable.count);
        }
        if self.skipped > 0 {
            lines.add(format_args!(
                "{} skipped: symbolic links, and what else is neither a regular file nor a folder",
                self.skipped
            ));
        }
        if reading.non_utf8 > 0 {
            lines.add(format_args!("{} not UTF-8, counted as bytes", files(reading.non_utf8)));
        }
        if reading.overlong > 0 {
            let limit = crate::chunk::LONGEST_WORD >> 20;
            lines.add(format_args!("{} longer than {limit} MiB left out", plural(reading.overlong, "word")));
        }
        lines.add(format_args!(
            "counted {} ({} distinct) in {}, {:.1} MB, {}, {} in {:.2} s",
            plural(reducer.words, "word"),
            reducer.counts.len(),
            files(reading.files.len() as u64),
            reading.bytes as f64 / 1e6,
            plural(reading.jobs, "chunk"),
            plural(self.workers as u64, "mapper"),
            self.took.as_secs_f64(),
        ));
        if let Some(asked) = arguments.kill {
            lines.add(format_args!("killed {} of {asked}{}", deaths.kills, self.why_fewer(asked)));
        }
        if arguments.segv > 0.0 || deaths.faults + deaths.others > 0 {
            let others = match deaths.others {
                0 => String::new(),
                others => format!(", and died {} in ways that nobody asked for", plural(others, "time")),
            };
            lines.add(format_args!("mappers faulted {}{others}", plural(deaths.faults, "time")));
        }
        if self.ledger.redelivered + self.resubmitted > 0 {
            let [again, put_aside] = [self.ledger.redelivered, self.resubmitted];
            lines.add(format_args!(
                "{again} redelivered by the runtime, {put_aside} sent again by the program"
            ));
        }
        if !self.ledger.is_balanced() {
            lines.add(format_args!("the ledger does not balance, which is a bug: {:?}", self.ledger));
        }
        if let Some((recount, took)) = &self.recount {
            let same = reading.files.len() - recount.changed.len();
            let verdict = if recount.wrong.is_empty() { "the same" } else { "NOT THE SAME" };
            lines.add(format_args!(
                "check: one thread counts {verdict} in {} that did not change ({:.2} s)",
                files(same as u64),
                took.as_secs_f64()
            ));
            lines.list(&recount.wrong, recount.wrong.len() as u64);
            if !recount.changed.is_empty() {
                let changed = recount.changed.len() as u64;
                lines.add(format_args!("{} changed after being counted, and not compared:", files(changed)));
                lines.list(&recount.changed, changed);
            }
        }
        lines.0
    }

    fn why_fewer(&self, asked: u32) -> String {
        match &self.deaths.error {
            _ if self.deaths.kills >= asked => String::new(),
            Some(error) => format!(": {error}"),
            None => ": there was nothing to count".to_owned(),
        }
    }
}

struct Lines(String);

impl Lines {
    fn add(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn list(&mut self, items: &[String], count: u64) {
        let named = &items[..items.len().min(NAMED)];
        named.iter().for_each(|item| self.add(format_args!("  {item}")));
        if count > named.len() as u64 {
            self.add(format_args!("  and {} more", count - named.len() as u64));
        }
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn files(count: u64) -> String {
    plural(count, "file")
}

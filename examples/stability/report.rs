//! What the user sees: a line for each trial as it ends, then what the files say of each, the ledger and the verdict.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use watertight::{CrashReport, Ledger};

use super::checker::{Counts, Verdict};
use super::faults::{Blow, Trial};
use super::journal::Party;
use super::topology::HANG_LIMIT;

/// What one trial showed.
pub struct Row {
    trial: Trial,
    /// Every death that was reported, in order.
    pub exits: Vec<CrashReport>,
    /// The runtime's own count, and whether it came out even.
    pub ledger: Ledger,
    pub balanced: bool,
    /// What the files say.
    pub verdict: Verdict,
    /// Everything that went wrong, in words.
    pub broken: Vec<String>,
}

impl Row {
    pub fn new(trial: &Trial) -> Row {
        Row {
            trial: *trial,
            exits: Vec::new(),
            ledger: Ledger::default(),
            balanced: false,
            verdict: Verdict::default(),
            broken: Vec::new(),
        }
    }

    /// Compares what was seen with what should be, and the files with the runtime's ledger.
    pub fn judge(&mut self) {
        self.broken.extend(self.verdict.broken.iter().cloned());
        let deaths = self.victims().count() as u64;
        if deaths != u64::from(self.trial.deaths()) {
            self.broken.push(format!("{deaths} deaths of the victim, not {}", self.trial.deaths()));
        }
        let strange = self.victims().find(|report| !(self.trial.seen)(&report.exit));
        if let Some(report) = strange {
            let words = format!("the {} was seen as: {}", self.trial.name, report.exit);
            self.broken.push(words);
        }
        if self.trial.blow == Blow::Poison && self.verdict.counts.dead_lettered != 1 {
            self.broken.push("the poison message was not put aside".into());
        }
        if !self.balanced {
            self.broken.push(format!("the runtime's ledger does not balance: {:?}", self.ledger));
        }
        self.broken.extend(disagreement(&self.verdict.counts, &self.ledger));
    }

    fn victims(&self) -> impl Iterator<Item = &CrashReport> {
        self.exits.iter().filter(|report| report.name == Party::Victim.name())
    }

    /// How its exits were seen: equal ones in a row as one.
    fn seen(&self) -> String {
        let mut groups: Vec<(String, u32)> = Vec::new();
        for report in self.victims() {
            let seen = match &report.exit {
                watertight::Exit::Code(code) => format!("exit code {code}"),
                exit => exit.to_string(),
            };
            match groups.last_mut() {
                Some((last, times)) if *last == seen => *times += 1,
                _ => groups.push((seen, 1)),
            }
        }
        let words = |(seen, times)| if times == 1 { seen } else { format!("{times} x {seen}") };
        groups.into_iter().map(words).collect::<Vec<_>>().join(", then ")
    }

    /// The message in hand; of several deaths, the one that all had, or how many had one.
    fn in_hand(&self) -> String {
        let in_hand: Vec<_> = self.victims().filter_map(|report| report.in_hand.as_ref()).collect();
        match (&in_hand[..], self.trial.blow) {
            ([], _) => "none".into(),
            (some, Blow::KillFromOutside(times)) => format!("{} of {times}", some.len()),
            ([first, ..], _) => format!("{} {}", first.message, first.sequence),
        }
    }

    fn back(&self) -> String {
        match median(&self.verdict.back_us) {
            Some(us) if self.trial.is_hang() => format!("{:.0} ms*", milliseconds(us)),
            Some(us) => format!("{:.1} ms", milliseconds(us)),
            None => "never".into(),
        }
    }

    fn bystanders(&self) -> String {
        let bad = self.broken.iter().any(|words| words.contains("bystander"));
        if bad { "BROKEN".into() } else { format!("same, {} ok", self.verdict.answers) }
    }

    fn ledger(&self) -> &'static str {
        let agreed = disagreement(&self.verdict.counts, &self.ledger).is_empty();
        if self.balanced && agreed { "even" } else { "BROKEN" }
    }

    fn as_json(&self) -> Value {
        let exits: Vec<Value> = self
            .exits
            .iter()
            .map(|report| {
                let in_hand = report.in_hand.as_ref().map(|m| {
                    json!({ "message": m.message, "sender": m.sender_name, "sequence": m.sequence.0, "bytes": m.bytes })
                });
                json!({ "actor": report.name, "incarnation": report.incarnation.0, "pid": report.pid,
                        "exit": report.exit.to_string(), "in_hand": in_hand })
            })
            .collect();
        json!({
            "type": "fault",
            "fault": self.trial.name,
            "exits": exits,
            "restart_us": self.verdict.back_us,
            "restart_includes_hang_limit": self.trial.is_hang(),
            "bystanders": {
                "answers": self.verdict.answers,
                "slowest_us": self.verdict.slowest_us,
                "longest_silence_us": self.verdict.silence_us,
            },
            "files": counts_json(&self.verdict.counts),
            "runtime": self.ledger,
            "balanced": self.balanced,
            "broken": self.broken,
        })
    }
}

/// Where the files and the runtime's own ledger differ.
fn disagreement(files: &Counts, runtime: &Ledger) -> Vec<String> {
    let Counts { unsure, .. } = *files;
    [
        ("accepted", files.accepted, unsure, runtime.accepted),
        ("processed", files.processed, 0, runtime.processed),
        ("dead-lettered", files.dead_lettered, 0, runtime.dead_lettered),
        ("in doubt", files.in_doubt, 0, runtime.in_doubt),
        ("died with sender", files.died_with_sender, unsure, runtime.died_with_sender),
        ("redelivered", files.redelivered, 0, runtime.redelivered),
    ]
    .into_iter()
    .filter(|(_, files, more, runtime)| !(*files..=files + more).contains(runtime))
    .map(|(what, files, _, runtime)| format!("{what}: {files} by the files, {runtime} by the runtime"))
    .collect()
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "accepted": counts.accepted,
        "processed": counts.processed,
        "dead_lettered": counts.dead_lettered,
        "in_doubt": counts.in_doubt,
        "died_with_sender": counts.died_with_sender,
        "redelivered": counts.redelivered,
        "lost": counts.lost,
        "duplicated": counts.duplicated,
        "misordered": counts.misordered,
        "asks": counts.asks,
        "unresolved": counts.unresolved,
    })
}

fn milliseconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Prints, and remembers what it printed.
pub struct Report {
    json: bool,
    rows: Vec<Row>,
    /// Which trial broke, and how.
    broken: Vec<String>,
}

impl Report {
    pub fn new(json: bool) -> Report {
        Report { json, rows: Vec::new(), broken: Vec::new() }
    }

    /// Who is there.
    pub fn begin(&self, processes: &[(String, u32)]) -> io::Result<()> {
        if self.json {
            let actors: Vec<Value> =
                processes.iter().map(|(name, pid)| json!({ "name": name, "pid": pid })).collect();
            return line(&json!({ "type": "begin", "actors": actors }).to_string());
        }
        let list: Vec<String> = processes.iter().map(|(name, pid)| format!("{name} {pid}")).collect();
        let (first, second) = list.split_at(list.len() / 2);
        let mut text = format!("processes: {},\n           {}\n\n", first.join(", "), second.join(", "));
        let head = ["fault", "seen as", "in hand", "back in", "bystanders", "ledger"];
        text.push_str(&trial_line(head));
        line(&text)
    }

    /// A trial has ended.
    pub fn add(&mut self, row: Row) -> io::Result<()> {
        if self.json {
            line(&row.as_json().to_string())?;
        } else {
            let cells = [&row.seen(), &row.in_hand(), &row.back(), &row.bystanders(), row.ledger()];
            let [seen, in_hand, back, bystanders, ledger] = cells;
            line(&trial_line([row.trial.name, seen, in_hand, back, bystanders, ledger]))?;
        }
        self.broken.extend(row.broken.iter().map(|words| format!("{}: {words}", row.trial.name)));
        self.rows.push(row);
        Ok(())
    }

    /// A trial could not be finished.
    pub fn gave_up(&mut self, name: &str, error: &watertight::Error) -> io::Result<()> {
        self.broken.push(format!("{name}: {error}"));
        Ok(())
    }

    /// The table, the ledger and the verdict; says whether the claim holds.
    pub fn end(&self, took: Duration) -> watertight::Result<bool> {
        let (mut files, mut runtime) = (Counts::default(), Ledger::default());
        for row in &self.rows {
            files += row.verdict.counts;
            runtime += row.ledger;
        }
        let holds = self.broken.is_empty();
        let deaths: u64 = self.rows.iter().map(|row| row.verdict.deaths).sum();
        let crashes = self.rows.iter().filter(|row| !row.trial.is_hang() && row.trial.deaths() == 1);
        let restart =
            median(&crashes.flat_map(|row| row.verdict.back_us.iter().copied()).collect::<Vec<_>>());
        if self.json {
            line(&json!({ "type": "ledger", "files": counts_json(&files), "runtime": runtime }).to_string())?;
            let verdict = json!({ "type": "verdict", "holds": holds, "broken": self.broken, "deaths": deaths,
                                  "median_restart_us": restart, "seconds": took.as_secs_f64() });
            line(&verdict.to_string())?;
            return Ok(holds);
        }
        line(&self.table())?;
        line(&ledger_table(&files, &runtime))?;
        if let Some(us) = restart {
            line(&format!(
                "from a crash to the next answer: median {:.1} ms (* after a hang: {} ms later, its limit)\n",
                milliseconds(us),
                HANG_LIMIT.as_millis()
            ))?;
        }
        for broken in self.broken.iter().take(SHOWN) {
            line(&format!("broken: {broken}"))?;
        }
        if self.broken.len() > SHOWN {
            line(&format!("and {} more", self.broken.len() - SHOWN))?;
        }
        let (trials, seconds) = (self.rows.len(), took.as_secs_f64());
        line(&if holds {
            format!("stability claim holds: {trials} faults, {deaths} deaths, {seconds:.1} s")
        } else {
            format!("stability claim BROKEN in {trials} faults, {deaths} deaths, {seconds:.1} s; see above")
        })?;
        Ok(holds)
    }

    /// What the files say of each trial.
    fn table(&self) -> String {
        let head = [
            "fault",
            "deaths",
            "accepted",
            "processed",
            "in doubt",
            "dead",
            "lost",
            "twice",
            "misord.",
            "slowest",
        ];
        let mut text = format!("\nby the files of the processes alone:\n{}", count_line(head));
        for row in &self.rows {
            let Counts { accepted, processed, in_doubt, dead_lettered, lost, duplicated, misordered, .. } =
                row.verdict.counts;
            let numbers = [
                row.verdict.deaths,
                accepted,
                processed,
                in_doubt,
                dead_lettered,
                lost,
                duplicated,
                misordered,
            ];
            let [deaths, accepted, processed, in_doubt, dead, lost, twice, misordered] =
                numbers.map(|number| number.to_string());
            let slowest = format!("{:.1} ms", milliseconds(row.verdict.slowest_us));
            text.push('\n');
            text.push_str(&count_line([
                row.trial.name,
                &deaths,
                &accepted,
                &processed,
                &in_doubt,
                &dead,
                &lost,
                &twice,
                &misordered,
                &slowest,
            ]));
        }
        text.push_str("\n(slowest: of the answers of bystanders)\n");
        text
    }
}

/// So many reasons are printed: enough to see what is wrong.
const SHOWN: usize = 20;

fn trial_line([fault, seen, in_hand, back, bystanders, ledger]: [&str; 6]) -> String {
    format!("{fault:<21}  {seen:<27}  {in_hand:<11} {back:>8}  {bystanders:<14}  {ledger}")
}

fn count_line(
    [fault, deaths, accepted, processed, doubt, dead, lost, twice, misordered, slowest]: [&str; 10],
) -> String {
    format!(
        "{fault:<21}  {deaths:>6}  {accepted:>8}  {processed:>9}  {doubt:>8}  {dead:>4}  {lost:>4}  {twice:>5}  {misordered:>7}  {slowest:>10}"
    )
}

fn ledger_table(files: &Counts, runtime: &Ledger) -> String {
    let mut text = format!("{:<21}  {:>10}  {:>11}", "ledger", "files say", "runtime says");
    for (what, files, runtime) in [
        ("accepted", files.accepted, Some(runtime.accepted)),
        ("processed", files.processed, Some(runtime.processed)),
        ("dead-lettered", files.dead_lettered, Some(runtime.dead_lettered)),
        ("in doubt", files.in_doubt, Some(runtime.in_doubt)),
        ("died with its sender", files.died_with_sender, Some(runtime.died_with_sender)),
        ("lost", files.lost, None),
        ("duplicated", files.duplicated, None),
        ("misordered", files.misordered, None),
        ("asks without an end", files.unresolved, None),
    ] {
        let runtime = runtime.map(|number| number.to_string()).unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = write!(text, "\n{what:<21}  {files:>10}  {runtime:>12}");
    }
    text.push('\n');
    text
}

/// Prints; a reader that has gone away is an error, not a panic.
fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

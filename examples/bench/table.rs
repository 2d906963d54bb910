//! Numbers from samples, and the table of them.

use serde_json::json;

/// What a number must reach.
#[derive(Clone, Copy)]
pub enum Bound {
    /// Ours at most so many times what is beside it.
    RatioAtMost(f64),
    /// Ours at least so many times what is beside it.
    RatioAtLeast(f64),
    /// Our median at most so much, in the row's unit.
    AtMost(f64),
}

/// One row: ours, and the plain thing beside it.
#[derive(Clone)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub median: f64,
    /// Of one round, the median over rounds; `None` where a round is a single number.
    pub p99: Option<f64>,
    /// Over everything.
    pub worst: f64,
    pub beside: Option<Beside>,
    pub bound: Option<Bound>,
}

/// What a row is compared with.
#[derive(Clone)]
pub struct Beside {
    pub what: &'static str,
    pub median: f64,
    /// Ours against it: the median of the ratios of each round.
    pub ratio: f64,
}

impl Row {
    /// Whether the bound holds; `None` without one.
    pub fn holds(&self) -> Option<bool> {
        let ratio = self.beside.as_ref().map(|beside| beside.ratio);
        match self.bound? {
            Bound::AtMost(most) => Some(self.median <= most),
            Bound::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Bound::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
        }
    }

    fn bound_in_words(&self) -> String {
        match self.bound {
            None => String::new(),
            Some(Bound::AtMost(most)) => format!("<= {most} {}", self.unit),
            Some(Bound::RatioAtMost(most)) => format!("<= {most} x"),
            Some(Bound::RatioAtLeast(least)) => format!(">= {least} x"),
        }
    }
}

/// The middle one; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    at_percent(values, 50)
}

/// The value below which so many percent lie; 0 of nothing.
pub fn at_percent(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0.0)
}

/// The largest.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Ours against theirs, round by round, and the median of that: what both suffered in a round cancels out.
pub fn beside(what: &'static str, ours: &[f64], theirs: &[f64]) -> Beside {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    Beside { what, median: median(theirs), ratio: median(&ratios) }
}

/// A row of single measurements: the worst is the longest.
pub fn row_of_times(what: impl Into<String>, unit: &'static str, times: &[f64]) -> Row {
    Row {
        what: what.into(),
        unit,
        median: median(times),
        p99: Some(at_percent(times, 99)),
        worst: largest(times),
        beside: None,
        bound: None,
    }
}

/// The same things in turn, the other way round every second time: what disturbs the machine disturbs all of them.
pub fn turns<T: Copy>(round: usize, things: &[T]) -> Vec<T> {
    if round.is_multiple_of(2) { things.to_vec() } else { things.iter().rev().copied().collect() }
}

/// Prints everything for a reader.
pub fn print(rows: &[Row]) {
    let head = ["what", "median", "p99", "worst", "beside it", "median", "ratio", "bound", ""];
    let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let number = |value: f64| format!("{} {}", short(value), row.unit);
        let beside = row.beside.as_ref();
        lines.push(vec![
            row.what.clone(),
            number(row.median),
            row.p99.map(number).unwrap_or_default(),
            number(row.worst),
            beside.map(|b| b.what.to_owned()).unwrap_or_default(),
            beside.map(|b| number(b.median)).unwrap_or_default(),
            beside.map(|b| format!("{:.2} x", b.ratio)).unwrap_or_default(),
            row.bound_in_words(),
            row.holds().map_or("", |holds| if holds { "holds" } else { "FALLS SHORT" }).to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            // Words to the left, numbers to the right.
            .map(
                |(i, (cell, &w))| {
                    if matches!(i, 0 | 4 | 8) { format!("{cell:<w$}") } else { format!("{cell:>w$}") }
                },
            )
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    let missed = rows.iter().filter(|row| row.holds() == Some(false)).count();
    let bounds = rows.iter().filter(|row| row.bound.is_some()).count();
    println!("\n{} of {bounds} bounds hold", bounds - missed);
}

/// How busy the machine is: processes that run or want to, over the last minute.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Prints everything for a program.
pub fn print_json(rows: &[Row]) {
    for row in rows {
        let beside = row.beside.as_ref();
        println!(
            "{}",
            json!({
                "what": row.what.trim_start(),
                "unit": row.unit,
                "median": row.median,
                "p99": row.p99,
                "worst": row.worst,
                "beside": beside.map(|b| b.what),
                "beside_median": beside.map(|b| b.median),
                "ratio": beside.map(|b| b.ratio),
                "bound": row.bound.map(|_| row.bound_in_words()),
                "holds": row.holds(),
            })
        );
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

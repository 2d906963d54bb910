//! Everything as tables, or for a program.

use serde_json::json;

use crate::debugging::Fact;
use crate::row::Row;

/// What no number says.
pub const IN_WORDS: &str = "\
In words:
- Processes do not compute faster than threads: what they give is that nothing else is lost with one of them.
- Threads that segfault or run out of memory take everything with them. The results counted here were written out
  before that; those in memory are gone.
- A process with threads can be told to give back what it has freed (`malloc_trim`), but not the pages in which one
  small block is still used. What a worker leaves behind goes with it.
- A crash report names the task and is there at once; it has no line for a segfault, no variables, and nothing of the
  other workers. A core file has all memory and the stacks of all threads, for whoever has a debugger, the executable
  with its debuginfo, and time; the number of the task is in it only where variables are. Workers make no core files.
- A debugger stops a process. Of a pool that is one worker; but only root may look at a worker.
- A task's arguments and results are encoded and copied, a Vec<u8> even byte by byte: work that shares large data and
  computes little belongs on threads, and so do tasks of microseconds that come one at a time.
- To write, it is the same: a function, a pool and a map. But functions capture nothing, arguments are serde types,
  statics are each worker's own, and `watertight::run` has to come first in `main`.
- Code that cannot crash, leak or hang needs no process.";

/// A number with two or three digits that count.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size < 0.1 && size > 0.0 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

/// For a reader.
pub fn print(rows: &[Row], facts: &[Fact]) {
    let mut lines = vec![["claim", "what", "processes", "threads", "ratio", "better off"].map(str::to_owned)];
    for row in rows {
        let number = |value: Option<f64>| {
            value.map_or("-".to_owned(), |value| format!("{} {}", short(value), row.unit))
        };
        lines.push([
            row.claim.name().to_owned(),
            row.what.clone(),
            number(row.processes),
            number(row.threads),
            row.ratio.map(|ratio| format!("{} x", short(ratio))).unwrap_or_default(),
            row.better().to_owned(),
        ]);
    }
    print_aligned(&lines, &[2, 3, 4]);
    for row in rows {
        if let Some(note) = &row.note {
            println!("- {}: {note}", row.what);
        }
    }
    println!();
    let mut lines =
        vec![["of one crash", "a worker's report tells", "a core of threads tells"].map(str::to_owned)];
    let told = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "-".to_owned());
    lines.extend(facts.iter().map(|fact| [fact.what.to_owned(), told(&fact.processes), told(&fact.threads)]));
    print_aligned(&lines, &[]);
}

/// In columns; those of numbers to the right.
fn print_aligned<const N: usize>(lines: &[[String; N]], numbers: &[usize]) {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for line in lines {
        let cells: [String; N] = std::array::from_fn(|column| {
            let (cell, width) = (&line[column], widths[column]);
            if numbers.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        println!("{}", cells.join("  ").trim_end());
    }
}

/// For a program: an object a line.
pub fn print_json(rows: &[Row], facts: &[Fact]) {
    for row in rows {
        let line = json!({
            "claim": row.claim.name(),
            "what": row.what,
            "unit": row.unit,
            "processes": row.processes,
            "threads": row.threads,
            "note": row.note,
            "ratio": row.ratio,
            "better": row.better(),
        });
        println!("{line}");
    }
    for fact in facts {
        println!(
            "{}",
            json!({ "of_a_crash": fact.what, "processes": fact.processes, "threads": fact.threads })
        );
    }
}

//! Everything as bars, each pair as long as its larger number.

use std::fmt::Write;

use crate::row::Row;
use crate::table::short;

/// Characters of the longest bar.
const WIDTH: f64 = 40.0;

/// In the lengths of the bars, and what stands behind them; both are nothing if both numbers are.
fn parts(row: &Row) -> [(f64, String); 2] {
    let values = [row.processes, row.threads];
    let most = values.into_iter().flatten().fold(0.0, f64::max);
    values.map(|value| match value {
        Some(value) if most > 0.0 => (value / most, format!("{} {}", short(value), row.unit)),
        Some(value) => (0.0, format!("{} {}", short(value), row.unit)),
        None => (0.0, "not measured".to_owned()),
    })
}

/// For a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let better = if row.more_is_better { "longer" } else { "shorter" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} ({better} is better)", row.what);
        for (name, (part, label)) in ["processes", "threads"].into_iter().zip(parts(row)) {
            let bar = bar(part * WIDTH);
            let _ = writeln!(text, "  {name:<9} {bar}{label}");
        }
    }
    text
}

/// So many characters, to an eighth.
fn bar(length: f64) -> String {
    const EIGHTHS: [&str; 8] =
        ["", "\u{258f}", "\u{258e}", "\u{258d}", "\u{258c}", "\u{258b}", "\u{258a}", "\u{2589}"];
    // What is there is seen, however little.
    let steps = if length > 0.0 { (length * 8.0).round().max(1.0) } else { 0.0 };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is from 0 to 320.
    let steps = steps as usize;
    let bar = format!("{}{}", "\u{2588}".repeat(steps / 8), EIGHTHS[steps % 8]);
    if bar.is_empty() { bar } else { bar + " " }
}

/// As a picture.
pub fn svg(rows: &[Row]) -> String {
    const ROW: usize = 52;
    const LEFT: usize = 16;
    const LONGEST: f64 = 480.0;
    let height = 48 + ROW * rows.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" fill=\"#1b6ca8\">processes</text>\n\
         <text x=\"{}\" y=\"24\" fill=\"#c96f1d\">threads</text>\n",
        LEFT + 80
    );
    for (n, row) in rows.iter().enumerate() {
        let top = 40 + ROW * n;
        let better = if row.more_is_better { "more" } else { "less" };
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\">{}: {} ({better} is better)</text>",
            top + 12,
            row.claim.name(),
            escaped(&row.what)
        );
        let bars = [("#1b6ca8", 17), ("#c96f1d", 31)];
        for ((colour, below), (part, said)) in bars.into_iter().zip(parts(row)) {
            let (y, width) = (top + below, part * LONGEST);
            let label = LEFT as f64 + width + 6.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"11\" fill=\"{colour}\"/>\
                 <text x=\"{label:.1}\" y=\"{}\" font-size=\"11\">{said}</text>",
                y + 10
            );
        }
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

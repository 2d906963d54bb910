//! What an idle actor's process holds: its proportional share of memory (PSS), as the kernel counts it.

use watertight::prelude::*;

use crate::plain::{Plain, Role};
use crate::subjects::{Process, Receiver, start};
use crate::table::{Beside, Bound, Row, at_percent, largest, median};

/// So many at a time, because pages that processes share are split between them; and one alone.
const MANY: usize = 20;

/// Measures.
pub async fn measure(sys: &System) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in [MANY, 1] {
        let mut actors = Vec::new();
        for _ in 0..count {
            actors.push(start::<Receiver>(sys).await?);
        }
        let mut processes = Vec::new();
        for actor in &actors {
            processes.push(actor.ask(Process).await?);
        }
        sys.settled().await;
        let ours = shares(&processes);
        for actor in &actors {
            sys.stop(actor).await?;
        }
        let mut children = Vec::new();
        for _ in 0..count {
            let mut child = Plain::start(Role::Answer)?;
            child.greet()?;
            children.push(child);
        }
        let bare = shares(&children.iter().map(Plain::pid).collect::<Vec<_>>());
        let (Some(ours), Some(bare)) = (ours, bare) else {
            eprintln!(
                "memory: /proc/PID/smaps_rollup of an actor is not for this user to read; run it as root"
            );
            return Ok(Vec::new());
        };
        rows.push(Row {
            what: if count == 1 { "idle actor, alone".into() } else { format!("idle actor, one of {count}") },
            unit: "MiB",
            median: median(&ours),
            p99: Some(at_percent(&ours, 99)),
            worst: largest(&ours),
            beside: Some(Beside {
                what: "bare tokio child",
                median: median(&bare),
                ratio: median(&ours) / median(&bare),
            }),
            bound: (count == MANY).then_some(Bound::AtMost(0.6)),
        });
    }
    Ok(rows)
}

/// In MiB; `None` if one cannot be read.
fn shares(processes: &[u32]) -> Option<Vec<f64>> {
    processes.iter().map(|process| share(*process)).collect()
}

fn share(process: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kibibytes| kibibytes / 1024.0)
}

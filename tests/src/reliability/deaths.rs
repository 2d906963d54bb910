//! All children of a group killed in one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight::prelude::*;
use watertight::{Event, Group, Output};

use super::machine::Times;
use super::parts::signal;
use super::{Effort, Score, progress};
use crate::member::{Manner, Member, MemberPid};

const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(sys: &System, effort: Effort, score: &mut Score) -> Result<()> {
    let count = effort.of(500, 50);
    let template = Spec::<Member>::new(Manner::default()).backoff(Backoff::NONE).output(Output::Silent);
    sys.start_group(Group::dynamic("many", template).intensity(u32::MAX, PATIENCE)).await?;
    let mut members = Vec::new();
    for _ in 0..count {
        let member = sys.start_instance::<Member>("many", Manner::default()).await?;
        let pid = member.ask(MemberPid).deadline(PATIENCE).await?;
        members.push((member, pid));
    }
    progress(&format!("{count} run"));
    let mut events = sys.events().await?;
    let begun = Instant::now();
    members.iter().for_each(|(_, pid)| _ = signal(*pid, Signal::KILL));
    let killed_in = begun.elapsed();
    let (mut exits, mut back, mut answers) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    while back.len() < count {
        if begun.elapsed() > PATIENCE {
            break;
        }
        let asked = Instant::now();
        sys.count_children("many").await?;
        answers.push(asked.elapsed());
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
            match event {
                Event::Exited(report) => *exits.entry(report.actor).or_insert(0) += 1,
                Event::Started { name, incarnation, .. } if incarnation.0 == 2 => {
                    back.insert(name);
                }
                Event::Missed(count) => return Err(Error::new(format!("{count} events are missing"))),
                _ => {}
            }
        }
    }
    let took = begun.elapsed();
    let (mut silent, mut same) = (0, 0);
    for (member, before) in &members {
        match member.ask(MemberPid).deadline(PATIENCE).await {
            Ok(pid) => same += u64::from(pid == *before),
            Err(_) => silent += 1,
        }
    }
    let count = count as u64;
    score.same("killed, and started again", count, back.len() as u64);
    score.same("killed, and exits told", count, exits.values().sum());
    score.zero("that do not answer afterwards", silent, count);
    score.zero("that answer with their old process", same, count);
    let ledger = sys.balance(PATIENCE).await?;
    score.same("the ledger's difference", ledger.waiting().unsigned_abs(), 0);
    score.zero("in doubt: none had a message in hand", ledger.in_doubt, count);
    let answers = Times::of(answers);
    let worst = answers.worst().as_secs_f64();
    score.at_most("seconds for an answer of the supervisor meanwhile, worst", worst, effort.of(0.25, 5.0));
    score.figure("answers of the supervisor meanwhile", answers);
    let (killed_in, took) = (killed_in.as_secs_f64() * 1e3, took.as_secs_f64() * 1e3);
    score.figure("all killed within; all back within", format!("{killed_in:.1} ms; {took:.0} ms"));
    Ok(())
}

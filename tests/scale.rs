//! Many children at once: small versions here, the full ones by their variables (`docs/testing.md`). In a process of its
//! own, one after another: it counts open descriptors, and times.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight::{Event, Group, Output, Shutdown};
use watertight_tests::member::{Manner, Member, MemberPid};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What must be reached on a quiet machine (`WATERTIGHT_STRICT`), and what shows on a busy one that something is wrong.
fn limit(quiet: f64, busy: f64) -> f64 {
    if std::env::var_os("WATERTIGHT_STRICT").is_some() { quiet } else { busy }
}

/// One test at a time. In an actor's process nobody else wants it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Starts, lists and stops so many children; how long each took on average.
async fn cycle(sys: &System, count: usize) -> Result<Duration> {
    let begun = Instant::now();
    sys.start_group(Group::dynamic("many", Spec::<Member>::new(Manner::default()))).await?;
    // As many at once as a program would: the supervisor spawns as many as its cap says.
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..count {
        let sys = sys.clone();
        starts
            .spawn(async move { sys.start_instance::<Member>("many", Manner::default()).await.map(|_| ()) });
    }
    while let Some(started) = starts.join_next().await {
        started??;
    }
    assert_eq!(sys.count_children("many").await?.active, count);
    sys.terminate_child("many").await?;
    assert!(sys.tree(None).await?.nodes.is_empty());
    Ok(begun.elapsed() / u32::try_from(count)?)
}

#[test]
fn children_are_started_listed_and_stopped_in_time_that_grows_with_their_number_alone() {
    let _alone = alone();
    let (few, many) = (100, number("WATERTIGHT_CHILDREN", 300));
    watertight::test(async |sys| {
        cycle(&sys, 20).await?;
        let (small, large) = (cycle(&sys, few).await?, cycle(&sys, many).await?);
        println!("per child: {small:?} at {few}, {large:?} at {many}");
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        assert!(ratio <= limit(1.5, 3.0), "{ratio:.2}: {small:?} at {few}, {large:?} at {many}");
        Ok(())
    });
}

#[test]
fn all_come_back_from_a_death_of_all_at_once_and_the_supervisor_answers_meanwhile() {
    let _alone = alone();
    let count = number("WATERTIGHT_DEATHS", 100);
    watertight::test(async |sys| {
        let template = Spec::<Member>::new(Manner::default()).backoff(Backoff::NONE);
        sys.start_group(Group::dynamic("many", template).intensity(u32::MAX, PATIENCE)).await?;
        let mut pids = Vec::new();
        for _ in 0..count {
            let it = sys.start_instance::<Member>("many", Manner::default()).await?;
            pids.push(it.ask(MemberPid).await?);
        }
        let mut events = sys.events().await?;
        for pid in pids {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        }
        let (mut exits, mut back, mut answers) = (0, BTreeSet::new(), Vec::new());
        while back.len() < count {
            let begun = Instant::now();
            sys.count_children("many").await?;
            answers.push(begun.elapsed());
            while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
                match event {
                    Event::Exited(_) => exits += 1,
                    Event::Started { name, incarnation, .. } if incarnation.0 == 2 => {
                        back.insert(name);
                    }
                    _ => {}
                }
            }
        }
        assert_eq!((exits, back.len()), (count, count));
        answers.sort_unstable();
        let p99 = answers[(answers.len() * 99 / 100).min(answers.len() - 1)];
        println!(
            "{count} deaths: {} answers, p99 {p99:?}, worst {:?}",
            answers.len(),
            answers[answers.len() - 1]
        );
        assert!(p99 < Duration::from_secs_f64(limit(0.05, 0.5)), "{p99:?}");
        Ok(())
    });
}

#[test]
fn stops_of_stubborn_children_keep_their_order_and_their_bound_and_leave_nothing() {
    let _alone = alone();
    let count = number("WATERTIGHT_STUBBORN", 60);
    watertight::test(async |sys| {
        let directory = tempfile::tempdir()?;
        let journal = Manner::writing(&directory.path().join("journal").display().to_string());
        let files = || std::fs::read_dir("/proc/self/fd").map(Iterator::count);
        // What a system opens once is open from here on.
        cycle(&sys, 4).await?;
        let before = files()?;
        let grace = Duration::from_millis(20);
        let (mut group, mut bound) = (Group::new("g").intensity(0, PATIENCE), Duration::ZERO);
        for nth in 0..count {
            // Polite, late, stubborn, and brutal ones in turn; only stubborn ones use up their grace.
            let manner = match nth % 4 {
                1 => Manner { stops_after: 5, ..journal.clone() },
                2 | 3 => journal.clone().stubborn(),
                _ => journal.clone(),
            };
            let spec = Spec::<Member>::new(manner).name(nth.to_string()).stop_grace(grace);
            let spec = if nth % 4 == 3 { spec.shutdown(Shutdown::BrutalKill) } else { spec };
            bound += if nth % 4 == 3 { Duration::ZERO } else { grace };
            group = group.child(spec.output(Output::Silent));
        }
        sys.start_group(group).await?;
        let mut events = sys.events().await?;
        let pids: Vec<u32> = sys.children("g").await?.into_iter().filter_map(|child| child.pid).collect();
        let begun = Instant::now();
        sys.terminate_child("g").await?;
        let took = begun.elapsed();
        let mut order = Vec::new();
        while order.len() < count {
            order.push(events.exited("*").await?.actor);
        }
        assert!(order.is_sorted_by(|one, next| one > next), "{order:?}");
        println!("{count} stops: {took:?}, bound {bound:?}");
        let most = bound.mul_f64(limit(1.1, 3.0));
        assert!(took <= most, "{took:?} is more than {most:?}, where {bound:?} are grace");
        assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
        // Sockets, pipes and pages are closed with their process.
        assert_eq!(files()?, before, "descriptors");
        Ok(())
    });
}

//! What a system looks like, for whoever has to find out why it did not do what it should.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use crate::event::ActorInfo;
use crate::harmless::SetIn;
use crate::recent::{Activity, Recent};
use crate::wire::ids::ActorId;
use crate::{Result, System};

/// How long the supervisor may take for all answers, with a second for the stacks: it waits for nobody, but a machine
/// may be busy.
const LIMIT: Duration = Duration::from_secs(4);
/// How many of the last injections are shown.
const INJECTIONS: usize = 20;
/// Stacks that are asked for at most: each takes some hundred milliseconds of a core.
const STACKS: usize = 8;
/// Longest stack that is shown, in lines: the innermost ones tell.
const STACK_LINES: usize = 24;

/// What a system looks like: its actors, what each has in hand and, if its thread is not asleep, its stack; whose messages
/// are unaccounted for, the tree, what was injected, and in a test the last hundred events and the last messages of every
/// process.
///
/// For the output of something that has failed. It takes at most four seconds, and says so if they were not enough.
pub async fn state_of(sys: &System) -> String {
    match tokio::time::timeout(LIMIT, describe(sys)).await {
        Ok(Ok(words)) => words,
        Ok(Err(error)) => format!("what its actors were doing is not known: {error}"),
        Err(_) => format!("what its actors were doing is not known: no answer within {} s", LIMIT.as_secs()),
    }
}

async fn describe(sys: &System) -> Result<String> {
    let recent = sys.recent().await?;
    let mut words = String::new();
    actors(sys, &recent, &mut words).await?;
    let tree = sys.tree(None).await?.to_string();
    if !tree.is_empty() {
        line(&mut words, format_args!("the tree:\n{}", tree.trim_end()));
    }
    line(&mut words, format_args!("all messages: {}", sys.ledger().await?));
    let injected = sys.injected().await?;
    for injection in &injected[injected.len().saturating_sub(INJECTIONS)..] {
        line(&mut words, format_args!("injected {}: {injection}", ago(recent.now, injection.at)));
    }
    if !recent.events.is_empty() {
        line(&mut words, format_args!("the last events:"));
    }
    for (at, event) in &recent.events {
        line(&mut words, format_args!("  {} {}", ago(recent.now, *at), SetIn(&event.to_string())));
    }
    if !recent.messages.is_empty() {
        line(&mut words, format_args!("the last messages of each process:"));
    }
    for message in &recent.messages {
        line(&mut words, format_args!("  {} {message}", ago(recent.now, message.at)));
    }
    Ok(words)
}

async fn actors(sys: &System, recent: &Recent, words: &mut String) -> Result<()> {
    let all = sys.list().await?;
    let awake = recent.actors.iter().filter(|activity| !activity.parked);
    let mut stacks = stacks_of(sys, awake.take(STACKS)).await;
    line(words, format_args!("its actors:{}", if all.is_empty() { " none" } else { "" }));
    for actor in &all {
        let activity = recent.actors.iter().find(|activity| activity.actor == actor.actor);
        line(words, format_args!("  {}", in_short(actor, activity)));
        let ledger = sys.ledger_by_number(actor.actor).await?;
        if !ledger.is_balanced() {
            line(words, format_args!("    {} messages are unaccounted for: {ledger}", ledger.waiting()));
        }
        for (sender, waiting) in activity.map(|activity| &activity.waiting[..]).unwrap_or_default() {
            line(words, format_args!("    {waiting} of them from {sender}"));
        }
        let Some(stack) = stacks.remove(&actor.actor) else { continue };
        line(words, format_args!("    its thread is here, innermost first:"));
        for frame in stack.lines().take(STACK_LINES) {
            line(words, format_args!("    {}", SetIn(frame)));
        }
    }
    Ok(())
}

fn in_short(actor: &ActorInfo, activity: Option<&Activity>) -> String {
    let pid = actor.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let mut words =
        format!("{}#{} {:?}{pid}, {} restarts", actor.name, actor.incarnation, actor.phase, actor.restarts);
    if let Some(Activity { in_hand: Some(message), parked, .. }) = activity {
        let (what, sender) = (&message.message, &message.sender_name);
        let how = if *parked { ", which awaits something" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(words, "; in hand: {what} {} from {sender}{how}", message.sequence);
    }
    words
}

/// The stacks of those that can say theirs. All are asked before any answer is waited for.
async fn stacks_of(sys: &System, awake: impl Iterator<Item = &Activity>) -> HashMap<ActorId, String> {
    let asked = awake.map(|activity| {
        let (sys, actor) = (sys.clone(), activity.actor);
        // An actor that has ended meanwhile has none.
        (actor, tokio::spawn(async move { sys.stack_of(actor).await.ok().flatten() }))
    });
    let asked: Vec<_> = asked.collect();
    let mut stacks = HashMap::new();
    for (actor, stack) in asked {
        if let Ok(Some(stack)) = stack.await {
            stacks.insert(actor, stack);
        }
    }
    stacks
}

fn line(words: &mut String, text: std::fmt::Arguments<'_>) {
    if !words.is_empty() {
        words.push('\n');
    }
    // Writing to a string does not fail.
    let _ = words.write_fmt(text);
}

fn ago(now: u64, at: u64) -> String {
    format!("{:>9.3} s ago", Duration::from_nanos(now.saturating_sub(at)).as_secs_f64())
}

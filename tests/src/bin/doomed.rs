//! A program for tests that need one of their own: to kill its supervisor, to replace its executable, to see what
//! reaches its children. Reads commands from standard input, a line each; answers with a line each.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use watertight::prelude::*;
use watertight::{Output, Restart};
use watertight_tests::confined::{Fall, Launch, Launched, Worker};
use watertight_tests::specimen::{Add, Commit, Environment, OpenFiles, Setup};
use watertight_tests::starved::Starved;
use watertight_tests::{Fault, Specimen};

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let mut actors: Vec<Address<Specimen>> = Vec::new();
        let mut starved = None;
        let mut workers: Vec<Address<Worker>> = Vec::new();
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let answer = match line.split_once(' ').unwrap_or((&line, "")) {
                ("listen", name) => {
                    sys.listen(name).await.map_or_else(|error| error.to_string(), |()| "listening".into())
                }
                ("spawn", name) => {
                    let mut spec = Spec::new(Setup::default()).output(Output::Silent).hang_limit(None);
                    if !name.is_empty() {
                        spec = spec.name(name);
                    }
                    let actor = sys.spawn_with(spec.restart(Restart::Permanent)).await?;
                    let pid = sys.info(&actor).await?.pid.unwrap_or(0);
                    actors.push(actor);
                    pid.to_string()
                }
                // A message that never ends: the actor loops, or is stopped.
                ("loop", at) => tell(&actors, at, Fault::Loop).await?,
                ("stop", at) => tell(&actors, at, Fault::StopSelf).await?,
                ("grandchild", at) => {
                    let actor = pick(&actors, at)?;
                    actor.ask(watertight_tests::specimen::Grandchild).await?.to_string()
                }
                ("worker", _) => {
                    let worker = sys.spawn_with(Spec::new(()).output(Output::Silent)).await?;
                    let pid = sys.info(&worker).await?.pid.unwrap_or(0);
                    workers.push(worker);
                    pid.to_string()
                }
                ("bounded", most) => {
                    let spec = Spec::<Worker>::new(()).output(Output::Silent).processes(most.parse()?);
                    sys.spawn_with(spec).await.map_or_else(|error| error.to_string(), |_| "bounded".into())
                }
                ("child", at) => pick(&workers, at)?.ask(Launch(Launched::Child)).await?.to_string(),
                ("daemon", at) => pick(&workers, at)?.ask(Launch(Launched::Daemon)).await?.to_string(),
                ("copy", at) => pick(&workers, at)?.ask(Launch(Launched::Copy)).await?.to_string(),
                ("stray", at) => pick(&workers, at)?.ask(Launch(Launched::Stray)).await?.to_string(),
                ("fell", at) => pick(&workers, at)?.ask(Fall).await.is_err().to_string(),
                // Not an actor's, but the program's own, which the runtime has nothing to do with.
                ("own", _) => std::process::Command::new("sleep").arg("3600").spawn()?.id().to_string(),
                ("crash", at) => {
                    let crashed = pick(&actors, at)?.ask(Commit(Fault::Segfault)).await;
                    format!("{}", crashed.is_err())
                }
                ("address", at) => serde_json::to_string(pick(&actors, at)?)?,
                ("add", at) => pick(&actors, at)?.ask(Add(1)).await?.to_string(),
                // No descriptor is left; then there are some again.
                ("starve", _) => {
                    starved = Some(Starved::begin()?);
                    "starved".into()
                }
                ("feed", _) => {
                    drop(starved.take());
                    "fed".into()
                }
                ("try", at) => {
                    let tried = pick(&actors, at)?.ask(Add(1)).deadline(Duration::from_millis(300)).await;
                    tried.map_or_else(|error| error.to_string(), |sum| sum.to_string())
                }
                ("environment", at) => pick(&actors, at)?.ask(Environment).await?.join(" "),
                ("files", at) => pick(&actors, at)?.ask(OpenFiles).await?.join(" "),
                ("end", _) => return Ok(()),
                (other, _) => return Err(Error::new(format!("no such command: {other}"))),
            };
            println!("{answer}");
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

fn pick<'a, A>(actors: &'a [A], at: &str) -> Result<&'a A> {
    actors.get(at.parse::<usize>()?).ok_or_else(|| Error::new("no such actor"))
}

async fn tell(actors: &[Address<Specimen>], at: &str, fault: Fault) -> Result<String> {
    pick(actors, at)?.tell(Commit(fault)).await?;
    Ok("told".into())
}

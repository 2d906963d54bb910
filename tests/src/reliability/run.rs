//! The program: reads its arguments, and gives each experiment a process of its own.

use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use watertight::prelude::*;

use super::{EXPERIMENTS, Effort, Score, experiment, parts};

/// Torments real processes and says whether every promise was kept.
#[derive(Parser)]
#[command(name = "reliability")]
struct Arguments {
    /// What to try; everything if nothing is named. `list` lists what there is
    experiments: Vec<String>,
    /// The small version of each
    #[arg(long)]
    quick: bool,
    /// A JSON object per experiment instead of a table
    #[arg(long)]
    json: bool,
    /// Where randomness begins. Default: the clock
    #[arg(long)]
    seed: Option<u64>,
    /// How long the soak, the watch for false alarms (both) and the overload take
    #[arg(long, value_parser = minutes)]
    minutes: Option<f64>,
    /// Runs one experiment in this process
    #[arg(long, hide = true)]
    alone: bool,
    /// Is a program for an experiment
    #[arg(long, hide = true)]
    part: Option<String>,
}

/// Long enough that a series has points, short enough to be meant.
fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.01..=1440.0).contains(&minutes) => Ok(minutes),
        _ => Err("between 0.01 and 1440 minutes".into()),
    }
}

/// What the program does in its system.
///
/// # Errors
/// When a promise was broken, or an experiment could not be run.
pub async fn run(sys: System) -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(part) = &arguments.part {
        return parts::play(&sys, part).await;
    }
    if arguments.experiments.iter().any(|name| name == "list") {
        for known in &EXPERIMENTS {
            println!("{:<12}{}", known.name, known.promise);
        }
        return Ok(());
    }
    let chosen = chosen(&arguments.experiments);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let effort = Effort {
        quick: arguments.quick,
        seed: arguments.seed.unwrap_or(u64::from(clock.subsec_nanos())),
        minutes: arguments.minutes,
    };
    if arguments.alone {
        for name in chosen {
            println!("{}", serde_json::to_string(&experiment(name, &sys, effort).await?)?);
        }
        return Ok(());
    }
    let mut broken = Vec::new();
    for name in chosen {
        eprintln!("{name}, seed {}", effort.seed);
        match in_a_process(name, effort).await {
            Ok(score) => {
                if arguments.json {
                    println!("{}", serde_json::to_string(&score)?);
                } else {
                    println!("{score}");
                }
                if score.broken() > 0 {
                    broken.push(name);
                }
            }
            // A process that ended before it had a score has kept no promise.
            Err(error) => {
                println!("{name}: BROKEN, it did not come to its end: {error}");
                broken.push(name);
            }
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Error::new(format!("promises broken: {}", broken.join(", "))))
    }
}

/// The experiments with these names, or all; ends the program if there is none of a name.
fn chosen(names: &[String]) -> Vec<&'static str> {
    let all = EXPERIMENTS.iter().map(|known| known.name);
    if let Some(unknown) = names.iter().find(|name| !all.clone().any(|known| known == **name)) {
        eprintln!("error: no experiment is named {unknown:?}; `list` lists them");
        std::process::exit(2);
    }
    all.filter(|known| names.is_empty() || names.iter().any(|name| name == known)).collect()
}

/// The longest that one may take: a soak of a day, and more than the frames need. Small ones take seconds.
fn patience(effort: Effort) -> Duration {
    let minutes = effort.minutes.unwrap_or(30.0) * 2.0;
    if effort.quick { Duration::from_secs(150) } else { Duration::from_secs_f64(60.0 * (minutes + 180.0)) }
}

async fn in_a_process(name: &str, effort: Effort) -> Result<Score> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--alone", "--seed", &effort.seed.to_string(), name]);
    if effort.quick {
        command.arg("--quick");
    }
    if let Some(minutes) = effort.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    // What it leaves in files is then seen, and gone with it.
    let folder = tempfile::tempdir()?;
    let runtime = folder.path().join("run");
    std::fs::create_dir(&runtime)?;
    std::fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    command.env("TMPDIR", folder.path()).env("XDG_RUNTIME_DIR", &runtime);
    // Deaths are what this is about; whoever wants to read of each sets the variable.
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "off");
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = tokio::time::timeout(patience(effort), waiting).await;
    if ended.is_err()
        && let Some(pid) = pid
    {
        // It may have ended in this moment.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        return Err(Error::new(format!("it took longer than {:?}", patience(effort))));
    }
    let output = ended???;
    if !output.status.success() {
        return Err(Error::new(output.status));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

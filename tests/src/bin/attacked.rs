//! A program with a victim and an attacker, for the tests of security: `attacked PROFILE FOLDER [hidden]`. Its user may
//! read and write the folder; it puts a secret there. Prints a line for each attack. Or `attacked connect SOCKET`.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use watertight::prelude::*;
use watertight::{Profile, Sandbox};
use watertight_tests::attack::{
    Attack, Attacker, OrdinaryWork, Target, Try, TryByChild, VARIABLE, Whereabouts, canary, errno_name,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, path] = &arguments[..]
        && role == "connect"
    {
        println!("{}", connect(path));
        return ExitCode::SUCCESS;
    }
    watertight::run(async |sys: System| {
        let mut arguments = std::env::args().skip(1);
        let (Some(profile), Some(folder)) = (arguments.next(), arguments.next()) else {
            return Err(Error::new("usage: attacked PROFILE FOLDER [hidden]"));
        };
        if arguments.next().is_some() {
            watertight::hide_program()?;
        }
        let profile = match &*profile {
            "default" => Profile::Default,
            "sandboxed" => Profile::Sandboxed(Sandbox::new()),
            "no-files" => Profile::Sandboxed(Sandbox::new().no_files()),
            other => return Err(Error::new(format!("no such profile: {other}"))),
        };
        sys.listen("attacked").await?;
        let base = std::env::var("XDG_RUNTIME_DIR")?;
        let secret = format!("{folder}/secret");
        std::fs::write(&secret, "secret")?;
        let spec =
            || Spec::<Attacker>::new(()).environment([format!("{VARIABLE}*")]).profile(profile.clone());
        let victim = sys.spawn_with(spec().name("victim")).await?;
        let attacker = sys.spawn_with(spec().name("attacker")).await?;
        let about = sys.info(&attacker).await?.confinement.unwrap_or_default();
        let whole = about.is_boundary();
        println!(
            "uid {} boundary {whole} landlock {:?}",
            rustix::process::geteuid().as_raw(),
            about.landlock
        );
        println!("work {}", attacker.ask(OrdinaryWork).await?);
        let socket = format!("{base}/watertight/attacked/node.sock");
        let target = |(pid, canary)| Target {
            pid,
            canary,
            socket: socket.clone(),
            secret: secret.clone(),
            folder: folder.clone(),
        };
        let sibling = target(victim.ask(Whereabouts).await?);
        let program = target((std::process::id(), canary()));
        for (whom, attacks, target) in [
            ("program", &Attack::ON_OTHERS[..], &program),
            ("sibling", &Attack::ON_OTHERS[..], &sibling),
            ("machine", &Attack::ON_MACHINE[..], &program),
        ] {
            for &attack in attacks {
                let outcome = attacker.ask(Try(attack, target.clone())).await?;
                println!(
                    "{whom}: {} = {}",
                    attack.words(),
                    outcome.err().unwrap_or_else(|| "succeeds".into())
                );
            }
        }
        let outcome = attacker.ask(TryByChild(Attack::OpenSocket, program)).await?;
        let outcome = outcome.err().unwrap_or_else(|| "succeeds".into());
        println!("machine: open a network socket, by an actor that it starts = {outcome}");
        // The victims are well.
        println!("work {}", victim.ask(OrdinaryWork).await?);
        Ok(())
    })
}

/// Connects to a system's socket, and says what came of it.
fn connect(path: &str) -> String {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => return error.raw_os_error().map_or_else(|| error.to_string(), errno_name),
    };
    // The supervisor speaks first, and closes at once before somebody whom it does not want.
    match stream.read(&mut [0; 16]) {
        Ok(0) => "turned away".into(),
        Ok(_) => "heard a supervisor".into(),
        Err(error) => error.to_string(),
    }
}

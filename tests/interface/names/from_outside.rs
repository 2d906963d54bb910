//! A program from outside finds and waits as an actor does, and gives no names.

use super::*;

#[test]
fn plays_its_part() {
    watertight::test(async |sys| match part().as_deref() {
        Some("shop") => {
            let it = sys.spawn_with(specimen_named("it")).await?;
            sys.listen("shop").await?;
            let mut visitor =
                play("names::from_outside::plays_its_part", "visitor").stdout(Stdio::piped()).spawn()?;
            let mut said = lines(&mut visitor);
            assert!(said.any(|line| line == "waiting"));
            let late = sys.spawn_with(specimen_named("late")).await?;
            let visited = tokio::task::spawn_blocking(move || {
                println!();
                said.for_each(|line| println!("{line}"));
                visitor.wait()
            });
            assert!(visited.await??.success());
            println!("total {} {}", it.ask(Add(0)).await?, late.ask(Add(0)).await?);
            Ok(())
        }
        Some(_) => visit().await,
        None => Ok(()),
    });
}

/// A program from outside.
async fn visit() -> Result<()> {
    let sys = watertight::attach("shop").await?;
    let it = sys.find::<Specimen>("it").await?;
    it.ask(Add(5)).await?;
    let wait = Duration::from_millis(5);
    says(
        sys.wait_for::<Specimen>("nobody", wait).await.unwrap_err(),
        "no actor named \"nobody\" was ready within 5ms",
    );
    assert!(matches!(sys.wait_for::<Clerk>("it", wait).await, Err(SystemError::OtherType(_))));
    let late = {
        let mut waiting = Box::pin(sys.wait_for::<Specimen>("late", PATIENCE));
        assert!(is_pending(&mut waiting).await);
        println!("\nwaiting");
        waiting.await?
    };
    late.ask(Add(7)).await?;
    println!("register: {}", sys.register("mine", &it).await.unwrap_err());
    println!("unregister: {}", sys.unregister("it").await.unwrap_err());
    sys.settled().await;
    Ok(())
}

#[test]
fn a_program_from_outside_finds_and_waits_and_gives_no_names() {
    let folder = tempfile::Builder::new().prefix("names").tempdir().unwrap();
    let output = play("names::from_outside::plays_its_part", "shop")
        .env("XDG_RUNTIME_DIR", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    for expected in [
        "register: only the program that started the system may do this",
        "unregister: only the program that started the system may do this",
        "total 5 7",
    ] {
        assert!(said.lines().any(|line| line == expected), "{expected:?} is missing in {said}\n{wrong}");
    }
}

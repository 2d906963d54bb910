//! Programs that attach again and again: one attachment for each of their tokio runtimes, and none that is over.

use watertight::SystemError;
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Setup};

use super::*;

/// More often than so many programs may be attached at once.
const OFTEN: usize = 300;

/// Not a test of its own: the parts that other tests let this executable play.
#[test]
fn plays_its_part() {
    watertight::test(async |sys| match part().as_deref() {
        Some("host") => {
            sys.spawn_with(Spec::<Specimen>::new(Setup::default()).name("it")).await?;
            sys.listen("host").await?;
            println!("\nlistening");
            std::future::pending().await
        }
        Some("again") => attaches_again_and_again().await,
        Some("runtimes") => in_many_runtimes().await,
        Some("hosts") => to_one_host_after_the_other().await,
        _ => Ok(()),
    });
}

/// A program that listens, until this is dropped.
struct Host(Child);

impl Host {
    fn start() -> Result<Host> {
        let mut child = play("attachments::plays_its_part", "host").stdout(Stdio::piped()).spawn()?;
        assert!(lines(&mut child).any(|line| line == "listening"));
        Ok(Host(child))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn attach_and_ask() -> Result<i64> {
    let it = watertight::attach("host").await?.find::<Specimen>("it").await?;
    Ok(it.ask(Add(1)).await?)
}

async fn attaches_again_and_again() -> Result<()> {
    let _host = Host::start()?;
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    attach_and_ask().await?;
    let before = descriptors()?;
    for _ in 0..OFTEN {
        attach_and_ask().await?;
    }
    assert_eq!(descriptors()?, before);
    Ok(())
}

async fn in_many_runtimes() -> Result<()> {
    let _host = Host::start()?;
    let it = watertight::attach("host").await?.find::<Specimen>("it").await?;
    // Its link is made in this runtime.
    it.ask(Add(1)).await?;
    let others = std::thread::spawn(|| {
        for _ in 0..OFTEN {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(attach_and_ask())?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok::<_, Error>(runtime.block_on(watertight::attach("host"))?)
    });
    let other = others.join().unwrap()?;
    let error = other.find::<Specimen>("it").await.unwrap_err();
    assert!(matches!(error, SystemError::ShuttingDown), "{error}");
    // What ended with those runtimes is nothing to this one.
    attach_and_ask().await?;
    assert_eq!(it.ask(Add(1)).await?, i64::try_from(OFTEN)? + 3);
    Ok(())
}

async fn to_one_host_after_the_other() -> Result<()> {
    for _ in 0..3 {
        let host = Host::start()?;
        // Whatever has become known by now of the end of the one before: it is not attached to any more.
        assert_eq!(attach_and_ask().await?, 1);
        drop(host);
    }
    Ok(())
}

fn succeeds(part: &str) {
    let folder = tempfile::Builder::new().prefix("attached").tempdir().unwrap();
    let output =
        play("attachments::plays_its_part", part).env("XDG_RUNTIME_DIR", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_program_that_attaches_again_and_again_is_attached_once() {
    succeeds("again");
}

#[test]
fn each_runtime_of_a_program_has_an_attachment_that_ends_with_it() {
    succeeds("runtimes");
}

#[test]
fn a_program_attaches_to_whoever_listens_now() {
    succeeds("hosts");
}

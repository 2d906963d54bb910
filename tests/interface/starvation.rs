//! A program without free descriptors: what is started with some is refused by name, and nobody is ended for it.

use watertight::Group;
use watertight::error::{AdministrationError, SpawnError};
use watertight_tests::starved::Starved;

use super::blobs::made;
use super::*;

/// Starts libraries.
struct Founder;

/// Starts one with that book; how many pages it has, or why it was not started.
#[message(reply = String)]
struct Found(Blob);

impl Actor for Founder {
    type Args = ();
    type Messages = (Found,);
    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Founder)
    }
}

impl Handler<Found> for Founder {
    async fn handle(&mut self, Found(book): Found, cx: &mut Context<Self>) -> Result<String> {
        match cx.spawn::<Library>(book).await {
            Ok(library) => Ok(format!("{} pages", library.ask(Pages).await?)),
            Err(error) => Ok(format!("{error:?}")),
        }
    }
}

struct Library(Blob);

#[message(reply = u64)]
struct Pages;

impl Actor for Library {
    type Args = Blob;
    type Messages = (Pages,);
    async fn start(book: Blob, _: &mut Context<Self>) -> Result<Self> {
        Ok(Library(book))
    }
}

impl Handler<Pages> for Library {
    async fn handle(&mut self, _: Pages, _: &mut Context<Self>) -> Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// In a process of its own: there are no descriptors for a whole process.
#[test]
fn plays_its_part() {
    watertight::test(async |sys| {
        if part().is_none() {
            return Ok(());
        }
        let founder = sys.spawn_with(Spec::<Founder>::new(()).name("founder")).await?;
        let book = made(100_000, 1)?;
        // Once before, so that the link is there.
        assert_eq!(founder.ask(Found(book.clone())).await?, "100000 pages");
        let life = sys.info(&founder).await?;

        let starved = Starved::begin()?;
        // Several, so that a next one finds the conversation in order.
        for _ in 0..3 {
            assert_eq!(founder.ask(Found(book.clone())).await?, "NoDescriptors");
            assert_eq!(sys.spawn::<Library>(book.clone()).await.unwrap_err(), SpawnError::NoDescriptors);
        }
        let shelf = || Group::new("shelf").child(Spec::<Library>::new(book.clone()).name("one"));
        match sys.start_group(shelf()).await.unwrap_err() {
            AdministrationError::Start { path, error } => {
                assert_eq!((&*path, *error), ("shelf/one", SpawnError::NoDescriptors));
            }
            other => panic!("{other:?}"),
        }
        let now = sys.info(&founder).await?;
        assert_eq!((now.pid, now.restarts), (life.pid, 0), "who asked in vain lives on");
        drop(starved);

        assert_eq!(founder.ask(Found(book.clone())).await?, "100000 pages");
        assert_eq!(sys.spawn::<Library>(book.clone()).await?.ask(Pages).await?, 100_000);
        sys.start_group(shelf()).await?;
        assert_eq!(sys.find::<Library>("shelf/one").await?.ask(Pages).await?, 100_000);
        let ledger = sys.balance(PATIENCE).await?;
        assert!(ledger.is_balanced(), "{ledger:?}");
        println!("\nit went on");
        Ok(())
    });
}

#[test]
fn without_descriptors_a_start_is_refused_and_whoever_asked_for_it_lives_on() {
    let output = play("starvation::plays_its_part", "starved").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.lines().any(|line| line == "it went on"), "{said}\n{wrong}");
}

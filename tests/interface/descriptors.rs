//! Descriptors on links: none is left open, none is taken in without bound, and where none are left it is said.

use watertight::event::DeadLetterReason;
use watertight::{AskError, Executed, TellError};
use watertight_tests::doomed::wait_until_stopped;

use super::blobs::*;
use super::*;

#[test]
fn a_thousand_blobs_later_sender_and_receiver_have_as_many_descriptors_open_as_before() {
    watertight::test(async |sys| {
        let two = holders(&sys, 2).await?;
        let (sender, receiver) = (&two[0], &two[1]);
        // The first of everything opens sockets.
        assert_eq!(sender.ask(SendMany(receiver.clone(), 10)).await?, 100_000);
        receiver.ask(LetGo).await?;
        let before = (sender.ask(Count).await?, receiver.ask(Count).await?);
        assert_eq!(sender.ask(SendMany(receiver.clone(), 1000)).deadline(PATIENCE).await?, 100_000);
        assert_eq!(receiver.ask(LetGo).await?, [100_000]);
        assert_eq!((sender.ask(Count).await?, receiver.ask(Count).await?), before);
        Ok(())
    });
}

#[test]
fn a_suspended_receiver_takes_in_no_more_descriptors_than_its_share() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let holder = sys.spawn::<Holder>(()).await?;
        let before = holder.ask(Count).await?;
        holder.tell(Hold(gate.clone())).await?;
        gate.ask(Waiting(1)).await?;
        for _ in 0..1000 {
            holder.tell(Keep(made(70_000, 1)?)).await?;
        }
        gate.tell(Open).await?;
        let kept = holder.ask(LetGo).deadline(PATIENCE).await?;
        assert_eq!(kept, vec![70_000; 1000]);
        let most = holder.ask(Most).await? - before;
        // One read beyond the limit of 256; and many were there at once.
        assert!((100..=256 + 16 + 1).contains(&most), "{most} descriptors were open");
        assert_eq!(holder.ask(Count).await?, before + 1, "its link to the gate, and nothing else");
        Ok(())
    });
}

#[test]
fn a_message_that_says_it_owns_no_descriptors_and_does_comes_back_with_the_reason() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Liar(Blob);
    impl Message for Liar {
        type Reply = ();
        const NAME: &'static str = "Liar";
        const KEY: watertight::MessageKey = watertight::MessageKey::named(Self::NAME);
        const DESCRIPTORS: bool = false;
    }
    struct Taker;
    impl Actor for Taker {
        type Args = ();
        type Messages = (Liar,);
        async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
            Ok(Taker)
        }
    }
    impl Handler<Liar> for Taker {
        async fn handle(&mut self, _: Liar, _: &mut Context<Self>) -> Result<()> {
            Ok(())
        }
    }
    watertight::test(async |sys| {
        let taker = sys.spawn::<Taker>(()).await?;
        let refused = taker.tell(Liar(made(100_000, 1)?)).await.unwrap_err();
        assert!(refused.to_string().contains("whose schema says so"), "{refused}");
        taker.ask(Liar(made(10, 1)?)).await?;
        Ok(())
    });
}

#[test]
fn an_answer_reaches_a_handler_that_waits_for_it_in_front_of_many_blobs() {
    watertight::test(async |sys| {
        let gate = sys.spawn::<Gate>(()).await?;
        let three = holders(&sys, 3).await?;
        let [asker, asked, maker] = &three[..] else { return Ok(()) };
        let before = asker.ask(Count).await?;
        maker.tell(Hold(gate.clone())).await?;
        gate.ask(Waiting(1)).await?;
        let waiting = {
            let (asker, asked, maker) = (asker.clone(), asked.clone(), maker.clone());
            tokio::spawn(
                async move { asker.ask(AskFor(asked, 100_000, Some(maker))).deadline(PATIENCE).await },
            )
        };
        // It is suspended, and its answer has yet to be made.
        asked.ask(Forwarded).await?;
        let blob = made(100_000, 1)?;
        for _ in 0..600 {
            asker.tell(Keep(blob.clone())).await?;
        }
        if let Some(pid) = sys.info(asker).await?.pid.filter(|_| may_look()) {
            let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
            let full = async {
                while open() <= 256 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, full).await.unwrap();
        }
        gate.tell(Open).await?;
        assert_eq!(waiting.await??, "100000 bytes");
        assert_eq!(asker.ask(LetGo).deadline(PATIENCE).await?.len(), 600);
        let most = asker.ask(Most).await? - before;
        assert!(most > 256, "only {most}: the limit was not reached");
        Ok(())
    });
}

#[test]
fn a_message_whose_descriptors_the_receiver_cannot_take_is_refused_by_name_and_the_rest_goes_on() {
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let two = holders(&sys, 2).await?;
        let holder = &two[0];
        let blob = made(100_000, 1)?;
        // Once before, so that the links are there.
        assert_eq!(two[1].ask(AskFor(holder.clone(), 100_000, None)).await?, "100000 bytes");
        holder.ask(Starve(true)).await?;
        let refused = holder.ask(Keep(blob.clone())).await.unwrap_err();
        assert!(matches!(refused, AskError::NoDescriptors { executed: Executed::No }), "{refused:?}");
        assert_eq!(refused.executed(), Executed::No);
        holder.tell(Keep(blob.clone())).await?;
        // A small one needs none.
        assert_eq!(holder.ask(Keep(made(10, 1)?)).await?, 10);
        let dead = events.wait_for(|event| match event {
            Event::DeadLetters { reason, count, .. } => Some((reason, count)),
            _ => None,
        });
        assert_eq!(dead.await?, (DeadLetterReason::Refused, 1));
        holder.ask(Starve(false)).await?;
        assert_eq!(holder.ask(Keep(blob)).await?, 100_000);
        assert_eq!(holder.ask(LetGo).await?, [10, 100_000]);
        // The same with a reply: it was made, and is lost to an asker that has no room for it.
        let asker = &two[1];
        asker.ask(Starve(true)).await?;
        let said = asker.ask(AskFor(holder.clone(), 100_000, None)).await?;
        assert_eq!(said, "NoDescriptors { executed: Yes }");
        assert_eq!(asker.ask(AskFor(holder.clone(), 10, None)).await?, "10 bytes");
        asker.ask(Starve(false)).await?;
        assert_eq!(asker.ask(AskFor(holder.clone(), 100_000, None)).await?, "100000 bytes");
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.dead_lettered, ledger.is_balanced()), (2, true), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn an_actor_without_descriptors_outlives_links_that_it_cannot_take_and_gets_them_when_it_has_some() {
    watertight::test(async |sys| {
        let three = holders(&sys, 3).await?;
        let [starved, stranger, other] = &three[..] else { return Ok(()) };
        starved.ask(Starve(true)).await?;
        // Neither has sent to it before, nor it to anybody: each way a link's end does not get in.
        let ask = |from: &Address<Holder>, to: &Address<Holder>| {
            let (from, to) = (from.clone(), to.clone());
            async move { from.ask(AskFor(to, 10, None)).deadline(PATIENCE).await }
        };
        let (to, from) = tokio::join!(ask(stranger, starved), ask(starved, other));
        for ended in [to?, from?] {
            assert!(ended.starts_with("Deadline"), "{ended}");
        }
        assert_eq!(starved.ask(Keep(made(10, 1)?)).await?, 10, "on a link that was there it goes on");
        starved.ask(Starve(false)).await?;
        assert_eq!(ask(stranger, starved).await?, "10 bytes");
        assert_eq!(ask(starved, other).await?, "10 bytes");
        assert_eq!(sys.info(starved).await?.restarts, 0);
        assert!(sys.balance(PATIENCE).await?.is_balanced());
        Ok(())
    });
}

#[test]
fn too_many_blobs_in_one_message_come_back_with_the_reason() {
    #[message]
    struct Many(Vec<Blob>);
    struct Taker;
    impl Actor for Taker {
        type Args = ();
        type Messages = (Many,);
        async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
            Ok(Taker)
        }
    }
    impl Handler<Many> for Taker {
        async fn handle(&mut self, Many(blobs): Many, _: &mut Context<Self>) -> Result<()> {
            assert!(blobs.iter().zip(0..).all(|(blob, n)| blob[0] == n));
            Ok(())
        }
    }
    watertight::test(async |sys| {
        let taker = sys.spawn::<Taker>(()).await?;
        let blobs = |count: u8| (0..count).map(|n| made(70_000, n)).collect::<Result<Vec<_>>>();
        taker.ask(Many(blobs(16)?)).await?;
        match taker.tell(Many(blobs(17)?)).await.unwrap_err() {
            TellError::Encode(Many(back), why) => {
                assert_eq!(back.len(), 17);
                assert!(why.to_string().contains("at most 16"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        taker.ask(Many(blobs(2)?)).await?;
        Ok(())
    });
}

#[test]
fn a_blob_in_the_arguments_is_there_in_every_life() {
    struct Library(Blob);
    #[message(reply = u8)]
    struct Letter(u32);
    impl Actor for Library {
        type Args = (u8, Blob);
        type Messages = (Letter,);
        async fn start((_, book): (u8, Blob), _: &mut Context<Self>) -> Result<Self> {
            Ok(Library(book))
        }
    }
    impl Handler<Letter> for Library {
        async fn handle(&mut self, Letter(at): Letter, _: &mut Context<Self>) -> Result<u8> {
            Ok(self.0[at as usize])
        }
    }
    watertight::test(async |sys| {
        let mut events = sys.events().await?;
        let spec = Spec::<Library>::new((1, made(1 << 20, 65)?)).name("library").backoff(Backoff::NONE);
        let library = sys.spawn_with(spec).await?;
        for life in 2..4 {
            assert_eq!(library.ask(Letter(1 << 19)).await?, 65);
            sys.kill(&library).await?;
            events.started("library", life).await?;
        }
        assert_eq!(library.ask(Letter(0)).await?, 65);
        Ok(())
    });
}

/// Under way at most, for a user who is not root.
const UNDER_WAY: u64 = 64;

/// Sends that many blobs as a user who may not have so many under way.
#[message]
struct Flood(Address<Holder>, u32);

/// How many of them have arrived, once all have.
#[message(reply = u32)]
struct Flooded(Address<Holder>);

struct Flooder;

impl Actor for Flooder {
    type Args = ();
    type Messages = (Flood, Flooded);
    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Flooder)
    }
}

impl Handler<Flood> for Flooder {
    async fn handle(&mut self, Flood(to, count): Flood, _: &mut Context<Self>) -> Result<()> {
        use rustix::process::{Resource, Uid, getrlimit, setrlimit};
        let blob = made(100_000, 1)?;
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(UNDER_WAY);
        setrlimit(Resource::Nofile, limit)?;
        rustix::thread::set_thread_res_uid(Uid::from_raw(65_534), Uid::from_raw(65_534), None)?;
        for _ in 0..count {
            to.tell(Keep(blob.clone())).await?;
        }
        // The driver has had its turn once this is over, and no more can be sent by any way.
        tokio::task::yield_now().await;
        assert_eq!(send_a_descriptor(), Err(rustix::io::Errno::TOOMANYREFS));
        Ok(())
    }
}

fn send_a_descriptor() -> rustix::io::Result<usize> {
    use rustix::net::*;
    let flags = SocketFlags::CLOEXEC;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let descriptors = [std::os::fd::AsFd::as_fd(&other)];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&one, &[std::io::IoSlice::new(b"x")], &mut beside, SendFlags::NOSIGNAL)
}

impl Handler<Flooded> for Flooder {
    async fn handle(&mut self, Flooded(to): Flooded, _: &mut Context<Self>) -> Result<u32> {
        Ok(u32::try_from(to.ask(LetGo).deadline(PATIENCE).await?.len())?)
    }
}

#[test]
fn messages_wait_while_their_user_has_too_many_descriptors_under_way() {
    use rustix::process::{Pid, Signal, kill_process};
    if !may_look() {
        // It takes root to become somebody else.
        return;
    }
    watertight::test(async |sys| {
        let holder = sys.spawn_with(Spec::<Holder>::new(()).hang_limit(None)).await?;
        let flooder = sys.spawn::<Flooder>(()).await?;
        assert_eq!(flooder.ask(Flooded(holder.clone())).await?, 0);
        let pid = sys.info(&holder).await?.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| watertight::Error::new("it has no process"))?;
        kill_process(pid, Signal::STOP)?;
        wait_until_stopped(pid.as_raw_nonzero().get().cast_unsigned());
        flooder.ask(Flood(holder.clone(), 150)).await?;
        kill_process(pid, Signal::CONT)?;
        assert_eq!(flooder.ask(Flooded(holder)).deadline(PATIENCE).await?, 150);
        Ok(())
    });
}

//! Blobs and arrays: shared by processes, carried by messages of every kind, freed with their last holder.

use std::os::unix::fs::MetadataExt;

use watertight::ArrayPart;

use super::*;

/// Keeps, makes and passes on.
pub struct Holder {
    kept: Vec<Blob>,
    /// Most descriptors that were open beside those of what is kept.
    most: u32,
    asker: Option<ReplyTo<Blob>>,
    forwarded: bool,
    curious: Option<ReplyTo<()>>,
}

/// Keeps it; answered with the sum of its bytes.
#[message(reply = u64)]
pub struct Keep(pub Blob);

/// Lets go of all that is kept; answered with their lengths.
#[message(reply = Vec<u64>)]
pub struct LetGo;

/// Answered with that many bytes, each this one.
#[message(reply = Blob)]
pub struct Make(pub u32, pub u8);

/// The same, answered by somebody else.
#[message(reply = Blob)]
pub struct MakeElsewhere(pub u32, pub u8, pub Address<Holder>);

#[message]
pub struct Answer(u32, u8, ReplyTo<Blob>);

/// Answered once a question was passed on to somebody else.
#[message]
pub struct Forwarded;

/// Passed from one to the next; answered with its sum by the last.
#[message(reply = u64)]
pub struct PassOn(Blob, Vec<Address<Holder>>);

/// Waits at the gate.
#[message]
pub struct Hold(pub Address<Gate>);

/// Sends that many blobs, one after another, and then asks for the sum of one more.
#[message(reply = u64)]
pub struct SendMany(pub Address<Holder>, pub u32);

/// How many descriptors are open.
#[message(reply = u32)]
pub struct Count;

/// The most that were, beside those of what is kept.
#[message(reply = u32)]
pub struct Most;

/// Proportional share of memory, in bytes.
#[message(reply = u64)]
pub struct Share;

/// Has no further descriptor to be had, or has again.
#[message]
pub struct Starve(pub bool);

/// Asks the other for a blob of that size, which that one or somebody else makes; says how that ended.
#[message(reply = String)]
pub struct AskFor(pub Address<Holder>, pub u32, pub Option<Address<Holder>>);

/// Writes its number everywhere in the part.
#[message]
pub struct Paint(ArrayPart<u32>, u32);

impl Actor for Holder {
    type Args = ();
    type Messages = (
        Keep,
        LetGo,
        Make,
        MakeElsewhere,
        Answer,
        Forwarded,
        PassOn,
        Hold,
        SendMany,
        Count,
        Most,
        Share,
        Starve,
        AskFor,
        Paint,
    );

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Holder { kept: Vec::new(), most: 0, asker: None, forwarded: false, curious: None })
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

pub fn made(length: u32, byte: u8) -> Result<Blob> {
    Ok(Blob::build(length as usize, |bytes| bytes.fill(byte))?)
}

impl Handler<Keep> for Holder {
    async fn handle(&mut self, Keep(blob): Keep, _: &mut Context<Self>) -> Result<u64> {
        let sum = sum(&blob);
        self.kept.push(blob);
        // Not to be counted while there is none to count by.
        let open = open_descriptors().unwrap_or_default();
        let others = open.saturating_sub(u32::try_from(self.kept.len())?);
        self.most = self.most.max(others);
        Ok(sum)
    }
}

impl Handler<LetGo> for Holder {
    async fn handle(&mut self, _: LetGo, _: &mut Context<Self>) -> Result<Vec<u64>> {
        Ok(self.kept.drain(..).map(|blob| blob.len() as u64).collect())
    }
}

impl Handler<Make> for Holder {
    async fn handle(&mut self, Make(length, byte): Make, _: &mut Context<Self>) -> Result<Blob> {
        made(length, byte)
    }
}

impl Handler<MakeElsewhere> for Holder {
    async fn handle(
        &mut self,
        MakeElsewhere(length, byte, other): MakeElsewhere,
        cx: &mut Context<Self>,
    ) -> Result<Blob> {
        let result = cx.defer(|reply| self.asker = Some(reply));
        if let Some(reply) = self.asker.take() {
            if other == cx.address() {
                reply.send(made(length, byte)?);
            } else {
                other.tell(Answer(length, byte, reply)).await?;
                self.forwarded = true;
                self.curious.take().into_iter().for_each(|curious| curious.send(()));
            }
        }
        result
    }
}

impl Handler<Forwarded> for Holder {
    async fn handle(&mut self, _: Forwarded, cx: &mut Context<Self>) -> Result<()> {
        if self.forwarded {
            return Ok(());
        }
        cx.defer(|reply| self.curious = Some(reply))
    }
}

impl Handler<Answer> for Holder {
    async fn handle(&mut self, Answer(length, byte, reply): Answer, _: &mut Context<Self>) -> Result<()> {
        reply.send_result(made(length, byte));
        Ok(())
    }
}

impl Handler<PassOn> for Holder {
    async fn handle(&mut self, PassOn(blob, mut rest): PassOn, _: &mut Context<Self>) -> Result<u64> {
        match rest.pop() {
            Some(next) => Ok(next.ask(PassOn(blob, rest)).await?),
            None => Ok(sum(&blob)),
        }
    }
}

impl Handler<Hold> for Holder {
    async fn handle(&mut self, Hold(gate): Hold, _: &mut Context<Self>) -> Result<()> {
        Ok(gate.ask(Pass).deadline(PATIENCE).await?)
    }
}

impl Handler<SendMany> for Holder {
    async fn handle(&mut self, SendMany(to, count): SendMany, _: &mut Context<Self>) -> Result<u64> {
        for _ in 0..count {
            to.tell(Keep(made(100_000, 1)?)).await?;
            // Else the receiver would hold all of them at the end.
            to.tell(LetGo).await?;
        }
        // Behind all of them: when it is answered, they are settled.
        Ok(to.ask(Keep(made(100_000, 1)?)).await?)
    }
}

fn open_descriptors() -> std::io::Result<u32> {
    // The directory's own is among them each time.
    Ok(std::fs::read_dir("/proc/self/fd")?.map(|_| 1).sum())
}

impl Handler<Count> for Holder {
    async fn handle(&mut self, _: Count, _: &mut Context<Self>) -> Result<u32> {
        Ok(open_descriptors()?)
    }
}

impl Handler<Most> for Holder {
    async fn handle(&mut self, _: Most, _: &mut Context<Self>) -> Result<u32> {
        Ok(self.most)
    }
}

impl Handler<Share> for Holder {
    async fn handle(&mut self, _: Share, _: &mut Context<Self>) -> Result<u64> {
        Ok(share())
    }
}

impl Handler<Starve> for Holder {
    async fn handle(&mut self, Starve(starve): Starve, _: &mut Context<Self>) -> Result<()> {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if starve {
            // The lowest number that is free is the first that the limit forbids.
            let free = std::fs::File::open("/dev/null")?;
            limit.current = Some(u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&free))?);
        }
        Ok(setrlimit(Resource::Nofile, limit)?)
    }
}

impl Handler<AskFor> for Holder {
    async fn handle(&mut self, AskFor(other, size, maker): AskFor, _: &mut Context<Self>) -> Result<String> {
        let made = match maker {
            Some(maker) => other.ask(MakeElsewhere(size, 1, maker)).await,
            None => other.ask(Make(size, 1)).await,
        };
        Ok(match made {
            Ok(blob) => format!("{} bytes", blob.len()),
            Err(error) => format!("{error:?}"),
        })
    }
}

impl Handler<Paint> for Holder {
    async fn handle(&mut self, Paint(mut part, number): Paint, _: &mut Context<Self>) -> Result<()> {
        part.fill(number);
        Ok(())
    }
}

/// This process's proportional share of memory, in bytes.
fn share() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Whether this user may look at what other processes have open.
pub fn may_look() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("left out: only root sees what other processes have open");
    }
    root
}

/// How many descriptors of all processes are memory files of that size, which no other test makes.
fn holders_of(size: u32) -> usize {
    let is_it = |path: std::path::PathBuf| {
        let is_blob =
            std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().contains("watertight-blob"));
        is_blob && std::fs::metadata(&path).is_ok_and(|file| file.size() == u64::from(size))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        // Not `self` once more.
        .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|descriptors| descriptors.flatten().map(|one| one.path()))
        .filter(|path| is_it(path.clone()))
        .count()
}

/// Waits until so many have it: for a moment, a process that another test is starting has everything that this one has.
async fn held_by(size: u32, count: usize) {
    let held = async {
        while holders_of(size) != count {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, held).await;
    assert!(in_time.is_ok(), "{} hold it, not {count}", holders_of(size));
}

pub async fn holders(sys: &System, count: usize) -> Result<Vec<Address<Holder>>> {
    let mut holders = Vec::new();
    for _ in 0..count {
        holders.push(sys.spawn::<Holder>(()).await?);
    }
    Ok(holders)
}

#[test]
fn a_large_blob_is_in_memory_once_however_many_look_at_it() {
    watertight::test(async |sys| {
        const SIZE: u32 = 64 << 20;
        let four = holders(&sys, 4).await?;
        let blob = made(SIZE, 1)?;
        let mut before = 0;
        for holder in &four {
            before += holder.ask(Share).await?;
        }
        for holder in &four {
            assert_eq!(holder.ask(Keep(blob.clone())).await?, u64::from(SIZE));
        }
        let mut after = 0;
        for holder in &four {
            after += holder.ask(Share).await?;
        }
        let grown = (after - before) as f64 / f64::from(SIZE);
        assert!((0.9..1.2).contains(&grown), "{grown} times the blob");
        Ok(())
    });
}

#[test]
fn a_blob_ends_with_its_last_holder_although_that_is_killed() {
    if !may_look() {
        return;
    }
    watertight::test(async |sys| {
        const SIZE: u32 = (1 << 20) + 17;
        let mut events = sys.events().await?;
        let mut holders = Vec::new();
        for name in ["one", "other"] {
            let spec = Spec::<Holder>::new(()).name(name).restart(Restart::Temporary);
            holders.push(sys.spawn_with(spec).await?);
        }
        let blob = made(SIZE, 1)?;
        for holder in &holders {
            holder.ask(Keep(blob.clone())).await?;
        }
        held_by(SIZE, 3).await;
        drop(blob);
        held_by(SIZE, 2).await;
        sys.kill(&holders[0]).await?;
        events.exited("one").await?;
        held_by(SIZE, 1).await;
        sys.kill(&holders[1]).await?;
        events.exited("other").await?;
        held_by(SIZE, 0).await;
        Ok(())
    });
}

#[test]
fn a_told_blob_outlives_its_receiver_and_its_maker_let_go_of_it() {
    watertight::test(async |sys| {
        const SIZE: u32 = (1 << 20) + 29;
        let gate = sys.spawn::<Gate>(()).await?;
        let mut events = sys.events().await?;
        let spec = Spec::<Holder>::new(()).name("falls").backoff(Backoff::NONE);
        let holder = sys.spawn_with(spec).await?;
        holder.tell(Hold(gate.clone())).await?;
        gate.ask(Waiting(1)).await?;
        // Behind what is in hand: it is in the dead one's socket or inbox, with its descriptor.
        holder.tell(Keep(made(SIZE, 2)?)).await?;
        sys.kill(&holder).await?;
        events.started("falls", 2).await?;
        assert_eq!(holder.ask(LetGo).await?, [u64::from(SIZE)]);
        // What is settled is not kept for replay.
        if may_look() {
            held_by(SIZE, 0).await;
        }
        let ledger = sys.balance(PATIENCE).await?;
        assert_eq!((ledger.in_doubt, ledger.is_balanced()), (1, true), "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_blob_comes_back_in_a_reply_given_now_later_or_by_somebody_else() {
    watertight::test(async |sys| {
        let two = holders(&sys, 2).await?;
        for length in [10, 100_000] {
            let now = two[0].ask(Make(length, 3)).await?;
            let later = two[0].ask(MakeElsewhere(length, 3, two[0].clone())).await?;
            let elsewhere = two[0].ask(MakeElsewhere(length, 3, two[1].clone())).await?;
            for blob in [now, later, elsewhere] {
                assert_eq!((blob.len(), sum(&blob)), (length as usize, u64::from(length) * 3));
            }
        }
        // Many under way at once: each reply keeps its own.
        let mut asked = Vec::new();
        for n in 0..50_u8 {
            let holder = two[usize::from(n % 2)].clone();
            asked.push(tokio::spawn(async move { holder.ask(Make(100_000 + u32::from(n), n)).await }));
        }
        for (n, asked) in (0..50_u8).zip(asked) {
            let blob = asked.await??;
            assert_eq!((blob.len(), blob[99_999]), (100_000 + usize::from(n), n));
        }
        Ok(())
    });
}

#[test]
fn a_blob_goes_from_one_to_the_next_to_the_last() {
    watertight::test(async |sys| {
        let three = holders(&sys, 3).await?;
        let blob = made(1 << 20, 1)?;
        let part = blob.slice(10..500_010).ok_or_else(|| watertight::Error::new("out of range"))?;
        let rest = || vec![three[2].clone(), three[1].clone()];
        assert_eq!(three[0].ask(PassOn(blob, rest())).await?, 1 << 20);
        assert_eq!(three[0].ask(PassOn(part, rest())).await?, 500_000);
        Ok(())
    });
}

#[test]
fn actors_paint_their_parts_of_an_array_and_a_lost_part_can_be_painted_again() {
    watertight::test(async |sys| {
        let four = holders(&sys, 4).await?;
        let (picture, whole) = Array::<u32>::new(1_000_000)?;
        for ((holder, part), number) in four.iter().zip(whole.split(4)).zip(1..) {
            holder.ask(Paint(part, number)).await?;
        }
        let painted = picture.to_vec();
        assert!(painted.chunks(250_000).zip(1..).all(|(part, n)| part.iter().all(|number| *number == n)));
        // Its painter is killed before it begins.
        let part = picture.reclaim(0..10)?;
        let gate = sys.spawn::<Gate>(()).await?;
        let spec = Spec::<Holder>::new(()).restart(Restart::Temporary);
        let victim = sys.spawn_with(spec).await?;
        victim.tell(Hold(gate.clone())).await?;
        gate.ask(Waiting(1)).await?;
        victim.tell(Paint(part, 9)).await?;
        sys.kill(&victim).await?;
        four[3].ask(Paint(picture.reclaim(0..10)?, 10)).await?;
        assert_eq!((picture.get(9), picture.get(10)), (Ok(10), Ok(1)));
        Ok(())
    });
}

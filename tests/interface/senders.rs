//! `cx.watch_sender` and its `SenderEnded`.

use watertight::SenderEnded;

use super::*;

/// Watches everybody who says something, and writes down what it hears.
struct Porter {
    gate: Address<Gate>,
    heard: Vec<Heard>,
    reader: Option<(u32, ReplyTo<Vec<Heard>>)>,
}

#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// A number, from whom.
    Said(u32, u64),
    Ended(u64),
}

/// Answered with the number of the sender.
#[message(reply = u64)]
struct Say(u32);

/// Waits at the gate.
#[message]
struct Hold;

/// All that was heard, once it is so much.
#[message(reply = Vec<Heard>)]
struct Log(u32);

impl Porter {
    fn hear(&mut self, heard: Heard) {
        self.heard.push(heard);
        if let Some((_, reader)) = self.reader.take_if(|(count, _)| self.heard.len() >= *count as usize) {
            reader.send(self.heard.clone());
        }
    }
}

impl Actor for Porter {
    type Args = Address<Gate>;
    type Messages = (Say, Hold, Log, SenderEnded);

    async fn start(gate: Address<Gate>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Porter { gate, heard: Vec::new(), reader: None })
    }
}

impl Handler<Say> for Porter {
    async fn handle(&mut self, Say(number): Say, cx: &mut Context<Self>) -> Result<u64> {
        let sender = cx.watch_sender();
        assert_eq!(cx.watch_sender(), sender);
        self.hear(Heard::Said(number, sender));
        Ok(sender)
    }
}

impl Handler<Hold> for Porter {
    async fn handle(&mut self, _: Hold, _: &mut Context<Self>) -> Result<()> {
        Ok(self.gate.ask(Pass).deadline(PATIENCE).await?)
    }
}

impl Handler<Log> for Porter {
    async fn handle(&mut self, Log(count): Log, cx: &mut Context<Self>) -> Result<Vec<Heard>> {
        if self.heard.len() >= count as usize {
            return Ok(self.heard.clone());
        }
        cx.defer(|reader| self.reader = Some((count, reader)))
    }
}

impl Handler<SenderEnded> for Porter {
    async fn handle(&mut self, ended: SenderEnded, _: &mut Context<Self>) -> Result<()> {
        self.hear(Heard::Ended(ended.sender));
        Ok(())
    }
}

/// Says the number of its life, and then more as it is told.
struct Guest {
    porter: Address<Porter>,
}

#[message]
struct Talk(u32);

impl Actor for Guest {
    type Args = Address<Porter>;
    type Messages = (Talk,);

    async fn start(porter: Address<Porter>, cx: &mut Context<Self>) -> Result<Self> {
        porter.tell(Say(cx.incarnation().0)).await?;
        Ok(Guest { porter })
    }
}

impl Handler<Talk> for Guest {
    async fn handle(&mut self, Talk(number): Talk, _: &mut Context<Self>) -> Result<()> {
        self.porter.tell(Say(number)).await?;
        Ok(())
    }
}

async fn porter(sys: &System) -> Result<(Address<Gate>, Address<Porter>)> {
    let gate = sys.spawn::<Gate>(()).await?;
    let porter = sys.spawn_with(Spec::<Porter>::new(gate.clone()).name("porter")).await?;
    Ok((gate, porter))
}

#[test]
fn each_life_of_a_sender_has_a_number_and_one_end_behind_all_that_it_sent() {
    watertight::test(async |sys| {
        let (gate, porter) = porter(&sys).await?;
        let mut events = sys.events().await?;
        let spec = Spec::<Guest>::new(porter.clone()).name("guest").backoff(Backoff::NONE);
        // While the porter is busy, two lives come, say something and go: it watches them when they are dead.
        porter.tell(Hold).await?;
        gate.ask(Waiting(1)).await?;
        let guest = sys.spawn_with(spec).await?;
        for life in 1..=2 {
            guest.ask(Talk(10 * life)).await?;
            // Its handler has returned, so what it sent is in the kernel once this is answered.
            guest.ask(Talk(10 * life + 1)).await?;
            sys.kill(&guest).await?;
            events.started("guest", life + 1).await?;
        }
        gate.ask(Open).await?;
        let log = porter.ask(Log(9)).await?;
        let who: Vec<u64> = log
            .iter()
            .filter_map(|heard| match heard {
                Heard::Said(number, who) => (*number <= 3).then_some(*who),
                Heard::Ended(_) => None,
            })
            .collect();
        let [one, two, three] = who[..] else { panic!("{log:?}") };
        assert!(one != two && two != three && one != three);
        let expected = [
            Heard::Said(1, one),
            Heard::Said(10, one),
            Heard::Said(11, one),
            Heard::Ended(one),
            Heard::Said(2, two),
            Heard::Said(20, two),
            Heard::Said(21, two),
            Heard::Ended(two),
            Heard::Said(3, three),
        ];
        assert_eq!(log, expected);
        sys.stop(&guest).await?;
        assert_eq!(porter.ask(Log(10)).await?[9], Heard::Ended(three), "an end as it was meant is one too");
        Ok(())
    });
}

#[test]
fn the_program_is_a_sender_whose_number_stays() {
    watertight::test(async |sys| {
        let (_, porter) = porter(&sys).await?;
        let one = porter.ask(Say(1)).await?;
        assert_eq!(porter.ask(Say(2)).await?, one);
        assert_eq!(porter.ask(Log(2)).await?, [Heard::Said(1, one), Heard::Said(2, one)]);
        Ok(())
    });
}

/// Not a test of its own: the part that another test lets this executable play.
#[test]
fn plays_its_part() {
    watertight::test(async |sys| match part().as_deref() {
        Some("lobby") => {
            let (_, porter) = porter(&sys).await?;
            let mine = porter.ask(Say(1)).await?;
            sys.listen("lobby").await?;
            let visited = tokio::task::spawn_blocking(|| play("senders::plays_its_part", "visitor").status());
            assert!(visited.await??.success());
            let log = porter.ask(Log(3)).await?;
            let Heard::Said(2, other) = log[1] else { panic!("{log:?}") };
            assert_ne!(mine, other);
            assert_eq!(log[2], Heard::Ended(other));
            println!("\nthe visitor has gone");
            Ok(())
        }
        Some(_) => {
            let lobby = watertight::attach("lobby").await?;
            lobby.find::<Porter>("porter").await?.ask(Say(2)).await?;
            Ok(())
        }
        None => Ok(()),
    });
}

#[test]
fn a_program_from_outside_that_ends_is_a_sender_that_ended() {
    let folder = tempfile::Builder::new().prefix("senders").tempdir().unwrap();
    let output =
        play("senders::plays_its_part", "lobby").env("XDG_RUNTIME_DIR", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.lines().any(|line| line == "the visitor has gone"), "{said}\n{wrong}");
}

//! A chat, one process a member: addresses passed in messages. Watch for bob, who is killed: the room is told by a
//! `Down`, frees his name and tells the others; his next incarnation joins again by itself.

use watertight::prelude::*;
use watertight_actors::table::{self, Delete, Swap, Table, Written};

/// Passes on what is said. Names stand in a table, an actor of its own, so that no two members have the same.
struct Room {
    names: Address<Table>,
    /// The monitor of each, the name, and where it hears.
    members: Vec<(u64, String, Recipient<Line>)>,
    transcript: Vec<String>,
    reader: Option<(u32, ReplyTo<Vec<String>>)>,
}
#[message]
struct Join(String, Recipient<Line>);
#[message]
struct Line(String);
/// Everything said so far, as soon as that is so many lines.
#[message(reply = Vec<String>)]
struct Transcript(u32);

impl Actor for Room {
    type Args = Address<Table>;
    type Messages = (Join, Line, Transcript, Down);
    async fn start(names: Address<Table>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Room { names, members: Vec::new(), transcript: Vec::new(), reader: None })
    }
}
impl Handler<Join> for Room {
    async fn handle(&mut self, Join(name, ears): Join, cx: &mut Context<Self>) -> Result<()> {
        let claim = Swap { key: name.clone(), expected: None, new: Some("here".into()) };
        if self.names.ask(claim).await? != Written::Yes {
            return Err(Error::new(format!("the name {name} is taken")));
        }
        self.members.push((cx.monitor(&ears).await?, name.clone(), ears));
        self.handle(Line(format!("* {name} joined")), cx).await
    }
}
impl Handler<Line> for Room {
    async fn handle(&mut self, Line(line): Line, _: &mut Context<Self>) -> Result<()> {
        for (.., ears) in &self.members {
            // Whoever has ended hears nothing, and its `Down` is on its way.
            let _ = ears.tell(Line(line.clone())).await;
        }
        self.transcript.push(line);
        if let Some((_, reader)) = self.reader.take_if(|(n, _)| self.transcript.len() >= *n as usize) {
            reader.send(self.transcript.clone());
        }
        Ok(())
    }
}
impl Handler<Down> for Room {
    async fn handle(&mut self, down: Down, cx: &mut Context<Self>) -> Result<()> {
        let Some(place) = self.members.iter().position(|m| m.0 == down.monitor) else { return Ok(()) };
        let (_, name, _) = self.members.remove(place);
        self.names.ask(Delete { key: name.clone() }).await?;
        self.handle(Line(format!("* {name} left: {}", down.exit)), cx).await
    }
}
impl Handler<Transcript> for Room {
    async fn handle(&mut self, Transcript(n): Transcript, cx: &mut Context<Self>) -> Result<Vec<String>> {
        let reader = |reader| self.reader = Some((n, reader));
        if self.transcript.len() < n as usize { cx.defer(reader) } else { Ok(self.transcript.clone()) }
    }
}

/// Joins the room as it starts, at every incarnation again, and shows on standard error what it hears.
struct Member(String);
impl Actor for Member {
    type Args = (String, Address<Room>);
    type Messages = (Line,);
    async fn start((name, room): Self::Args, cx: &mut Context<Self>) -> Result<Self> {
        room.ask(Join(name.clone(), cx.address().recipient())).await?;
        Ok(Member(name))
    }
}
impl Handler<Line> for Member {
    async fn handle(&mut self, Line(line): Line, _: &mut Context<Self>) -> Result<()> {
        eprintln!("{} hears {line}", self.0);
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    watertight::run(async |sys: System| {
        let room = sys.spawn::<Room>(sys.spawn::<Table>(table::Setup::default()).await?).await?;
        sys.spawn::<Member>(("ann".into(), room.clone())).await?;
        let bob = sys.spawn::<Member>(("bob".into(), room.clone())).await?;
        room.ask(Line("ann: hello, bob".into())).await?;
        sys.kill(&bob).await?;
        room.ask(Transcript(5)).await?;
        room.ask(Line("ann: well again?".into())).await?;
        sys.balance(std::time::Duration::from_secs(5)).await?; // until everybody has heard everything
        sys.stop(&bob).await?;
        println!("{}", room.ask(Transcript(7)).await?.join("\n"));
        Ok(())
    })
}

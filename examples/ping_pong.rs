//! Two actors in two processes send a ball to and fro: `ping_pong [BALLS]`. Watch for the two process numbers, and for
//! the score that the ticker makes `ping` call out meanwhile.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight_actors::ticker::{Tick, Ticker};

/// Hits every ball back to where it came from.
#[derive(Default)]
struct Player {
    returned: u64,
    /// The balls that this player still has to serve, and who is to know when they are back.
    game: Option<(u64, ReplyTo<u64>)>,
}

#[message]
struct Ball {
    from: Address<Player>,
}

/// Serves so many balls, one after another; answered with how many came back.
#[message(reply = u64)]
struct Play {
    balls: u64,
    with: Address<Player>,
}

#[message(reply = u32)]
struct Process;

impl Actor for Player {
    type Args = ();
    type Messages = (Ball, Play, Process, Tick);

    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Player::default())
    }
}

impl Handler<Ball> for Player {
    async fn handle(&mut self, Ball { from }: Ball, cx: &mut Context<Self>) -> Result<()> {
        self.returned += 1;
        if let Some((_, reply)) = self.game.take_if(|(balls, _)| self.returned >= *balls) {
            reply.send(self.returned);
            return Ok(());
        }
        Ok(from.tell(Ball { from: cx.address() }).await?)
    }
}

impl Handler<Play> for Player {
    async fn handle(&mut self, Play { balls, with }: Play, cx: &mut Context<Self>) -> Result<u64> {
        if balls == 0 {
            return Ok(0);
        }
        with.tell(Ball { from: cx.address() }).await?;
        // The answer comes when the last ball is back.
        cx.defer(|reply| self.game = Some((balls, reply)))
    }
}

impl Handler<Process> for Player {
    async fn handle(&mut self, _: Process, _: &mut Context<Self>) -> Result<u32> {
        Ok(std::process::id())
    }
}

impl Handler<Tick> for Player {
    async fn handle(&mut self, _: Tick, _: &mut Context<Self>) -> Result<()> {
        eprintln!("{} round trips so far", self.returned);
        Ok(())
    }
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let usage = "usage: ping_pong [BALLS], a whole number";
        let balls =
            std::env::args().nth(1).map_or(Ok(20_000), |n| n.parse()).map_err(|_| Error::new(usage))?;
        let ping = sys.spawn_with(Spec::<Player>::new(()).name("ping")).await?;
        let pong = sys.spawn_with(Spec::<Player>::new(()).name("pong")).await?;
        sys.spawn_with(Ticker::every(Duration::from_millis(250), ping.recipient())).await?;
        println!(
            "ping is process {}, pong is process {}",
            ping.ask(Process).await?,
            pong.ask(Process).await?
        );
        let began = Instant::now();
        let returned = ping.ask(Play { balls, with: pong }).deadline(Duration::from_secs(600)).await?;
        let took = began.elapsed();
        println!("{returned} round trips, {:.0} a second", returned as f64 / took.as_secs_f64());
        Ok(())
    })
}

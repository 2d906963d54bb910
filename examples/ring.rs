//! A token goes round a ring of actors: `ring [ACTORS] [LAPS]`. Watch for the tally, an actor like the others, to which
//! they report their hops: it comes to exactly actors × laps.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use watertight::prelude::*;
use watertight_actors::tally::{Add, Report, Tally};

/// One place in the ring.
struct Place {
    next: Option<Address<Place>>,
    hops: u64,
    /// Who is to know when the token has gone round so many times; only where it started.
    race: Option<(u64, ReplyTo<()>)>,
}

/// What goes round.
#[message]
struct Token;

/// Closes the ring and sends the token round so many times; answered when it is back.
#[message]
struct Race {
    laps: u64,
    first: Address<Place>,
}

/// Asks a place to report its hops.
#[message]
struct Count(Address<Tally>);

impl Actor for Place {
    type Args = Option<Address<Place>>;
    type Messages = (Token, Race, Count);

    async fn start(next: Option<Address<Place>>, _: &mut Context<Self>) -> Result<Self> {
        Ok(Place { next, hops: 0, race: None })
    }
}

impl Handler<Token> for Place {
    async fn handle(&mut self, _: Token, _: &mut Context<Self>) -> Result<()> {
        self.hops += 1;
        if let Some((_, reply)) = self.race.take_if(|(laps, _)| self.hops >= *laps) {
            reply.send(());
        } else if let Some(next) = &self.next {
            next.tell(Token).await?;
        }
        Ok(())
    }
}

impl Handler<Race> for Place {
    async fn handle(&mut self, Race { laps, first }: Race, cx: &mut Context<Self>) -> Result<()> {
        first.tell(Token).await?;
        self.next = Some(first);
        cx.defer(|reply| self.race = Some((laps, reply)))
    }
}

impl Handler<Count> for Place {
    async fn handle(&mut self, Count(tally): Count, cx: &mut Context<Self>) -> Result<()> {
        Ok(tally.ask(Add { key: cx.name().to_owned(), by: self.hops }).await?)
    }
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let usage = |_| Error::new("usage: ring [ACTORS] [LAPS], whole numbers");
        let argument = |n, default| std::env::args().nth(n).map_or(Ok(default), |text| text.parse::<u64>());
        let actors = argument(1, 10).map_err(usage)?.max(1);
        let laps = argument(2, 1000).map_err(usage)?.max(1);
        // From the last to the first, so that each is started with the address of the next.
        let last = sys.spawn::<Place>(None).await?;
        let mut places = vec![last.clone()];
        for _ in 1..actors {
            places.push(sys.spawn::<Place>(places.last().cloned()).await?);
        }
        let first = places.last().unwrap_or(&last).clone();
        let began = Instant::now();
        last.ask(Race { laps, first }).deadline(Duration::from_secs(600)).await?;
        let took = began.elapsed().as_secs_f64();
        let tally = sys.spawn::<Tally>(u32::MAX).await?;
        for place in &places {
            place.ask(Count(tally.clone())).await?;
        }
        let hops = tally.ask(Report).await?.total();
        println!("{hops} hops: {laps} laps of {actors} actors");
        println!("{:.0} laps a second, {:.0} hops a second", laps as f64 / took, hops as f64 / took);
        Ok(())
    })
}

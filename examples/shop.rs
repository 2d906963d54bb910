//! A supervision tree of three levels, drawn before and after its store is killed. Watch for who has a new process
//! afterwards: the till stands behind the store and goes with it (`RestForOne`), the sign stands before it and does not;
//! the clerks are a dynamic group of another branch, and never notice.
//!
//! `shop --give-up` kills the store more often than its group bears: the program ends with exit code 70 and says why.

use std::time::Duration;

use watertight::prelude::*;
use watertight::{Group, Strategy};

/// Sells, and dies when it is asked to.
struct Counter {
    sold: u32,
}

#[message(reply = u32)]
struct Sell(u32);

impl Actor for Counter {
    type Args = ();
    type Messages = (Sell,);
    async fn start(_: (), _: &mut Context<Self>) -> Result<Self> {
        Ok(Counter { sold: 0 })
    }
}
impl Handler<Sell> for Counter {
    async fn handle(&mut self, Sell(pieces): Sell, _: &mut Context<Self>) -> Result<u32> {
        self.sold += pieces;
        Ok(self.sold)
    }
}

fn counter(name: &str) -> Spec<Counter> {
    Spec::new(()).name(name).backoff(Backoff::NONE)
}

fn shop() -> Group {
    let front = Group::new("front")
        .strategy(Strategy::RestForOne)
        .intensity(2, Duration::from_secs(60))
        .child(counter("sign"))
        .child(counter("store"))
        .child(counter("till"));
    let staff = Group::new("staff").group(Group::dynamic("clerks", Spec::<Counter>::new(())));
    // It bears no restart of a branch: when one gives up, so does the shop, and with it the program.
    Group::new("shop").intensity(0, Duration::from_secs(60)).group(front).group(staff)
}

fn main() -> std::process::ExitCode {
    watertight::run(async |sys: System| {
        sys.start_group(shop()).await?;
        for _ in 0..2 {
            sys.start_instance::<Counter>("shop/staff/clerks", ()).await?.ask(Sell(1)).await?;
        }
        println!("{}", sys.tree(None).await?);
        let store = sys.find::<Counter>("shop/front/store").await?;
        let mut events = sys.events().await?;
        sys.kill(&store).await?;
        events.started("shop/front/till", 2).await?;
        println!("after the store was killed:\n\n{}", sys.tree(None).await?);
        if std::env::args().any(|argument| argument == "--give-up") {
            sys.kill(&store).await?;
            events.started("shop/front/till", 3).await?;
            sys.kill(&store).await?;
            std::future::pending::<()>().await;
        }
        Ok(())
    })
}

//! An ordinary program that attaches to a system from outside: `outside SYSTEM ACTOR`.

use watertight::SystemError;
use watertight_tests::Specimen;
use watertight_tests::specimen::{Add, Setup};

#[tokio::main(flavor = "current_thread")]
async fn main() -> watertight::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(system), Some(actor)) = (arguments.next(), arguments.next()) else {
        return Err(watertight::Error::new("usage: outside SYSTEM ACTOR"));
    };
    let sys = watertight::attach(&system).await?;
    let address = sys.find::<Specimen>(&actor).await?;
    for _ in 0..41 {
        address.tell(Add(1)).await?;
    }
    println!("total {}", address.ask(Add(1)).await?);
    if sys.spawn::<Specimen>(Setup::default()).await.is_err() {
        println!("spawn refused");
    }
    if matches!(sys.listen("elsewhere").await, Err(SystemError::NotAllowed)) {
        println!("listen refused");
    }
    if sys.find::<Specimen>("nobody").await.is_err() {
        println!("no such name");
    }
    sys.settled().await;
    Ok(())
}

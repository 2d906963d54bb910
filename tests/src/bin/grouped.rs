//! A program whose group is given up, or ends in another way; the tests look at its exit code.

use std::process::ExitCode;
use std::time::Duration;

use watertight::prelude::*;
use watertight::{AutoShutdown, Event, Group};
use watertight_tests::member::{Crash, Finish, Manner, Member};

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let role = std::env::args().nth(1).unwrap_or_default();
        let member = |name: &str| Spec::<Member>::new(Manner::default()).name(name).backoff(Backoff::NONE);
        let minute = Duration::from_secs(60);
        let inner = Group::new("inner").child(member("a")).intensity(1, minute).backoff(Backoff::NONE);
        let outer = Group::new("outer").child(member("last")).group(inner).intensity(1, minute);
        let outer = match &*role {
            "temporary" => outer.restart(Restart::Temporary),
            "significant" => outer
                .auto_shutdown(AutoShutdown::AnySignificant)
                .child(member("s").restart(Restart::Transient).significant()),
            _ => outer,
        };
        let mut events = sys.events().await?;
        sys.start_group(outer).await?;
        if role == "significant" {
            sys.find::<Member>("outer/s").await?.tell(Finish).await?;
        } else {
            let a = sys.find::<Member>("outer/inner/a").await?;
            for life in 1..=4 {
                events.started("outer/inner/a", life).await?;
                a.tell(Crash).await?;
            }
        }
        events
            .wait_for(|event| match event {
                Event::GroupEnded { path, .. } if path == "outer" => Some(()),
                _ => None,
            })
            .await?;
        if role == "permanent" {
            // The program is ended from outside.
            std::future::pending::<()>().await;
        }
        Ok(())
    })
}

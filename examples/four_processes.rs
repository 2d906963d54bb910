//! Four processes that each print a number, all at once: whole lines, whatever their order.

use std::process::ExitCode;

use watertight::prelude::*;

fn show(value: u32) {
    println!("value: {value}");
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let mut processes = Vec::new();
        for value in 1..=4 {
            processes.push(sys.process(show, value).await?);
        }
        for process in processes {
            process.join().await?;
        }
        Ok(())
    })
}

//! A function in a process of its own: Python's `Process(target=hello).start()` and `join()`.

use std::process::ExitCode;

use watertight::prelude::*;

fn hello(_: ()) {
    println!("Hello from a process!");
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let process = sys.process(hello, ()).await?;
        process.join().await?;
        Ok(())
    })
}

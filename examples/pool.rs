//! A function on many items, in four processes: Python's `Pool(4).map(square, range(1, 6))`.

use std::process::ExitCode;

use watertight::prelude::*;

fn square(x: u64) -> u64 {
    x * x
}

fn main() -> ExitCode {
    watertight::run(async |sys: System| {
        let pool = sys.pool(4).await?;
        println!("{:?}", pool.map(square, 1..=5).await?);
        Ok(())
    })
}

//! The small version of each experiment of the reliability suite, by its program, which judges for itself.

#![allow(missing_docs, clippy::unwrap_used)]

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use watertight_tests::reliability::{EXPERIMENTS, Score};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reliability")).args(arguments).output().unwrap()
}

/// Runs the small version of one; every promise must hold.
fn small(name: &str) {
    // One at a time: each loads the machine, and measures.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = run(&["--quick", "--json", name]);
    let said = String::from_utf8_lossy(&output.stderr);
    let score: Score = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{said}", String::from_utf8_lossy(&output.stdout)));
    println!("{score}");
    assert_eq!((score.broken(), output.status.code()), (0, Some(0)), "{score}\n{said}");
}

macro_rules! experiments {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            small(stringify!($name));
        })*

        #[test]
        fn every_experiment_has_its_small_version_here() {
            let here = [$(stringify!($name)),*];
            assert_eq!(EXPERIMENTS.map(|experiment| experiment.name), here);
        }
    };
}

experiments! { kills idempotent orphans replies hangs overload soak deaths storms disk descriptors calls frames restarts }

#[test]
fn wrong_usage_is_told_by_exit_code_2_and_the_list_names_every_experiment() {
    for wrong in [&["no-such-experiment"][..], &["--no-such-option"], &["--minutes", "0"], &["--seed", "x"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let list = run(&["list"]);
    let said = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.status.success() && EXPERIMENTS.iter().all(|known| said.contains(known.promise)), "{said}");
}

#[test]
fn a_broken_promise_is_told_by_exit_code_1() {
    // With so few descriptors no actor starts, and the experiment does not come to its end.
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 12; exec \"$0\" --quick replies", env!("CARGO_BIN_EXE_reliability")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
}

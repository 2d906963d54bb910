//! Every input that fuzzing begins with, and every one that it has found, through the same targets.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

#[path = "fuzz/targets.rs"]
mod targets;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The files of a corpus, and what is in them.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

#[test]
fn every_input_of_every_corpus_keeps_its_promises() {
    let mut failed = Vec::new();
    for target in targets::all() {
        let files = files(target.name);
        assert!(files.len() >= 8, "{target:?} has a corpus of {}", files.len());
        for (name, input) in files {
            let path = format!("tests/fuzz/corpus/{target:?}/{name}");
            // Named before it may end this process.
            eprintln!("{path}");
            if std::panic::catch_unwind(|| targets::judge(target.name, &input)).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "promises are broken for {failed:#?}");
}

/// Writes them with `WATERTIGHT_WRITE_SEEDS=1`.
#[test]
fn the_corpora_are_what_the_targets_begin_with_and_what_was_found() {
    let write = std::env::var_os("WATERTIGHT_WRITE_SEEDS").is_some();
    for target in targets::all() {
        if write {
            rewrite(target);
        }
        let seeds = target.seeds();
        let found = files(target.name);
        for (name, seed) in &seeds {
            let file = found.iter().find(|(file, _)| file == name);
            let (_, file) =
                file.unwrap_or_else(|| panic!("{target:?}/{name} is missing: write the seeds again"));
            assert_eq!(file, seed, "{target:?}/{name} is out of date: write the seeds again");
        }
        for (file, _) in &found {
            let known = seeds.iter().any(|(name, _)| name == file) || file.starts_with("found-");
            assert!(known, "{target:?}/{file} is no seed and does not say that it was found");
        }
    }
}

fn rewrite(target: &watertight::fuzzing::Target) {
    let folder = corpus(target.name);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, _) in files(target.name) {
        if !name.starts_with("found-") {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
    }
    for (name, seed) in target.seeds() {
        std::fs::write(folder.join(name), seed).unwrap();
    }
}

/// A checker that cannot fail checks nothing.
#[test]
fn a_target_that_holds_too_much_memory_is_refused() {
    fn hoards(input: &[u8]) {
        std::hint::black_box(vec![0_u8; 4096 + 2 * input.len()]);
    }
    let target = watertight::fuzzing::target("hoards", hoards, Vec::new, (4096, 1));
    let judge = |input: &[u8]| {
        std::panic::catch_unwind(|| target.judge(input, |run| allocation_counter::measure(run).bytes_max))
    };
    assert!(judge(&[]).is_ok());
    assert!(judge(&[0; 100]).is_err());
}

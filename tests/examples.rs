//! Every example, run as a user runs it, in a small size.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Where the examples are. Those with unit tests of their own are built by `cargo test` as tests only, so they are built
/// here as what they are, once.
fn folder_of_examples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_doomed")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "watertight-examples", "--examples", "--target-dir"]);
        build.arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.output().unwrap();
        assert!(
            built.status.success(),
            "the examples do not build: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        profile.join("examples")
    })
}

/// Runs an example.
fn example(name: &str, arguments: &[&str]) -> Output {
    let path = folder_of_examples().join(name);
    // Away from the workspace, so that no example reads it by default.
    let folder = tempfile::tempdir().unwrap();
    Command::new(path).args(arguments).current_dir(folder.path()).env("RUST_BACKTRACE", "0").output().unwrap()
}

fn text(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    streams.concat()
}

/// What a successful run printed on standard output.
fn succeeds(name: &str, arguments: &[&str]) -> String {
    let output = example(name, arguments);
    assert!(output.status.success(), "{name}: {:?}\n{}", output.status, text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hello_adds_up() {
    assert!(succeeds("hello", &[]).contains("1 + 2 + ... + 10 = 55"));
}

#[test]
fn the_first_programs_print_what_their_python_originals_print() {
    assert_eq!(succeeds("process", &[]), "Hello from a process!\n");
    assert_eq!(succeeds("pool", &[]), "[1, 4, 9, 16, 25]\n");
    let printed = succeeds("four_processes", &[]);
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["value: 1", "value: 2", "value: 3", "value: 4"]);
}

#[test]
fn ping_pong_ring_and_chat_end_well() {
    assert!(!succeeds("ping_pong", &[]).is_empty());
    assert!(!succeeds("ring", &["5", "3"]).is_empty());
    assert!(!succeeds("chat", &[]).is_empty());
}

#[test]
fn the_shop_is_drawn_and_its_store_is_restarted_with_what_stands_behind_it() {
    let said = succeeds("shop", &[]);
    for line in ["   ├─ sign#1 ", "│  ├─ store#2", "│  └─ till#2", "└─ clerks [dynamic]", "└─ 2#1"]
    {
        assert!(said.contains(line.trim_start()), "{line}: {said}");
    }
    let output = example("shop", &["--give-up"]);
    assert_eq!(output.status.code(), Some(70), "{}", text(&output));
    assert!(text(&output).contains("error: the group shop was given up because of shop/front/store"));
}

#[test]
fn readers_share_all_lines_although_one_dies() {
    let said = succeeds("readers", &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].ends_with(" left") && lines[1].ends_with(" joined again"), "{said}");
    // The killed one may have had a line in hand, which is then read once more.
    assert!(lines[2].starts_with("240 words in 6") && lines[2].ends_with("by 3 readers"), "{said}");
}

#[test]
fn shared_things_lose_no_job_with_a_worker_that_dies() {
    let said = succeeds("shared", &[]);
    assert!(said.contains("dies with job 7 and the printer in its hands"), "{said}");
    assert!(said.contains("20 jobs put, 20 done, 1 came back"), "{said}");
    assert!(said.contains("20 printed, and the printer is free: true"), "{said}");
}

#[test]
fn the_stability_claim_holds() {
    let said = succeeds("stability", &[]);
    assert!(said.contains("stability claim holds"), "{said}");
}

#[test]
fn the_stability_claim_is_printed_as_json_lines() {
    let said = succeeds("stability", &["--json"]);
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 10, "{said}");
}

/// A word is a maximal run of ASCII letters, in small letters.
fn count(texts: &[&[u8]]) -> std::collections::BTreeMap<String, u64> {
    let mut counts = std::collections::BTreeMap::new();
    for text in texts {
        for word in text.split(|b| !b.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            let word = String::from_utf8(word.to_ascii_lowercase()).unwrap();
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

#[test]
fn wordcount_is_exact_whatever_dies() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["Apple", "banana;", "cherry\n", "d\u{e9}j\u{e0}", "e_f", "\0\u{fffd}"];
    let long: String = (0..200_000).map(|n| format!("{} ", words[(n * 7 + n / 13) % words.len()])).collect();
    std::fs::write(folder.path().join("long"), &long).unwrap();
    std::fs::write(folder.path().join(".hidden"), b"\xff\xfehidden \x00 words").unwrap();
    std::fs::create_dir(folder.path().join("target")).unwrap();
    std::fs::write(folder.path().join("target/left"), "out").unwrap();
    std::os::unix::fs::symlink(folder.path().join("long"), folder.path().join("link")).unwrap();
    let expected = count(&[long.as_bytes(), b"\xff\xfehidden \x00 words"]);
    let mut lines: Vec<(u64, String)> = expected.into_iter().map(|(word, n)| (n, word)).collect();
    lines.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let expected: String = lines.iter().map(|(n, word)| format!("{n} {word}\n")).collect();
    let path = folder.path().display().to_string();
    let said = succeeds(
        "wordcount",
        &[&path, "--workers", "3", "--kill", "5", "--segv", "0.2", "--check", "--top", "100"],
    );
    assert_eq!(said, expected);
}

#[test]
fn wordcount_names_what_it_cannot_use() {
    let output = example("wordcount", &["/nowhere/at/all"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("/nowhere/at/all"), "{}", text(&output));
}

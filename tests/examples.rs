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

/// What becomes of an example that prints to nobody.
fn unheard(name: &str, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(folder_of_examples().join(name));
    command.args(arguments).current_dir(folder.path()).env("RUST_BACKTRACE", "1");
    command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn an_example_whose_output_nobody_reads_ends_quietly_and_says_so_by_its_code() {
    for name in ["hello", "pool", "ping_pong", "ring", "chat", "shop", "readers", "shared"] {
        let output = unheard(name, &[]);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(!wrong.contains("panicked") && !wrong.contains("stack backtrace"), "{name}: {wrong}");
        // What a shell says of a program that SIGPIPE has ended.
        assert_eq!(output.status.code(), Some(141), "{name}: {wrong}");
    }
    // What these print comes from processes of theirs, and is passed on while anybody reads.
    for name in ["process", "four_processes"] {
        assert_eq!(unheard(name, &[]).status.code(), Some(0), "{name}");
    }
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
fn a_tormented_topology_bears_it() {
    let said = succeeds("chaos", &["--seconds", "2", "--rate", "30", "--json"]);
    let verdict: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    let number = |name: &str| verdict[name].as_u64().unwrap();
    assert!(number("kills") > 5 && number("restarts") >= number("kills") / 2, "{said}");
    assert_eq!(verdict["not_back"].as_array().unwrap().len(), 0, "{said}");
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

#[test]
fn the_claims_are_measured_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("claims.svg");
    let said = succeeds("claims", &["--quick", "--json", "--svg", chart.to_str().unwrap()]);
    let rows: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |what: &str| {
        let found = rows.iter().find(|row| row["what"].as_str().is_some_and(|text| text.starts_with(what)));
        found.unwrap_or_else(|| panic!("no {what}: {said}"))
    };
    // Counts, not times: these are the same on every machine.
    let segfault = row("results of 100 tasks");
    assert_eq!(segfault["processes"], 99.0, "{said}");
    assert!(segfault["threads"].as_f64().unwrap() <= 99.0, "{said}");
    let greedy = row("results of 20 tasks");
    assert_eq!(greedy["processes"], 19.0, "{said}");
    // How many threads had written their results out before the program died is chance.
    assert!(greedy["threads"].as_f64().unwrap() <= 19.0, "{said}");
    assert_eq!(row("left of 2 x 64 MiB in small blocks, 1 in 16 kept")["better"], "processes", "{said}");
    assert_eq!(row("start, to the first result")["better"], "threads", "{said}");
    let drawn = std::fs::read_to_string(chart).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn}");
    let measured = rows.iter().filter(|row| row["claim"].is_string()).count();
    assert_eq!(drawn.matches("font-size=\"11\"").count(), 2 * measured, "a pair of bars for each row");
    assert_eq!(drawn.matches("not measured").count(), rows.iter().filter(|row| is_missing(row)).count());
    a_crash_is_explained(&rows, &said);

    // Found out before anything is measured.
    let output = example("claims", &["--svg", "/nowhere/at/all.svg"]);
    assert!(!output.status.success() && !text(&output).contains("measuring"), "{}", text(&output));
    assert!(text(&output).contains("failed to write /nowhere/at/all.svg"), "{}", text(&output));
}

/// Whether one of the numbers of a row of the claims could not be measured; then it says why.
fn is_missing(row: &serde_json::Value) -> bool {
    let missing = row["claim"].is_string() && (row["processes"].is_null() || row["threads"].is_null());
    assert!(!missing || row["note"].is_string(), "{row}");
    missing
}

/// The fourth claim: what a report says, beside a core file and a debugger where they are to be had.
fn a_crash_is_explained(rows: &[serde_json::Value], said: &str) {
    let row = |what: &str| {
        let found = rows.iter().find(|row| row["what"].as_str().is_some_and(|text| text.starts_with(what)));
        let found = found.unwrap_or_else(|| panic!("no {what}: {said}"));
        assert_eq!(found["claim"], "debugging", "{said}");
        found
    };
    let fact = |what: &str, of: &str| {
        let found = rows.iter().find(|row| row["of_a_crash"] == what);
        found.unwrap_or_else(|| panic!("no {what}: {said}"))[of].as_str().map(str::to_owned)
    };
    let told = |what: &str| fact(what, "processes").unwrap_or_else(|| panic!("{what} is not told: {said}"));
    assert_eq!((told("how it died"), told("which task did it")), ("SIGSEGV".into(), "task 37".into()));
    assert_eq!(told("what that was given"), "Segfault");
    assert!(told("its last words").contains("chunk 0x2a"), "{said}");
    assert_eq!(told("what came of the others"), "99 of 99 done");
    assert!(fact("how it died", "threads").unwrap().contains("SIGSEGV"), "{said}");

    let (report, kept) = (row("from a crash to its report"), row("kept of a crash"));
    // A report is there long before anybody has started a debugger, and fits a screen.
    let milliseconds = report["processes"].as_f64().unwrap();
    assert!((0.1..10_000.0).contains(&milliseconds), "{said}");
    assert!((0.05..16.0).contains(&kept["processes"].as_f64().unwrap()), "{said}");
    if let Some(kibibytes) = kept["threads"].as_f64() {
        assert!(kibibytes > 16.0, "{said}");
    }
    if let Some(of_core) = report["threads"].as_f64() {
        assert_eq!(report["better"], "processes", "{of_core}: {said}");
        // Of an optimized build the variables are not known, and that is not hidden.
        let number = fact("which task did it", "threads");
        assert_eq!(number.as_deref(), cfg!(debug_assertions).then_some("task 37, by a variable"));
        assert!(fact("in which line", "threads").unwrap().contains("claims/work.rs:"), "{said}");
        let threads = 1 + std::thread::available_parallelism().unwrap().get().clamp(2, 64);
        let stacks = format!("stacks of {threads} threads");
        assert_eq!(fact("what the others did then", "threads").unwrap(), stacks);
    }
    assert!(row("of 9 questions")["processes"].as_f64().unwrap() >= 6.0, "{said}");

    let stopped = row("longest pause of the others, one stopped for 200 ms");
    assert!(stopped["threads"].as_f64().unwrap() >= 190.0, "{said}");
    assert!(stopped["processes"].as_f64().unwrap() < stopped["threads"].as_f64().unwrap(), "{said}");
    let looked_at = row("the same, a debugger reading the stack of one");
    if let (Some(ours), Some(theirs)) = (looked_at["processes"].as_f64(), looked_at["threads"].as_f64()) {
        assert!(ours < theirs, "{said}");
    }
}

/// What the farm said of itself.
fn farm(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds("farm", &[&["--json", "--check"], arguments].concat())).unwrap()
}

#[test]
fn the_farm_makes_every_good_thumbnail_and_names_what_each_bad_image_did() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("made");
    // Long enough for the largest good one, unoptimized and on a busy machine.
    let said = farm(&["--deadline", "4", "--output", output.to_str().unwrap()]);
    assert_eq!((&said["images"], &said["done"]), (&22.into(), &14.into()), "{said}");
    assert_eq!(said["differ"].as_array().unwrap().len(), 0, "{said}");
    let bad: Vec<(&str, &str)> = said["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| (bad["file"].as_str().unwrap(), bad["what"].as_str().unwrap()))
        .collect();
    let expected = [
        ("bad-abort.runs", "killed the decoder: SIGABRT; it said: runs.c:31"),
        ("bad-bomb.gif", "out of memory"),
        ("bad-endless.gif", "too slow"),
        ("bad-flipped.png", "damaged: "),
        ("bad-loop.runs", "too slow"),
        ("bad-segfault.runs", "killed the decoder: SIGSEGV"),
        ("bad-text.png", "damaged: "),
        ("bad-truncated.png", "damaged: "),
    ];
    assert_eq!(bad.len(), expected.len(), "{said}");
    for ((file, what), (expected_file, begins)) in bad.iter().zip(expected) {
        assert!(*file == expected_file && what.starts_with(begins), "{file}: {what}");
    }
    let mut made: Vec<String> = std::fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(made.len(), 14, "{made:?}");
    assert!(made.iter().all(|name| name.starts_with("good-") && name.ends_with(".png")), "{made:?}");
}

#[test]
fn the_farm_takes_a_folder_of_the_user_and_leaves_its_own_output_out() {
    let folder = tempfile::tempdir().unwrap();
    let (album, output) = (folder.path().join("album"), folder.path().join("made"));
    std::fs::create_dir_all(&album).unwrap();
    // 2 x 1 pixels in one run of a grey, and the palette.
    let mut image = b"RUNS\x02\0\x01\0\x0e\0\0\0\x02\x80".to_vec();
    image.extend(0..=u8::MAX);
    std::fs::write(album.join("one.RUNS"), image).unwrap();
    std::fs::write(album.join("broken.jpg"), "no picture").unwrap();
    std::fs::write(album.join("notes.txt"), "no picture either").unwrap();
    let (input, output) = (folder.path().to_str().unwrap(), output.to_str().unwrap());
    for _ in 0..2 {
        let said = farm(&["--workers", "1", "--input", input, "--output", output]);
        assert_eq!((&said["images"], &said["done"]), (&2.into(), &1.into()), "{said}");
        assert_eq!(said["bad"][0]["file"], "album/broken.jpg", "{said}");
    }
    assert!(Path::new(output).join("album/one.RUNS.png").exists());
    // Whoever names files does not write on the terminal.
    std::fs::write(album.join("evil\x1b[31m\n.png"), "no picture").unwrap();
    let said = succeeds("farm", &["--input", album.to_str().unwrap()]);
    assert!(said.contains("evil\\u{1b}[31m\\n.png  damaged: "), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let output = example("farm", &["--input", empty.path().to_str().unwrap()]);
    assert!(!output.status.success() && text(&output).contains("no files that end in .png"));
    let output = example("farm", &["--input", "/nowhere/at/all"]);
    assert!(!output.status.success() && text(&output).contains("/nowhere/at/all"), "{}", text(&output));
}

//! Frames that are nearly right, by the thousand, on every kind of link of a real system: nobody but their sender is
//! disturbed. How many on each kind: `WATERTIGHT_FRAMES`; from which seed: `WATERTIGHT_SEED`; on which kind alone:
//! `WATERTIGHT_LINK`.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use watertight::fuzzing::hostile::{self, Outsider};
use watertight_tests::siege::ammunition::Draw;
use watertight_tests::siege::{Link, attack};

/// How much more memory the supervisor may have in the end, in KiB.
const GROWTH: u64 = 10 << 10;
/// So many seconds are measured without an attack.
const CALM: &str = "1";

#[test]
fn a_supervisor_and_its_peers_are_not_disturbed_by_fuzzed_frames_on_any_link() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let frames = number("WATERTIGHT_FRAMES").unwrap_or(500);
    let seed = number("WATERTIGHT_SEED").unwrap_or(1);
    let only = std::env::var("WATERTIGHT_LINK").ok();
    println!("seed {seed}, {frames} frames on each kind of link");
    let mut besieged = Besieged::start();
    // What is touched for the first time is no growth: first everything once.
    for link in Link::ALL {
        besieged.under(link, Draw::new(seed + 1), seed + 1, frames.min(100));
    }
    besieged.say("measure 0.2");
    let before = besieged.memory();
    let calm = besieged.say(&format!("measure {CALM}"));
    println!("{:<12} {:>9} {:>8} {:>10} {:>10}", "link", "frames", "seconds", "peer p99", "victim p99");
    println!("{:<12} {:>9} {:>8} {:>7} µs {:>7} µs", "calm", 0, CALM, calm.peer / 1000, calm.victim / 1000);
    // The same load from a good program: what it costs the others is no harm.
    let busy = besieged.under(Link::FromOutside, Draw::honest(), 0, frames);
    println!(
        "{:<12} {:>9} {:>8} {:>7} µs {:>7} µs",
        "good load",
        frames,
        "",
        busy.peer / 1000,
        busy.victim / 1000
    );
    let mut worst = 0;
    for link in
        Link::ALL.into_iter().filter(|link| only.as_ref().is_none_or(|only| *only == format!("{link:?}")))
    {
        let begun = Instant::now();
        let told = besieged.under(link, Draw::new(seed), seed, frames);
        let seconds = begun.elapsed().as_secs_f64();
        let name = format!("{link:?}");
        println!(
            "{name:<12} {frames:>9} {seconds:>8.1} {:>7} µs {:>7} µs",
            told.peer / 1000,
            told.victim / 1000
        );
        worst = worst.max(told.peer).max(told.victim);
        assert_eq!(told.wrong, 0, "{link:?}: a good message was lost, repeated, or given to another");
    }
    let after = besieged.say(&format!("measure {CALM}"));
    let memory = besieged.memory();
    println!(
        "{:<12} {:>9} {:>8} {:>7} µs {:>7} µs",
        "calm again",
        0,
        CALM,
        after.peer / 1000,
        after.victim / 1000
    );
    println!(
        "{} asks of good peers, {} frames that were messages; memory {before} KiB, then {memory} KiB",
        after.asks, after.foreign
    );
    let usual = busy.peer.max(busy.victim).max(calm.peer).max(calm.victim);
    println!("the worst p99 is {worst} ns, under a good load {usual} ns");
    // Only where nothing else runs: another program's turn on a core takes longer than an answer.
    if std::env::var_os("WATERTIGHT_STRICT").is_some() {
        assert!(worst <= 2 * usual, "good peers wait for {worst} ns instead of {usual} ns");
    }
    assert!(after.foreign > 0, "nothing of all this was ever a message: it is no fuzzing of messages");
    assert!(memory < before + GROWTH, "memory grew from {before} to {memory} KiB");
}

#[test]
fn a_sender_that_boasts_of_more_than_it_sent_does_not_upset_the_ledger() {
    let mut besieged = Besieged::start();
    // So that there is something to add to.
    besieged.say("measure 0.1");
    let mut boaster = Outsider::connect(&besieged.socket).unwrap();
    assert!(boaster.say(&Outsider::hello()));
    let link = boaster.link(&besieged.victim).unwrap();
    // One of these is its own.
    for number in 0..64 {
        assert!(boaster.say(&hostile::boast(number)) && boaster.say(&hostile::boast(number)));
    }
    // The answer comes behind all that was said.
    let second = boaster.link(&besieged.victim).unwrap();
    besieged.say("ledger");
    drop((link, second, boaster));
    besieged.say("ledger");
    assert_eq!(besieged.say("measure 0.1").wrong, 0);
}

/// The program of `bin/besieged.rs`.
struct Besieged {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    socket: PathBuf,
    /// Addresses of actors, as they stand in messages.
    victim: Vec<u8>,
    decoy: Vec<u8>,
    _folder: tempfile::TempDir,
}

/// What it tells, in its order.
struct Told {
    peer: u64,
    victim: u64,
    asks: u64,
    wrong: u64,
    foreign: u64,
}

impl Besieged {
    fn start() -> Besieged {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_besieged"))
            .arg("city")
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("RUST_LOG", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (victim, decoy) = (bytes(words[0]), bytes(words[1]));
        let socket = folder.path().join("watertight/city/node.sock");
        Besieged { child, input, output, socket, victim, decoy, _folder: folder }
    }

    fn say(&mut self, command: &str) -> Told {
        self.begin(command);
        self.hear(command)
    }

    fn begin(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
    }

    fn hear(&mut self, command: &str) -> Told {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the supervisor ended at {command:?}: {:?}", self.child.try_wait());
        let all: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        Told { peer: all[0], victim: all[1], asks: all[2], wrong: all[4], foreign: all[5] }
    }

    /// What its peers see while it is under fire on such a link.
    fn under(&mut self, link: Link, draw: Draw, seed: u64, frames: u64) -> Told {
        if !matches!(link, Link::Hello | Link::Attachment | Link::FromOutside) {
            return self.say(&format!("fire {} {seed} {frames}", link.place()));
        }
        let (socket, victim, decoy) = (self.socket.clone(), self.victim.clone(), self.decoy.clone());
        let attack = std::thread::spawn(move || attack(link, &socket, draw, frames, &victim, &decoy));
        let mut seconds = Vec::new();
        while !attack.is_finished() {
            seconds.push(self.say("measure 1"));
        }
        attack.join().unwrap().unwrap();
        // The middle one of all seconds; counts are those of the last.
        let last = seconds.pop().unwrap_or_else(|| self.say("measure 0.1"));
        let middle = |all: &mut Vec<u64>| {
            all.sort_unstable();
            all[all.len() / 2]
        };
        let mut peers: Vec<u64> = seconds.iter().chain([&last]).map(|told| told.peer).collect();
        let mut victims: Vec<u64> = seconds.iter().chain([&last]).map(|told| told.victim).collect();
        Told { peer: middle(&mut peers), victim: middle(&mut victims), ..last }
    }

    /// The resident memory of the supervisor's process, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Besieged {
    fn drop(&mut self) {
        // It may have ended, which is then what failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

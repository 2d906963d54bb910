//! Each attack under each profile, measured, and compared with the table in `docs/security.md`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use watertight_tests::attack::VARIABLE;

/// The user whom the table is for: no root, who may do everything.
pub const NOBODY: u32 = 65534;

/// A directory with a copy of an executable, both for `NOBODY` if this test may become that.
pub struct Stage {
    pub folder: tempfile::TempDir,
}

impl Stage {
    pub fn new(executable: &str) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        // By a process of its own: a descriptor that this one had open for writing could be inherited by what another test
        // is just starting, and a file that is open for writing cannot be executed.
        let copied = Command::new("cp").arg(executable).arg(folder.path().join("program")).status().unwrap();
        assert!(copied.success());
        for name in ["run", "files"] {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
            if is_root() {
                std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Stage { folder }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The executable, to be run by a user without privileges.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.path("program"));
        command
            .current_dir("/")
            .env(format!("{VARIABLE}_A"), "in an environment")
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env_remove("TMPDIR");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What came of each attack, in the order of the attacks.
fn attacked(profile: &str, hidden: bool) -> Vec<(String, String)> {
    let stage = Stage::new(env!("CARGO_BIN_EXE_attacked"));
    let mut command = stage.command();
    command.arg(profile).arg(stage.path("files"));
    if hidden {
        command.arg("hidden");
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{profile}: {said}\n{errors}");
    let boundary = profile != "default";
    assert!(said.contains(&format!("boundary {boundary}")), "{profile}: {said}");
    assert_eq!(said.matches("work 4 8388608 through a pipe 100000").count(), 2, "{profile}: {said}");
    said.lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(attack, outcome)| (attack.to_owned(), outcome.to_owned()))
        .collect()
}

const COLUMNS: [(&str, bool); 4] =
    [("default", false), ("default", true), ("sandboxed", false), ("no-files", false)];

/// The table as the document has it.
fn table(measured: &[Vec<(String, String)>]) -> String {
    let mut text = String::from(
        "| Attack | default | default, program hidden | sandboxed | sandboxed, `no_files` |\n|---|---|---|---|---|\n",
    );
    for (row, (attack, _)) in measured[0].iter().enumerate() {
        text += &format!("| {attack} |");
        for column in measured {
            assert_eq!(&column[row].0, attack);
            let outcome = &column[row].1;
            let shown =
                if outcome == "succeeds" { "**succeeds**".to_owned() } else { format!("stopped: {outcome}") };
            text += &format!(" {shown} |");
        }
        text.push('\n');
    }
    text
}

#[test]
fn what_each_profile_stops_is_what_the_document_says() {
    let measured: Vec<_> = COLUMNS.map(|(profile, hidden)| attacked(profile, hidden)).into();
    let table = table(&measured);
    println!("{table}");
    // Whatever the document says: the sandbox stops everything that is tried.
    for column in &measured[2..] {
        let through: Vec<_> = column.iter().filter(|(_, outcome)| outcome == "succeeds").collect();
        assert!(through.is_empty(), "{through:?}");
    }
    // And the attacks are real ones: without it most succeed.
    let through = measured[0].iter().filter(|(_, outcome)| outcome == "succeeds").count();
    assert!(through >= 10, "only {through} attacks succeed where nothing hinders them");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let document = std::fs::read_to_string(document).unwrap();
    for line in table.lines() {
        assert!(document.contains(line), "docs/security.md does not say: {line}\n\nall of it:\n{table}");
    }
    let rows = document.lines().filter(|line| {
        line.starts_with("| program: ") || line.starts_with("| sibling: ") || line.starts_with("| machine: ")
    });
    assert_eq!(rows.count(), measured[0].len(), "docs/security.md has rows that were not measured");
}

#[test]
fn no_two_rows_of_the_table_are_of_one_attack() {
    let attacks = attacked("default", false);
    let names: BTreeMap<_, _> = attacks.iter().cloned().collect();
    assert_eq!(names.len(), attacks.len());
}

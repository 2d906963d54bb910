//! The documents: every command in a `console` block is run, and every file that they name is there.
//!
//! The Rust in them is compiled by the doctests of this crate's library.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<PathBuf> {
    let mut documents = vec![root().join("README.md")];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        documents.push(entry.unwrap().path());
    }
    documents.retain(|path| path.extension().is_some_and(|e| e == "md"));
    assert!(documents.len() > 5);
    documents
}

#[test]
fn every_command_in_a_console_block_succeeds() {
    let mut run = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
        for command in blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")) {
            let output = Command::new("sh").args(["-c", command]).current_dir(root()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: `{command}` failed:\n{said}", document.display());
            run += 1;
        }
    }
    assert!(run > 0, "no document has a command");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {target}, which is not there", document.display());
        }
    }
}

#[test]
fn no_document_and_no_source_names_a_path_of_some_machine() {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    for file in String::from_utf8(listed.stdout).unwrap().lines().filter(|f| !f.ends_with(".lock")) {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for place in ["work", "root", "home"] {
            let needle = format!(" /{place}/");
            assert!(!text.contains(&needle), "{file} names {needle:?}");
        }
    }
}

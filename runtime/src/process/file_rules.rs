//! Which files a sandboxed actor may open, and that signals and abstract sockets stay inside: the only file that names
//! landlock.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use crate::profile::{Files, Sandbox};

/// The newest rules that are asked for; a kernel that has fewer keeps those.
const NEWEST: ABI = ABI::V6;

/// Confines the calling thread, and those that it will start, for good. The version of the kernel's rules, or `None`
/// where it has none.
///
/// # Errors
///
/// When a file of the lists is not there, or the kernel refuses.
pub fn apply(sandbox: &Sandbox) -> io::Result<Option<u8>> {
    let everything = AccessFs::from_all(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    if sandbox.files == Files::Listed {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let own = std::fs::read_link("/proc/self/exe")?;
        let standing = Sandbox::READABLE.iter().map(Path::new).chain([Path::new("/proc/self"), &*own]);
        // What this machine does not have needs no rule; nor does an executable that was replaced.
        for path in standing.filter(|path| path.exists()) {
            rules = allow(rules, path, reading)?;
        }
        for path in &sandbox.readable {
            rules = allow(rules, Path::new(path), reading)?;
        }
        for path in &sandbox.writable {
            rules = allow(rules, Path::new(path), everything & !BitFlags::from_flag(AccessFs::Execute))?;
        }
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => u8::try_from(effective_abi as i32).ok(),
        _ => None,
    })
}

fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let is_directory = std::fs::metadata(path).map_err(named)?.is_dir();
    let access = if is_directory { access } else { access & AccessFs::from_file(NEWEST) };
    let file = PathFd::new(path).map_err(io::Error::other)?;
    rules.add_rule(PathBeneath::new(file, access)).map_err(io::Error::other)
}

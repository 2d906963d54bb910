//! Where a system that listens is found: a private directory with a lock and a socket.
//!
//! `$XDG_RUNTIME_DIR/watertight/NAME/`, or `/tmp/watertight-UID/NAME/` where there is no such variable. Never an abstract
//! name: those have no permissions.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use thiserror::Error;

/// Longest socket path, in bytes: what `sockaddr_un` holds.
const PATH_LIMIT: usize = 107;

/// Why a system cannot listen, or cannot be found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Not a name: it would leave the directory, or not fit a socket's path.
    #[error("{0:?} cannot be the name of a system: use letters, digits, `-`, `_` and `.`, and keep it short")]
    Name(String),
    /// The directory is somebody else's, open to others, or no directory.
    #[error("{} is not a private directory of this user: remove it or choose another name", .0.display())]
    NotPrivate(PathBuf),
    /// Another supervisor listens there.
    #[error("another system listens as {name:?} (process {holder})")]
    Taken {
        /// The name.
        name: String,
        /// The process that holds it, as it says itself.
        holder: String,
    },
    /// Nobody listens there.
    #[error("no system listens as {0:?}")]
    Nobody(String),
    /// The operating system refused.
    #[error("failed to {attempted} {}: {error}", path.display())]
    System {
        /// What was attempted,
        attempted: &'static str,
        /// on what,
        path: PathBuf,
        /// and what came of it.
        error: io::Error,
    },
}

/// The directory of a system that listens, held by a lock for as long as this lives.
#[derive(Debug)]
pub struct Place {
    socket: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the place named `name`: makes its directories, checks that nobody else can write there, takes the lock, and
    /// removes a socket that a dead supervisor left.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn take(name: &str) -> Result<Place, PlaceError> {
        Place::take_in(&base(), name)
    }

    fn take_in(base: &Path, name: &str) -> Result<Place, PlaceError> {
        let socket = socket_path(base, name)?;
        let directory = base.join(name);
        for path in [base, &directory] {
            private_directory(path)?;
        }
        let path = directory.join("lock");
        let failed = |attempted| {
            let path = path.clone();
            move |error| PlaceError::System { attempted, path, error }
        };
        let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow)
            .open(&path)
            .map_err(failed("open"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // Without its number it is still taken.
            let _ = lock.read_to_string(&mut holder);
            return Err(PlaceError::Taken { name: name.to_owned(), holder });
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(failed("write"))?;
        // Under the lock nobody listens there: what is left is of a supervisor that was killed.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PlaceError::System { attempted: "remove", path: socket, error })
            }
            _ => Ok(Place { socket, _lock: lock }),
        }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left behind, it is removed by the next one that takes the place.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The socket of the system that listens as `name`.
///
/// # Errors
/// [`PlaceError`]; also when the directory is not this user's, for then neither is the system.
pub fn find(name: &str) -> Result<PathBuf, PlaceError> {
    let base = base();
    let socket = socket_path(&base, name)?;
    let directory = base.join(name);
    if !directory.exists() {
        return Err(PlaceError::Nobody(name.to_owned()));
    }
    check_private(&base)?;
    check_private(&directory)?;
    Ok(socket)
}

fn base() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute()) {
        Some(dir) => Path::new(&dir).join("watertight"),
        None => std::env::temp_dir().join(format!("watertight-{}", rustix::process::geteuid().as_raw())),
    }
}

pub(crate) fn socket_path(base: &Path, name: &str) -> Result<PathBuf, PlaceError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let path = base.join(name).join("node.sock");
    let good = !name.is_empty() && !name.starts_with('.') && name.chars().all(fits);
    if good && path.as_os_str().len() <= PATH_LIMIT {
        Ok(path)
    } else {
        Err(PlaceError::Name(name.to_owned()))
    }
}

fn private_directory(path: &Path) -> Result<(), PlaceError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(PlaceError::System { attempted: "make the directory", path: path.to_owned(), error })
        }
        _ => check_private(path),
    }
}

/// A directory, no link to one, of this user, and closed to all others.
fn check_private(path: &Path) -> Result<(), PlaceError> {
    let failed = |error| PlaceError::System { attempted: "look at", path: path.to_owned(), error };
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(PlaceError::NotPrivate(path.to_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn private() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn a_second_supervisor_is_refused_and_the_holder_named() {
        let folder = private();
        let held = Place::take_in(folder.path(), "shop").unwrap();
        let error = Place::take_in(folder.path(), "shop").unwrap_err();
        assert!(
            matches!(&error, PlaceError::Taken { holder, .. } if *holder == std::process::id().to_string())
        );
        drop(held);
        Place::take_in(folder.path(), "shop").unwrap();
    }

    #[test]
    fn a_stale_socket_is_removed_under_the_lock() {
        let folder = private();
        let path = Place::take_in(folder.path(), "shop").unwrap().socket().to_owned();
        std::fs::write(&path, "left by a dead one").unwrap();
        let _place = Place::take_in(folder.path(), "shop").unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_linked_or_open_directory_is_refused() {
        let folder = private();
        let elsewhere = private();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("linked")).unwrap();
        assert!(matches!(Place::take_in(folder.path(), "linked"), Err(PlaceError::NotPrivate(_))));
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(Place::take_in(folder.path(), "open"), Err(PlaceError::NotPrivate(_))));
    }

    #[test]
    fn a_linked_lock_is_not_followed() {
        let folder = private();
        drop(Place::take_in(folder.path(), "shop").unwrap());
        let (lock, victim) = (folder.path().join("shop/lock"), folder.path().join("victim"));
        std::fs::write(&victim, "precious").unwrap();
        std::fs::remove_file(&lock).unwrap();
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        assert!(Place::take_in(folder.path(), "shop").is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn names_that_leave_the_directory_or_do_not_fit_are_refused() {
        let folder = private();
        for name in ["", "..", "../x", "a/b", ".hidden", "with space", &"x".repeat(200)] {
            assert!(matches!(Place::take_in(folder.path(), name), Err(PlaceError::Name(_))), "{name}");
        }
    }
}

//! A process that has no descriptor left, until it is let go.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Holds every descriptor that this process may have; dropped, it gives them back, and the limit that there was.
pub struct Starved {
    held: Vec<File>,
    before: Rlimit,
}

impl Starved {
    /// Lets this process have hardly more descriptors than it has, and takes those.
    ///
    /// # Errors
    /// When the kernel refuses the limit.
    pub fn begin() -> std::io::Result<Starved> {
        let before = getrlimit(Resource::Nofile);
        let highest = std::fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok())
            .max()
            .unwrap_or(0);
        setrlimit(Resource::Nofile, Rlimit { current: Some(highest + 7), maximum: before.maximum })?;
        let mut starved = Starved { held: Vec::new(), before };
        starved.take();
        Ok(starved)
    }

    /// Takes what has become free since; how many are held.
    pub fn take(&mut self) -> usize {
        self.held.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
        self.held.len()
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.held.clear();
        // It was the limit before, so it may be again; were it refused, whoever waits for descriptors would say so.
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}

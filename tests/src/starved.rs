//! A process that may open nothing more, until it is let go.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Keeps this process from opening descriptors; dropped, it gives back the limit that there was.
pub struct Starved {
    before: Rlimit,
}

impl Starved {
    /// Lets this process have no descriptor more than it has, not even in the place of one that it closes.
    ///
    /// # Errors
    /// When the kernel refuses the limit.
    pub fn begin() -> std::io::Result<Starved> {
        Starved::up_to(0)
    }

    /// Lets this process have so few descriptors more than it has, and those that it closes.
    ///
    /// # Errors
    /// When the kernel refuses the limit.
    pub fn with(few: u64) -> std::io::Result<Starved> {
        let numbers = std::fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
        // The last of them is the listing's own.
        Starved::up_to(numbers.max().unwrap_or(0) + few)
    }

    fn up_to(number: u64) -> std::io::Result<Starved> {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(number), maximum: before.maximum })?;
        Ok(Starved { before })
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        // It was the limit before, so it may be again; were it refused, whoever waits for descriptors would say so.
        let _ = setrlimit(Resource::Nofile, self.before);
    }
}

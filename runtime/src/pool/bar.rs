//! A progress bar: the only file of this crate that names indicatif.

use indicatif::{ProgressBar, ProgressStyle};

use super::stats::Progress;

pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(total: Option<u64>) -> Bar {
        let (bar, words) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{wide_bar} {human_pos}/{human_len} {per_sec}, {eta} left {msg}")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} {per_sec}, {elapsed} {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(words) {
            bar.set_style(style);
        }
        Bar(bar)
    }

    pub(super) fn show(&self, progress: &Progress) {
        self.0.set_position(progress.done);
        if progress.failed > 0 {
            self.0.set_message(format!("{} failed", progress.failed));
        }
        if progress.total == Some(progress.done) {
            self.0.finish();
        }
    }
}

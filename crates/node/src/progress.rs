//! Progress of long work, on a terminal and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;

fn is_shown(is_quiet: bool) -> bool {
    !is_quiet && std::io::stderr().is_terminal()
}

/// A count of something whose end is not known.
pub(crate) fn counter(what: &'static str, is_quiet: bool) -> ProgressBar {
    if !is_shown(is_quiet) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} {msg} ({elapsed})");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_message(what)
}

/// A bar towards a known end.
pub(crate) fn bar(what: &'static str, length: u64, is_quiet: bool) -> ProgressBar {
    if !is_shown(is_quiet) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} ({elapsed})");
    ProgressBar::new(length)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

//! `polity run`: one node.

use super::{Failure, code, stop_signal};
use crate::driver::DriverError;
use crate::federation::FederationError;
use crate::host::repair::RepairError;
use crate::node::{NodeError, Prepared, run};
use clap::{Args, ValueEnum};
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub(super) const EXAMPLES: &str = "Examples:
  polity run fed/thor
  polity run fed/thor --log-format json --log debug";

/// `polity run`
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The node's data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
    /// Which log lines: error, warn, info, debug, trace, or filters such as polity=debug
    #[arg(long, default_value = "info")]
    log: String,
    /// End when standard input is closed, so that no node outlives what started it
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Human,
    /// One JSON object in each line
    Json,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    start_log(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("polity-io")
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let until_stdin_closes = options.until_stdin_closes;
    let result = Prepared::open(&options.directory).and_then(|prepared| {
        runtime.block_on(run(prepared, async move {
            if until_stdin_closes {
                tokio::select! {
                    () = stop_signal() => {}
                    () = stdin_closed() => {}
                }
            } else {
                stop_signal().await;
            }
        }))
    });
    // A read of standard input that still waits must not hold the process.
    runtime.shutdown_background();
    result.map_err(|error| {
        tracing::error!("{error}");
        let is_logged = tracing::enabled!(tracing::Level::ERROR);
        let failure = Failure::new(exit_code(&error), error);
        if is_logged { failure.said() } else { failure }
    })
}

/// Waits until standard input is closed. Reading it blocks, so a thread does; it ends with the
/// process.
async fn stdin_closed() {
    let (closed, waiting) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _closed = closed;
        let mut buffer = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    // The other end says nothing, it is dropped.
    let _ = waiting.await;
}

fn exit_code(error: &NodeError) -> u8 {
    match error {
        NodeError::Config(_)
        | NodeError::Federation(FederationError::Config(_))
        | NodeError::Key(_)
        | NodeError::OtherKey { .. }
        | NodeError::OtherMembersKey { .. }
        | NodeError::RetiredKey(_) => code::USAGE,
        NodeError::Driver(DriverError::Halt(_))
        | NodeError::Repair(RepairError::Contradiction { .. } | RepairError::Halt(_))
        | NodeError::Contradiction => code::SAFETY,
        _ => code::FAILURE,
    }
}

/// Which log lines are wanted. A word alone has to be a level: as the name of a target it would silence
/// everything else.
fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_known = |part: &str| part.contains(['=', '[']) || is_level(part);
    let unknown = text.split(',').map(str::trim).find(|part| !is_known(part));
    match (unknown, EnvFilter::try_new(text)) {
        (None, Ok(filter)) => Ok(filter),
        _ => Err(format!(
            "`--log {text}`: {} is no level; levels are off, error, warn, info, debug and trace, and a filter names a module and a level, such as info,polity=debug",
            unknown.unwrap_or(text)
        )),
    }
}

fn start_log(options: &Options) -> Result<(), Failure> {
    let filter = log_filter(&options.log).map_err(Failure::usage)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber in one process changes nothing.
    let _ = match options.log_format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::log_filter;

    #[test]
    fn a_level_that_is_none_is_refused_with_those_that_are() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "warn,polity=debug",
            "polity[x]=trace",
        ] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "polity", "info,loud", "polity=verbose", ""] {
            let words = log_filter(bad).unwrap_err();
            assert!(words.contains("off, error, warn, info"), "{bad}: {words}");
        }
    }
}

//! The command line.

mod client;
mod committee;
mod federation;
mod keys;
mod proof;
mod rejoin;
mod run;
mod sim;

use crate::bench;
use crate::cluster::ClusterError;
use crate::demo;
use crate::federation::FederationError;
use crate::soak;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit codes of every command.
pub mod code {
    /// It failed, or a check did not hold.
    pub const FAILURE: u8 = 1;
    /// The command line or a configuration makes no sense.
    pub const USAGE: u8 = 2;
    /// A safety rule was broken.
    pub const SAFETY: u8 = 3;
    /// Nothing was decided any more.
    pub const LIVENESS: u8 = 4;
    /// No node answers.
    pub const UNREACHABLE: u8 = 5;
    /// The federation refused.
    pub const REFUSED: u8 = 6;
    /// Somebody interrupted it.
    pub const INTERRUPTED: u8 = 130;
}

const EXIT_CODES: &str = "Exit codes:
  0  done, every check held
  1  failed, or a check did not hold: a damaged journal, a proof of something else, a full disk
  2  the command line or a configuration makes no sense: what is named is missing, or in the way
  3  a safety rule was broken (sim, soak, and a node that has to stop)
  4  nothing was decided any more (sim, soak)
  5  no node answers
  6  the federation refused the transaction
  130  interrupted";

const EXAMPLES: &str = "Examples:
  polity demo
  polity init fed --platforms thor,sprout,legion,platform2 --account alice@thor=1000 --account bob@sprout=500
  polity run fed/thor
  polity transfer alice@thor bob@sprout 12.5 --dir fed
  polity account alice@thor --dir fed --json
  polity verify fed";

/// A federation node: agreement, ledger and proofs.
#[derive(Debug, Parser)]
#[command(name = "polity", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    /// Print JSON for programs instead of tables for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a federation of four processes on this machine, with a kill and a double spend
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Options),
    /// Make the files of a new federation
    #[command(after_help = federation::INIT_EXAMPLES)]
    Init(federation::Init),
    /// Run one node
    #[command(after_help = run::EXAMPLES)]
    Run(run::Options),
    /// Show an account, and its open locks
    #[command(after_help = client::ACCOUNT_EXAMPLES)]
    Account(client::Account),
    /// Move an amount at once
    #[command(after_help = client::TRANSFER_EXAMPLES)]
    Transfer(client::Transfer),
    /// Reserve an amount for a payee
    #[command(after_help = client::LOCK_EXAMPLES)]
    Lock(client::Lock),
    /// Pay a lock
    #[command(after_help = client::COMMIT_EXAMPLES)]
    Commit(client::Commit),
    /// Give a lock back to the payer
    #[command(after_help = client::ROLLBACK_EXAMPLES)]
    Rollback(client::Rollback),
    /// Show height, view, roots and links of nodes
    #[command(after_help = client::STATUS_EXAMPLES)]
    Status(client::StatusOptions),
    /// Show who votes, or change it as the authority
    #[command(after_help = committee::EXAMPLES)]
    Committee(committee::Options),
    /// Begin a node that joins a federation: its configuration, key and journal
    #[command(after_help = rejoin::JOIN_EXAMPLES)]
    Join(rejoin::Join),
    /// Give up a lost journal and its key, and come back with a new one
    #[command(after_help = rejoin::REJOIN_EXAMPLES)]
    Rejoin(rejoin::Rejoin),
    /// Make, show, rotate and revoke keys
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::Options),
    /// Follow the blocks as they are committed
    #[command(after_help = client::WATCH_EXAMPLES)]
    Watch(client::Watch),
    /// Check a data directory, a federation or an exported chain offline
    #[command(after_help = federation::VERIFY_EXAMPLES)]
    Verify(federation::Verify),
    /// Write the decided blocks of a data directory into one file
    #[command(after_help = federation::EXPORT_EXAMPLES)]
    Export(federation::Export),
    /// Fetch a proof into a file, or check one offline
    #[command(after_help = proof::EXAMPLES)]
    Proof(proof::Options),
    /// Run a simulated federation with faults and adversaries, repeatable from its seed
    #[command(after_help = sim::EXAMPLES)]
    Sim(sim::Options),
    /// Measure a federation of processes on this machine
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Options),
    /// Disturb a federation of processes on this machine for a while, and check what it promised
    #[command(after_help = soak::EXAMPLES)]
    Soak(soak::Options),
}

/// Which node to talk to, and where keys are.
#[derive(Clone, Debug, Args)]
struct Target {
    /// HTTP interface of a node
    #[arg(long, value_name = "HOST:PORT")]
    api: Option<String>,
    /// Directory of a federation: its nodes are found and its keys used
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Why a command ends badly.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    is_said: bool,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            is_said: false,
        }
    }

    pub(crate) fn failed(message: impl Display) -> Self {
        Self::new(code::FAILURE, message)
    }

    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(code::USAGE, message)
    }

    /// Says nothing more on standard error: it was said there already.
    fn said(self) -> Self {
        Self {
            is_said: true,
            ..self
        }
    }
}

impl From<FederationError> for Failure {
    fn from(error: FederationError) -> Self {
        if error.is_usage() {
            Self::usage(error)
        } else {
            Self::failed(error)
        }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Interrupted => Self::new(code::INTERRUPTED, error),
            ClusterError::Federation(error) => error.into(),
            error => Self::failed(error),
        }
    }
}

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) is_json: bool,
}

impl Output {
    /// Shows a result: as JSON, or as `text` says.
    pub(crate) fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.is_json {
            match serde_json::to_string(value) {
                Ok(json) => print(&json),
                Err(error) => eprintln!("polity: {error}"),
            }
        } else {
            print(&text(value));
        }
    }

    /// A line for people, while something takes long.
    pub(crate) fn note(self, text: &str) {
        if !self.is_json {
            print(text);
        }
    }
}

/// Prints a line. A closed pipe is the reader's business.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Runs the command line and says how the process ends.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { is_json: cli.json };
    let result = match cli.command {
        Command::Demo(options) => demo::main(&options, output),
        Command::Init(options) => federation::init(&options, output),
        Command::Run(options) => run::main(&options),
        Command::Account(options) => client::account(&options, output),
        Command::Transfer(options) => client::transfer(&options, output),
        Command::Lock(options) => client::lock(&options, output),
        Command::Commit(options) => client::commit(&options, output),
        Command::Rollback(options) => client::rollback(&options, output),
        Command::Status(options) => client::status(&options, output),
        Command::Committee(options) => committee::main(&options, output),
        Command::Join(options) => rejoin::join(&options, output),
        Command::Rejoin(options) => rejoin::rejoin(&options, output),
        Command::Keys(options) => keys::main(&options, output),
        Command::Watch(options) => client::watch(&options, output),
        Command::Verify(options) => federation::verify(&options, output),
        Command::Export(options) => federation::export(&options, output),
        Command::Proof(options) => proof::main(&options, output),
        Command::Sim(options) => sim::main(&options, output),
        Command::Bench(options) => bench::main(&options, output),
        Command::Soak(options) => soak::main(&options, output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure {
            code,
            message,
            is_said,
        }) => {
            if !message.is_empty() {
                if !is_said {
                    eprintln!("polity: {message}");
                }
                if output.is_json {
                    let error =
                        serde_json::json!({ "error": { "exit": code, "message": message } });
                    print(&error.to_string());
                }
            }
            ExitCode::from(code)
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without signals only closing the process ends it.
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
}

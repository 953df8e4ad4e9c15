//! Writes the seeds of every target and the honest journal anew: `cargo run -p polity-fuzzed --example
//! seeds`. Honest values change with formats, and then seeds have to follow.

use polity_fuzzed::{TARGETS, journal, seeds};
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::write(package.join("journal.bin"), journal::write())?;
    let folder = package.join("../../fuzz/seeds");
    for target in TARGETS {
        let folder = folder.join(target.name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut bytes = 0;
        let seeds = seeds(target.name);
        for (number, seed) in seeds.iter().enumerate() {
            bytes += seed.len();
            fs::write(folder.join(format!("{number:03}")), seed)?;
        }
        println!(
            "{:<10} {:>4} seeds, {bytes:>7} bytes",
            target.name,
            seeds.len()
        );
    }
    Ok(())
}

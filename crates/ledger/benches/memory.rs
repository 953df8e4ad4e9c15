//! Prints the bytes per account at a million accounts, by the capacities of the collections and
//! by what the process really holds.

mod common;

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn main() {
    const ACCOUNTS: u64 = 1_000_000;
    let mut ledger = common::ledger(ACCOUNTS);
    ledger.root();
    let before = resident();
    // The genesis is gone, but the allocator may keep its pages; a copy is all new.
    let copies: Vec<_> = (0..4).map(|_| ledger.clone()).collect();
    let after = resident();
    let per_account = |bytes: usize| bytes / ACCOUNTS as usize;
    println!(
        "accounts={ACCOUNTS}: {} bytes per account by capacity",
        per_account(ledger.memory_bytes().accounts)
    );
    if let (Some(before), Some(after)) = (before, after) {
        println!(
            "accounts={ACCOUNTS}: {} bytes per account of resident memory for a copy",
            per_account(after.saturating_sub(before) / copies.len())
        );
    }
}

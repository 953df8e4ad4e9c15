#![no_main]
polity_fuzz::shim!("ledger");

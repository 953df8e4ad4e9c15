#![no_main]
polity_fuzz::shim!("journal");

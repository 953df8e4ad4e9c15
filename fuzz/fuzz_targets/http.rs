#![no_main]
polity_fuzz::shim!("http");

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (cairn_fuzz::target("log").run)(bytes));

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (cairn_fuzz::target("peer").run)(bytes));

#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| watertight_fuzz::judge("control", input));

//! Scripted exchanges through the whole cache, judged by an oracle of its own.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cache_fuzz::play(bytes));

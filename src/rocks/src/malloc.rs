//! How jemalloc, which serves both the Rust and the C++ half of every program that links this crate, is tuned.
//!
//! It reads this text before `main`; the environment variable `MALLOC_CONF` overrides it.

/// Few arenas, because memory that threads freed in arenas of their own stays there; and freed pages go back to the
/// system after a second, by a thread of jemalloc's, so that a burst does not set the resident size for good.
const TEXT: &[u8] = b"narenas:4,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// A C string pointer by the name under which jemalloc looks for it.
#[expect(unsafe_code, reason = "an exported name can collide with another one; this one is jemalloc's own hook")]
// SAFETY: jemalloc declares `const char *malloc_conf` as a weak symbol for programs to define, and reads it as a C
// string. A reference to an array has the layout of that pointer, the array lives forever and ends with a zero byte.
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; TEXT.len()] = match TEXT.first_chunk() {
    Some(text) => text,
    None => panic!("an array has as many bytes as its length says"),
};

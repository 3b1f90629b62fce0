//! How jemalloc, which serves both the Rust and the C++ half of every program that links this crate, is tuned.
//!
//! It reads this text before `main`; the environment variable `MALLOC_CONF` overrides it.

use std::ffi::{c_char, c_int, c_void};

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

/// The page size that jemalloc was compiled for: on a system with larger pages it stops the program at its first use.
///
/// # Panics
/// Where the allocator does not answer, which means that the program was linked without jemalloc.
#[expect(unsafe_code, reason = "jemalloc is asked through its C function")]
#[must_use]
pub fn allocator_page_size_bytes() -> usize {
    // SAFETY: the declaration is that of jemalloc's manual.
    unsafe extern "C" {
        fn mallctl(
            name: *const c_char,
            old: *mut c_void,
            old_len: *mut usize,
            new: *mut c_void,
            new_len: usize,
        ) -> c_int;
    }
    let mut page_size_bytes = 0_usize;
    let mut len = size_of::<usize>();
    let old = (&raw mut page_size_bytes).cast();
    // SAFETY: `old` points to `len` writable bytes, and `arenas.page` is a `size_t`, which is a `usize`.
    let status = unsafe { mallctl(c"arenas.page".as_ptr(), old, &raw mut len, std::ptr::null_mut(), 0) };
    assert_eq!(status, 0, "jemalloc tells its page size");
    page_size_bytes
}

//! How jemalloc, which serves both the Rust and the C++ half of every program that links this crate, is tuned.
//!
//! It reads this text before `main`; the environment variable `MALLOC_CONF` overrides it.

use std::ffi::{CStr, c_char, c_int, c_void};

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
#[must_use]
pub fn allocator_page_size_bytes() -> usize {
    usize::from_ne_bytes(read(c"arenas.page"))
}

/// The bytes of a value of jemalloc's, by the name that its manual gives it.
///
/// Bytes, because each combination of them is one, whatever type the name has: what they mean is for the caller to say.
///
/// # Panics
/// Where no value of so many bytes has the name.
#[expect(unsafe_code, reason = "jemalloc is asked through its C function")]
fn read<const BYTES: usize>(name: &CStr) -> [u8; BYTES] {
    /// Room for any value: jemalloc writes it as one of its C type.
    #[repr(C, align(16))]
    struct Room<const BYTES: usize>([u8; BYTES]);

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
    let mut room = Room([0; BYTES]);
    let mut len = BYTES;
    let old = (&raw mut room.0).cast();
    // SAFETY: the name is a C string, `old` points to `len` writable bytes that are aligned for every C type, and jemalloc
    // writes no more than these. Without a new value it reads none.
    let status = unsafe { mallctl(name.as_ptr(), old, &raw mut len, std::ptr::null_mut(), 0) };
    assert_eq!((status, len), (0, BYTES), "jemalloc tells {}", name.to_string_lossy());
    room.0
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn jemalloc_is_tuned() {
        assert_eq!(u32::from_ne_bytes(read(c"opt.narenas")), 4);
        assert_eq!(read(c"opt.background_thread"), [u8::from(true)]);
        assert_eq!(isize::from_ne_bytes(read(c"opt.dirty_decay_ms")), 1_000);
        assert_eq!(isize::from_ne_bytes(read(c"opt.muzzy_decay_ms")), 0);
    }

    #[test]
    fn rust_s_allocations_are_jemalloc_s() {
        let allocated = || u64::from_ne_bytes(read(c"thread.allocated"));
        let before = allocated();
        // The compiler would leave out an allocation that nobody looks at.
        let held = black_box(vec![1_u8; 32 << 20]);
        let after = allocated();
        let held = u64::try_from(held.len()).expect("a length fits");
        assert!(after >= before + held, "{before}, then {after}");
    }
}

//! The count: blocks of code entered, and bytes copied.
//!
//! Code of crates is counted, generic code of the standard library with it. What the standard
//! library brings compiled is not, but for the copies it asks the C library for; of that the parsers
//! use the check of UTF-8 and the search for a byte in a `str` only.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static WORK: AtomicU64 = AtomicU64::new(0);

/// The work of an action.
pub fn work_of<T>(action: impl FnOnce() -> T) -> u64 {
    let before = WORK.load(Relaxed);
    std::hint::black_box(action());
    WORK.load(Relaxed) - before
}

/// Called on entry to every block of instrumented code.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_pc() {
    WORK.fetch_add(1, Relaxed);
}

/// # Safety
///
/// As in the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    WORK.fetch_add(length as u64, Relaxed);
    let backwards = (to as usize).wrapping_sub(from as usize) < length;
    let mut done = 0;
    while done < length {
        let at = if backwards { length - 1 - done } else { done };
        // Volatile, or the compiler makes a call of memmove out of the loop.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
        done += 1;
    }
    to
}

/// # Safety
///
/// As in the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    unsafe { memmove(to, from, length) }
}

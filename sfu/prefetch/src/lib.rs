//! Tells the processor which memory is read next, so that it is in the cache by then.
//!
//! A forwarder of many receivers reads each one's state once per picture, and by the next one it has left the cache:
//! each line of it then costs a hundred nanoseconds, one after the other. Asked for ahead of time they come side by
//! side.
//!
//! This is a package of its own because the standard library has no safe function for it yet (`hint_prefetch`) and the
//! engine forbids unsafe code.

/// Bytes that a cache fetches at once.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Has all of `value` fetched into the second level cache, without waiting for it. What it points to is not fetched.
/// Does nothing on other processors than x86-64.
#[inline]
pub fn fetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let begin = std::ptr::from_ref(value).cast::<i8>();
        for at in (0..size_of_val(value)).step_by(LINE) {
            // SAFETY: the instruction is a hint: it reads nothing into the program and cannot fault, wherever the
            // address points.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(begin.wrapping_add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

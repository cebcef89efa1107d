//! A hint to the processor that some memory is needed soon.
#![allow(unsafe_code)]

/// Asks the memory for what lies there, and does not wait for it. Nothing where the processor has
/// no such hint.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the hint reads nothing that the program sees, and faults nowhere.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

//! What the program's allocator is told.

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of `mimalloc.h`, which the bindings do not name: milliseconds until pages without use go back to the system.
const PURGE_DELAY: mi_option_t = 15;

/// Keep pages for good: the next pass wants tensors of the same sizes, and a page that comes from the system anew is cleared by it first,
/// which took a fifth of a gradient's time. Says nothing to another allocator than mimalloc.
#[expect(unsafe_code, reason = "a setting of the allocator, which is written in C")]
pub fn keep_pages() {
    // SAFETY: the option is one of mimalloc's, and setting it touches nothing but a number.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "a setting of the allocator, which is written in C")]
    fn the_option_that_is_set_is_the_one_whose_default_is_a_second() {
        // SAFETY: reading a number.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1_000);
        keep_pages();
        assert_eq!(delay(), -1);
    }
}

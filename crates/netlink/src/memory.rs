//! Memory that the allocator holds for later, given back to the kernel.

/// Returns free memory to the kernel. After a first read of a large cluster much of what was needed once stays unused.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes no pointer and is safe beside other threads (malloc_trim(3)).
        unsafe { libc::malloc_trim(0) };
    }
}

//! The binary's wiping allocator, and the system's own, in one process: so that both can be
//! measured in turn. The one module of the benchmarks with unsafe code.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use zeroizing_alloc::ZeroAlloc;

static WIPING: ZeroAlloc<System> = ZeroAlloc(System);

/// Wipes what is freed, or doesn't.
pub(crate) struct Switched {
    wipes: AtomicBool,
}

impl Switched {
    /// One that wipes.
    pub(crate) const fn new() -> Self {
        Self { wipes: AtomicBool::new(true) }
    }

    pub(crate) fn set(&self, freeing: Freeing) {
        self.wipes.store(freeing == Freeing::Wipes, Ordering::Relaxed);
    }

    fn wipes(&self) -> bool {
        self.wipes.load(Ordering::Relaxed)
    }
}

/// What happens to freed memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freeing {
    /// As in the vaultfs binary.
    Wipes,
    /// As in any other.
    LeavesAsIs,
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, directly or
// through `ZeroAlloc`, which uses the same one; so either may free what the other gave.
unsafe impl GlobalAlloc for Switched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            if self.wipes() { WIPING.dealloc(ptr, layout) } else { System.dealloc(ptr, layout) }
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            if self.wipes() {
                WIPING.realloc(ptr, layout, new_size)
            } else {
                System.realloc(ptr, layout, new_size)
            }
        }
    }
}

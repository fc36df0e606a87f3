//! Memory for values: locked against swap, left out of core dumps and of forked children, wiped
//! when released. The one module of this crate with unsafe code; it knows nothing of secrets.
//!
//! One arena serves all values, because memory is locked by the page: a page each would lock
//! 40 MiB for 10,000 small values, and the usual limit (`RLIMIT_MEMLOCK`) is 8 MiB.
//!
//! What this does not protect from: whoever may read the process's memory while it runs (root,
//! `CAP_SYS_PTRACE`), suspend to disk, and registers and stack frames that held a byte.

#![expect(unsafe_code, reason = "mapped memory is handed out as slices")]

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{self, MapFlags, ProtFlags};
use zeroize::Zeroize;

/// The size of a chunk, in bytes: a small locked-memory limit (64 KiB) still locks one.
const CHUNK_BYTES: usize = 64 * 1024;

/// Larger allocations get a mapping of their own.
const LARGEST_SHARED_BYTES: usize = CHUNK_BYTES / 4;

/// Every allocation begins and ends at a multiple of this many bytes.
const GRANULE_BYTES: usize = 16;

static ARENA: Mutex<Arena> = Mutex::new(Arena { chunks: BTreeMap::new(), unlocked_bytes: 0 });

/// How many bytes of value memory the system refused to lock, which may therefore reach swap.
/// Zero is what an operator wants; otherwise `RLIMIT_MEMLOCK` is too small.
pub fn unlocked_bytes() -> usize {
    arena().unlocked_bytes
}

fn arena() -> MutexGuard<'static, Arena> {
    // The arena's state is changed only by code that doesn't panic half way.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No more memory for values: the system refused a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a value of {bytes} bytes")]
pub struct OutOfMemory {
    /// The size that was asked for.
    pub bytes: usize,
}

/// A run of zeroed bytes in the arena. Wiped and given back on drop.
pub(crate) struct LockedBytes {
    start: NonNull<u8>,
    len: usize,
    reserved: usize,
}

// SAFETY: the bytes are owned by this value alone, and no thread-local state is involved.
unsafe impl Send for LockedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// `len` zero bytes.
    pub(crate) fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let reserved =
            len.max(1).checked_next_multiple_of(GRANULE_BYTES).ok_or(OutOfMemory { bytes: len })?;
        let start = arena().allocate(reserved).ok_or(OutOfMemory { bytes: len })?;
        Ok(Self { start, len, reserved })
    }

    /// Forgets all but the first `len` bytes, wiping the rest. Does nothing where there are fewer.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self[len..].zeroize();
            self.len = len;
        }
    }
}

impl Deref for LockedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points at `reserved >= len` initialised bytes that only `self` refers to.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for LockedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Zeroize for LockedBytes {
    fn zeroize(&mut self) {
        (**self).zeroize();
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.zeroize();
        arena().release(self.start, self.reserved);
    }
}

/// All chunks, by the address of their first byte.
struct Arena {
    chunks: BTreeMap<usize, Chunk>,
    unlocked_bytes: usize,
}

struct Chunk {
    size: usize,
    locked: bool,
    /// Free runs: offset → length. No two of them touch.
    free: BTreeMap<usize, usize>,
}

impl Arena {
    fn allocate(&mut self, reserved: usize) -> Option<NonNull<u8>> {
        if reserved <= LARGEST_SHARED_BYTES {
            for (&base, chunk) in &mut self.chunks {
                if let Some(offset) = chunk.take(reserved) {
                    return NonNull::new(ptr::with_exposed_provenance_mut(base + offset));
                }
            }
        }
        let size = reserved.max(if reserved <= LARGEST_SHARED_BYTES { CHUNK_BYTES } else { 0 });
        let (start, chunk) = Chunk::map(size)?;
        if !chunk.locked {
            self.unlocked_bytes += chunk.size;
        }
        let base = start.as_ptr().expose_provenance();
        let chunk = self.chunks.entry(base).or_insert(chunk);
        chunk.take(reserved)?;
        Some(start)
    }

    fn release(&mut self, start: NonNull<u8>, reserved: usize) {
        let address = start.as_ptr().expose_provenance();
        let Some((&base, chunk)) = self.chunks.range_mut(..=address).next_back() else { return };
        chunk.give_back(address - base, reserved);
        let unused = chunk.free.get(&0) == Some(&chunk.size);
        // Chunks are kept for the next value; mappings of one large value are not.
        if unused && chunk.size > CHUNK_BYTES {
            if !chunk.locked {
                self.unlocked_bytes -= chunk.size;
            }
            let size = chunk.size;
            self.chunks.remove(&base);
            // The run that was given back last need not be the one at the mapping's start.
            let mapping = ptr::with_exposed_provenance_mut(base);
            // SAFETY: the mapping was made by `Chunk::map` with this size, nothing in it is in
            // use any more, and the arena has just forgotten it.
            let unmapped = unsafe { mm::munmap(mapping, size) };
            debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
        }
    }
}

impl Chunk {
    /// Maps at least `size` zero bytes, locked where the system allows.
    fn map(size: usize) -> Option<(NonNull<u8>, Self)> {
        let size = size.checked_next_multiple_of(rustix::param::page_size())?;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory
        // that is in use.
        let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), size, prot, flags) }.ok()?;
        // SAFETY: the range is the mapping just made.
        let locked = unsafe { mm::mlock(start, size) }.is_ok();
        #[cfg(target_os = "linux")]
        for advice in [mm::Advice::LinuxDontDump, mm::Advice::LinuxDontFork] {
            // SAFETY: the range is the mapping just made. Children get no mapping there, and
            // none of ours uses a value between fork and exec.
            let advised = unsafe { mm::madvise(start, size, advice) };
            debug_assert!(advised.is_ok(), "advice on a mapping of ours is taken");
        }
        let start = NonNull::new(start.cast())?;
        Some((start, Self { size, locked, free: BTreeMap::from([(0, size)]) }))
    }

    /// Takes the first free run of at least `len` bytes.
    fn take(&mut self, len: usize) -> Option<usize> {
        let (offset, run) =
            self.free.iter().find(|&(_, &run)| run >= len).map(|(&o, &r)| (o, r))?;
        self.free.remove(&offset);
        if run > len {
            self.free.insert(offset + len, run - len);
        }
        Some(offset)
    }

    fn give_back(&mut self, mut offset: usize, mut len: usize) {
        if let Some(following) = self.free.remove(&(offset + len)) {
            len += following;
        }
        if let Some((&before, &run)) = self.free.range(..offset).next_back()
            && before + run == offset
        {
            (offset, len) = (before, run + len);
        }
        self.free.insert(offset, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn released_bytes_are_wiped_before_the_next_owner_gets_them() {
        let mut chunk = Chunk::map(CHUNK_BYTES).unwrap().1;
        let first = chunk.take(32).unwrap();
        chunk.give_back(first, 32);
        assert_eq!(chunk.take(32), Some(first));
        let mut bytes = LockedBytes::zeroed(100).unwrap();
        bytes.fill(0xAA);
        drop(bytes);
        for _ in 0..100 {
            assert!(LockedBytes::zeroed(100).unwrap().iter().all(|&b| b == 0));
        }
    }

    #[test]
    fn the_arena_is_left_out_of_core_dumps_and_locked() {
        let bytes = LockedBytes::zeroed(64).unwrap();
        let address = bytes.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut flags = String::new();
        for line in smaps.lines() {
            if let Some((start, rest)) = line.split_once('-')
                && let Ok(start) = usize::from_str_radix(start, 16)
            {
                let end = rest.split(' ').next().unwrap();
                inside = (start..usize::from_str_radix(end, 16).unwrap()).contains(&address);
            } else if inside && line.starts_with("VmFlags:") {
                flags = format!("{line} ");
            }
        }
        for flag in [" dd ", " dc "] {
            assert!(flags.contains(flag), "{flag} missing in {flags}");
        }
        assert!(flags.contains(" lo ") || unlocked_bytes() > 0, "{flags}");
    }

    #[test]
    fn a_large_value_gets_and_returns_its_own_mapping() {
        let before = arena().chunks.len();
        let large = LockedBytes::zeroed(1 << 20).unwrap();
        let base = large.as_ptr() as usize;
        assert!(arena().chunks.contains_key(&base));
        drop(large);
        assert!(!arena().chunks.contains_key(&base));
        assert!(arena().chunks.len() <= before + 4, "other tests may add shared chunks");
    }

    #[test]
    fn a_large_mapping_outlives_the_value_that_it_was_made_for() {
        let mut arena = Arena { chunks: BTreeMap::new(), unlocked_bytes: 0 };
        let large = arena.allocate(CHUNK_BYTES + GRANULE_BYTES).unwrap();
        let base = large.as_ptr().expose_provenance();
        let small = arena.allocate(GRANULE_BYTES).unwrap();
        assert!(arena.chunks.contains_key(&base) && arena.chunks.len() == 1);
        arena.release(large, CHUNK_BYTES + GRANULE_BYTES);
        assert!(arena.chunks.contains_key(&base));
        arena.release(small, GRANULE_BYTES);
        assert!(arena.chunks.is_empty());
    }

    proptest! {
        #[test]
        fn allocations_never_overlap(sizes in prop::collection::vec(0_usize..40_000, 1..40)) {
            let mut held: Vec<(u8, LockedBytes)> = Vec::new();
            for (i, &size) in sizes.iter().enumerate() {
                let mark = u8::try_from(i % 250).unwrap() + 1;
                let mut bytes = LockedBytes::zeroed(size).unwrap();
                bytes.fill(mark);
                held.push((mark, bytes));
                if i % 3 == 2 {
                    held.swap_remove(i / 3);
                }
            }
            for (mark, bytes) in &held {
                prop_assert!(bytes.iter().all(|b| b == mark));
            }
        }
    }
}

//! Tables in memory that is mapped in huge pages where the system has them: they are read at random places, and
//! with small pages nearly each reading first waits for the page's own address.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// By how much a number of 64 bits is shifted to be a place in a table of a size, which is a power of two.
pub const fn upper(size: usize) -> u32 {
    64 - size.trailing_zeros()
}

/// A number of values, zero at first.
pub enum Table<T> {
    /// From the first border of huge pages on.
    Mapped { memory: MmapMut, from: usize, bytes: usize },
    /// Where nothing can be mapped.
    Allocated(Vec<T>),
}

impl<T: Pod> Table<T> {
    /// So many values, all of them zero.
    pub fn zeroed(count: usize) -> Self {
        let bytes = count * size_of::<T>();
        let Ok(memory) = MmapMut::map_anon(bytes + HUGE) else {
            return Self::Allocated(vec![T::zeroed(); count]);
        };
        // a system without huge pages goes on with small ones
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        let from = (memory.as_ptr() as usize).next_multiple_of(HUGE) - memory.as_ptr() as usize;
        Self::Mapped { memory, from, bytes }
    }
}

impl<T: Pod> Clone for Table<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Pod> Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Mapped { memory, from, bytes } => bytemuck::cast_slice(&memory[*from..*from + *bytes]),
            Self::Allocated(values) => values,
        }
    }
}

impl<T: Pod> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Mapped { memory, from, bytes } => {
                bytemuck::cast_slice_mut(&mut memory[*from..*from + *bytes])
            }
            Self::Allocated(values) => values,
        }
    }
}

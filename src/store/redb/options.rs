//! The settings of the embedded store.

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How much memory the caches of pages and of decoded sessions take together, at most.
    pub cache_bytes: usize,
    /// How many writes may wait. Revocations have reserved places beyond that.
    pub write_queue_max: usize,
}

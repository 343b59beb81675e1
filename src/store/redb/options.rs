//! The settings of the embedded store.

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of the page cache. The cache of decoded sessions takes up to 1/32 more.
    pub cache_bytes: usize,
    /// How many writes may wait. Revocations have reserved places beyond that.
    pub write_queue_max: usize,
}

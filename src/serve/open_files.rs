//! How many files this process may have open: each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What is open besides connections: the store, the log, the sockets, the runtime's own.
const OTHERS: u64 = 64;

/// Takes as many as the system gives. `Some` with a sentence for the log when that is too few for
/// `connections_max`.
pub fn allow(connections_max: usize) -> Option<String> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // One that cannot be raised stays as it was, and is judged as it is.
    let _ = setrlimit(Resource::Nofile, limit);
    too_few(connections_max, getrlimit(Resource::Nofile).current)
}

fn too_few(connections_max: usize, allowed: Option<u64>) -> Option<String> {
    let needed = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let allowed = allowed.filter(|allowed| *allowed < needed)?;
    Some(format!(
        "the system allows {allowed} open files, too few for limits.connections_max = {connections_max}: further connections will wait; \
         raise the hard limit (LimitNOFILE= in a systemd unit, `ulimit -Hn`) to {needed}, or lower the setting"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_for_the_connections_are_warned_of() {
        assert_eq!(too_few(10_000, None), None, "no limit");
        assert_eq!(too_few(10_000, Some(10_064)), None);
        let warning = too_few(10_000, Some(1024)).unwrap();
        assert!(
            warning.contains("1024")
                && warning.contains("connections_max = 10000")
                && warning.contains("10064"),
            "{warning}"
        );
    }
}

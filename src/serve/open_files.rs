//! The limit of open files (RLIMIT_NOFILE): each connection needs one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Open files besides connections: store, log, listeners, runtime.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit to the hard limit. Returns a warning if that is too low for `connections_max`.
pub fn raise_limit(connections_max: usize) -> Option<String> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If raising fails the old limit stays, and is compared below.
    let _ = setrlimit(Resource::Nofile, limit);
    too_few(connections_max, getrlimit(Resource::Nofile).current)
}

fn too_few(connections_max: usize, allowed: Option<u64>) -> Option<String> {
    let needed = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let allowed = allowed.filter(|allowed| *allowed < needed)?;
    Some(format!(
        "the system allows {allowed} open files, too few for limits.connections_max = {connections_max}: \
         further connections will wait; raise the hard limit (LimitNOFILE= in a systemd unit, `ulimit -Hn`) \
         to {needed}, or lower the setting"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_too_low_for_the_connections_is_warned_about() {
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

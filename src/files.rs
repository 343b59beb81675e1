//! Rules for files that hold in every room that touches the disk.

use std::path::Path;

/// The directory that contains `path`; `.` for a bare file name.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        for (path, directory) in
            [("keyfob.redb", "."), ("data/keyfob.redb", "data"), ("/keyfob.redb", "/"), ("/", ".")]
        {
            assert_eq!(directory_of(Path::new(path)), Path::new(directory), "{path}");
        }
    }
}

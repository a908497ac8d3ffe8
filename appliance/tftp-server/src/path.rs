//! Requested names: what clients write for a path, brought into one form.
//!
//! This is spelling only. Which files may be read is the business of the [`crate::Source`].

use thiserror::Error;

/// Why a requested name is refused outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// It names nothing.
    #[error("empty file name")]
    Empty,
    /// It holds a NUL.
    #[error("file name with a NUL")]
    Nul,
    /// One of its segments is `..`.
    #[error("file name that climbs out with `..`")]
    ParentSegment,
}

/// Brings a requested name into the form `dir/file`: no leading slash, no empty or `.` segment.
///
/// Backslashes become slashes, since shim and Windows loaders send them; a PXELINUX `::` prefix (and an address before it,
/// as in `192.0.2.1::file`) is dropped. Case is kept.
///
/// # Errors
/// [`PathError`] for a name that is empty, holds a NUL or has a `..` segment.
///
/// ```
/// # use tftp_server::path::{normalize, PathError};
/// assert_eq!(normalize("\\EFI\\BOOT//grubx64.efi").as_deref(), Ok("EFI/BOOT/grubx64.efi"));
/// assert_eq!(normalize("::/pxelinux.cfg/default").as_deref(), Ok("pxelinux.cfg/default"));
/// assert_eq!(normalize("a/../../etc/passwd"), Err(PathError::ParentSegment));
/// ```
pub fn normalize(requested: &str) -> Result<String, PathError> {
    if requested.contains('\0') {
        return Err(PathError::Nul);
    }
    let mut path = String::with_capacity(requested.len());
    for segment in without_server(requested).split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => return Err(PathError::ParentSegment),
            name => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(name);
            }
        }
    }
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    Ok(path)
}

/// Drops PXELINUX's `server::` prefix, where the server may be left out.
fn without_server(requested: &str) -> &str {
    match requested.split_once("::") {
        // An IPv6 address or a `::` deep in a path is no server prefix.
        Some((server, rest)) if server.chars().all(|c| c.is_ascii_digit() || c == '.') => rest,
        _ => requested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_path_agree() {
        for spelling in [
            "boot/grub/grub.cfg",
            "/boot/grub/grub.cfg",
            "//boot//grub/./grub.cfg",
            "\\boot\\grub\\grub.cfg",
            "boot\\/grub/grub.cfg/",
            "::boot/grub/grub.cfg",
            "10.0.0.1::/boot/grub/grub.cfg",
        ] {
            assert_eq!(normalize(spelling).as_deref(), Ok("boot/grub/grub.cfg"), "{spelling}");
        }
    }

    #[test]
    fn names_that_only_look_like_climbing_stay() {
        for name in ["...", "a..b", "..a", "%2e%2e/x", "a::b", "x/::y"] {
            assert_eq!(normalize(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn climbing_nul_and_nothing_are_refused() {
        for name in ["..", "/..", "a/..", "..\\a", "a\\..\\b", "::..", "a/../b", "..::x/.."] {
            assert_eq!(normalize(name), Err(PathError::ParentSegment), "{name}");
        }
        assert_eq!(normalize("a\0b"), Err(PathError::Nul));
        for name in ["", "/", "\\", "::", ".", "./"] {
            assert_eq!(normalize(name), Err(PathError::Empty), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_normal_path_is_relative_has_no_empty_or_dot_segment(name in "[a./\\\\:1%\u{e9}\\x00]{0,24}") {
            if let Ok(path) = normalize(&name) {
                prop_assert!(!path.contains('\\') && !path.contains('\0'));
                for segment in path.split('/') {
                    prop_assert!(!["", ".", ".."].contains(&segment));
                }
            }
        }
    }
}

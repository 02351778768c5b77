//! A directory of files: a file is an entry, whose key is its path with `/`.
//!
//! Files are read in the order of their keys, not in that of the disk: a resumed import then continues behind a key, whatever
//! files came or went meanwhile. Links to files are followed. Those to directories are not, because they could lead back. A name
//! that is not UTF-8 and a file that is longer than a value may be are counted as refused, and the others are imported.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _},
    path::Path,
};

use kv_core::limits::MAX_VALUE_BYTES;
use waypost_client::{Attributes, Pair};

use super::{
    super::error::KvError,
    batch::{Feed, Position, Stop},
};

/// Reads the files below a directory in the order of their keys, behind the key `after`.
pub(super) fn read(
    root: &Path,
    prefix: &str,
    after: Option<&str>,
    feed: &mut Feed,
) -> Result<(), Stop> {
    walk(&Walk { prefix, after }, root, "", feed)
}

/// Which files are read.
struct Walk<'a> {
    /// The beginning of their keys.
    prefix: &'a str,
    /// The last one that was imported before.
    after: Option<&'a str>,
}

/// Why a path was not read.
fn unreadable(path: &Path, error: &io::Error) -> KvError {
    KvError::Source(format!("can't read {}: {error}", path.display()))
}

/// Reads the files of one directory, whose keys begin with `above`.
fn walk(walk_: &Walk<'_>, directory: &Path, above: &str, feed: &mut Feed) -> Result<(), Stop> {
    let failed = |error| unreadable(directory, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A link to a file is a file. One to a directory could lead back here.
        let kind = entry.file_type().map_err(failed)?;
        let is_file = kind.is_file() || kind.is_symlink() && entry.path().is_file();
        if kind.is_dir() || is_file {
            names.push((entry.file_name(), kind.is_dir()));
        }
    }
    // With the `/` that follows a directory, this is the order of the keys.
    let order = |(name, is_directory): &(OsString, bool)| {
        [name.as_encoded_bytes(), if *is_directory { b"/" } else { b"" }].concat()
    };
    names.sort_by_cached_key(order);
    for (name, is_directory) in names {
        let path = directory.join(&name);
        let Some(name) = name.to_str() else {
            feed.left().refuse(|| format!("{}: its name is not UTF-8", path.display()));
            continue;
        };
        let key = format!("{above}{name}");
        if is_directory {
            walk(walk_, &path, &format!("{key}/"), feed)?;
        } else if key.starts_with(walk_.prefix) && walk_.after.is_none_or(|after| *key > *after) {
            file(&path, key, feed)?;
        }
    }
    Ok(())
}

/// Reads a file as an entry without metadata and expiry. It is read as a whole, one byte further than a value may be.
///
/// # Errors
/// If it can't be read. The import ends, and can be resumed at this file.
fn file(path: &Path, key: String, feed: &mut Feed) -> Result<(), Stop> {
    let mut value = Vec::new();
    let read =
        fs::File::open(path).and_then(|it| it.take(MAX_VALUE_BYTES + 1).read_to_end(&mut value));
    read.map_err(|error| unreadable(path, &error))?;
    let next = Some(Position::Path(key.clone()));
    if value.len() as u64 > MAX_VALUE_BYTES {
        let path = path.display();
        feed.left().refuse(|| format!("{path} is longer than {MAX_VALUE_BYTES} bytes"));
        feed.pass(next);
        return Ok(());
    }
    Ok(feed.push(Pair { key, value: value.into(), attributes: Attributes::default() }, next)?)
}

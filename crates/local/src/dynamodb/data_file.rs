//! The file with the users. This module checks that it is a database, locks it against other
//! services, and hides it from other users of the machine.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The first bytes of every non-empty database
/// (<https://www.sqlite.org/fileformat.html#magic_header_string>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The suffixes of the files that SQLite keeps beside a database
/// (<https://www.sqlite.org/tempfiles.html>). It deletes those that it does not need.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A data file that no other service can use while this exists.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// The path without symbolic links, in UTF-8.
    pub(crate) path: String,
    _lock: File,
}

impl DataFile {
    /// Opens the data file `path`, or creates it with any missing directories. Only the owner can
    /// read what this creates. An existing data file becomes readable only by its owner.
    ///
    /// # Errors
    /// [`Error::DataInUse`] if another service uses the file, under any path. [`Error::Data`] if it
    /// is not a data file; it is left unchanged.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |problem: String| Error::Data {
            path: path.to_owned(),
            problem,
        };
        let exists = check(path).map_err(failed)?;
        let failed = |error: io::Error| Error::Data {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let canonical = if exists {
            fs::canonicalize(path).map_err(failed)?
        } else {
            create(path).map_err(failed)?
        };
        let lock = lock(&canonical).map_err(|error| match error {
            TryLockError::WouldBlock => Error::DataInUse {
                path: path.to_owned(),
            },
            TryLockError::Error(error) => failed(error),
        })?;
        restrict(&canonical).map_err(failed)?;
        let path = canonical
            .into_os_string()
            .into_string()
            .map_err(|name| Error::Data {
                path: name.into(),
                problem: "its name is not UTF-8".to_owned(),
            })?;
        Ok(Self { path, _lock: lock })
    }
}

/// Returns whether there is a database at `path`.
///
/// # Errors
/// What is wrong if there is something else.
fn check(path: &Path) -> Result<bool, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err("it is a symbolic link to a file that does not exist".to_owned());
            }
            let companions = COMPANIONS.map(|suffix| with_suffix(path, suffix));
            return match companions
                .iter()
                .find(|path| fs::symlink_metadata(path).is_ok())
            {
                // SQLite would mistake it for part of the new database, and delete it.
                Some(other) => Err(format!("{} is in the way", other.display())),
                None => Ok(false),
            };
        }
        Err(error) => return Err(error.to_string()),
    };
    // Checks this before opening, because opening a FIFO waits for a writer.
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    // Only the path ties SQLite's files to their database
    // (https://www.sqlite.org/howtocorrupt.html#multiple_links_to_a_file).
    if metadata.nlink() > 1 {
        return Err("it has other names (hard links), under which others could use it".to_owned());
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|error| error.to_string())?;
    // An empty file is an empty database: SQLite writes nothing before the first change.
    if !start.is_empty() && start != MAGIC {
        return Err("it is not a database".to_owned());
    }
    Ok(true)
}

/// Creates an empty file and its directory. Returns the path without symbolic links.
fn create(path: &Path) -> io::Result<PathBuf> {
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    fs::canonicalize(path)
}

/// Locks the data file by means of an empty file beside it. Does not lock the data file itself,
/// because SQLite uses `fcntl`, which conflicts with Rust's `flock` on some systems, and whose
/// locks end when the process closes any handle of the file.
fn lock(path: &Path) -> Result<File, TryLockError> {
    let path = with_suffix(path, "-lock");
    let in_the_way = || io::Error::other(format!("{} is in the way", path.display()));
    match fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.is_file() || metadata.len() > 0 => {
            return Err(TryLockError::Error(in_the_way()));
        }
        _ => {}
    }
    // Does not truncate or change the file.
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

/// Removes everyone else's permissions on the files of the database.
fn restrict(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    for companion in COMPANIONS.map(|suffix| with_suffix(path, suffix)) {
        if fs::symlink_metadata(&companion).is_ok_and(|metadata| metadata.is_file()) {
            fs::set_permissions(companion, Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("there is a directory for temporary files")
    }

    fn problem(path: &Path) -> String {
        DataFile::open(path)
            .expect_err("the file cannot be used")
            .to_string()
    }

    fn mode(path: &Path) -> u32 {
        path.metadata()
            .expect("there is such a file")
            .permissions()
            .mode()
            & 0o777
    }

    /// Writes a file that begins like a database.
    fn database(path: &Path) {
        fs::write(path, [MAGIC.as_slice(), b"rest"].concat()).expect("the directory is writable");
    }

    #[test]
    fn only_the_owner_can_read_new_files_and_directories() {
        let directory = directory();
        let path = directory.path().join("new/data/users.db");
        let file = DataFile::open(&path).expect("the file can be made");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            mode(&directory.path().join("new/data/users.db-lock")),
            0o600
        );
        assert_eq!(mode(&directory.path().join("new/data")), 0o700);
        assert_eq!(mode(&directory.path().join("new")), 0o700);
        drop(file);
    }

    #[test]
    fn only_the_owner_can_read_a_database_that_others_could_read_before() {
        let directory = directory();
        let path = directory.path().join("users.db");
        let companion = directory.path().join("users.db-wal");
        database(&path);
        fs::write(&companion, "").expect("the directory is writable");
        for file in [&path, &companion] {
            fs::set_permissions(file, Permissions::from_mode(0o644)).expect("the file is ours");
        }
        let _file = DataFile::open(&path).expect("the file can be opened");
        assert_eq!((mode(&path), mode(&companion)), (0o600, 0o600));
    }

    #[test]
    fn one_service_at_a_time_uses_a_file_under_any_path() {
        let directory = directory();
        let path = directory.path().join("users.db");
        database(&path);
        let link = directory.path().join("link.db");
        symlink(&path, &link).expect("links can be made");
        let nested = directory.path().join("nested");
        symlink(directory.path(), &nested).expect("links can be made");
        let file = DataFile::open(&path).expect("the file can be opened");
        for other in [
            &path,
            &link,
            &nested.join("users.db"),
            &nested.join("link.db"),
        ] {
            let error = DataFile::open(other).expect_err("the file is in use");
            assert!(matches!(error, Error::DataInUse { .. }), "{error}");
        }
        drop(file);
        DataFile::open(&link).expect("the file is free again");
        fs::hard_link(&path, directory.path().join("hard.db")).expect("links can be made");
        assert!(problem(&path).contains("hard links"));
    }

    #[test]
    fn a_file_that_is_not_a_database_is_left_unchanged() {
        let directory = directory();
        let path = directory.path().join("notes.txt");
        for content in ["short", "something that is longer than sixteen bytes"] {
            fs::write(&path, content).expect("the directory is writable");
            assert!(problem(&path).contains("it is not a database"));
            assert_eq!(
                fs::read_to_string(&path).expect("it is still there"),
                content
            );
        }
        assert!(problem(directory.path()).contains("it is a directory"));
        let fifo = directory.path().join("fifo");
        let made = Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        assert!(problem(&fifo).contains("it is not a regular file"));
        assert!(problem(Path::new("/dev/null")).contains("it is not a regular file"));
        let dangling = directory.path().join("dangling");
        symlink(directory.path().join("missing"), &dangling).expect("links can be made");
        assert!(problem(&dangling).contains("a symbolic link to a file that does not exist"));
        assert!(!directory.path().join("missing").exists());
    }

    #[test]
    fn files_beside_it_that_belong_to_others_are_left_unchanged() {
        for suffix in ["-lock", "-wal", "-journal"] {
            let directory = directory();
            let path = directory.path().join("Cargo");
            let other = with_suffix(&path, suffix);
            fs::write(&other, "precious").expect("the directory is writable");
            assert!(problem(&path).contains("is in the way"), "{suffix}");
            assert_eq!(
                fs::read_to_string(&other).expect("it is still there"),
                "precious"
            );
        }
    }
}

//! The file with the users. This module checks that it is ours, locks it against other services,
//! and hides it from other users of the machine.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::Error;

/// Marks the files of this program, in the field that SQLite has for that
/// (<https://www.sqlite.org/pragma.html#pragma_application_id>): "User" in ASCII.
const APPLICATION_ID: i32 = 0x5573_6572;
/// The version of their format. It changes when older versions of this program could not use a file.
const FORMAT: i32 = 1;
/// The size of the smallest page, in bytes (<https://www.sqlite.org/fileformat.html#pages>). SQLite
/// takes a file with less than that for an empty one, and overwrites it.
const MIN_PAGE: u64 = 512;
/// How long to wait for another program's lock on the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
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
    /// is not a data file, which is left unchanged, or another program has locked it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |problem: String| Error::Data {
            path: path.to_owned(),
            problem,
        };
        let failed_io = |error: io::Error| failed(error.to_string());
        let canonical = if exists(path).map_err(failed)? {
            fs::canonicalize(path).map_err(failed_io)?
        } else {
            create(path).map_err(failed_io)?
        };
        let Some(name) = canonical.to_str() else {
            return Err(failed("its name is not UTF-8".to_owned()));
        };
        check_owner(name).map_err(failed)?;
        let lock = lock(&canonical).map_err(|error| match error {
            TryLockError::WouldBlock => Error::DataInUse {
                path: path.to_owned(),
            },
            TryLockError::Error(error) => failed_io(error),
        })?;
        restrict(&canonical).map_err(failed_io)?;
        mark(name).map_err(|error| failed(problem(&error)))?;
        let path = name.to_owned();
        Ok(Self { path, _lock: lock })
    }
}

/// Returns whether there is a file at `path`.
///
/// # Errors
/// What is wrong if there is something else, or the file cannot be opened safely.
fn exists(path: &Path) -> Result<bool, String> {
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
    if (1..MIN_PAGE).contains(&metadata.len()) {
        return Err("it is not a database".to_owned());
    }
    // Only the path ties SQLite's files to their database
    // (https://www.sqlite.org/howtocorrupt.html#multiple_links_to_a_file).
    if metadata.nlink() > 1 {
        return Err("it has other names (hard links), under which others could use it".to_owned());
    }
    Ok(true)
}

/// Checks that a file is empty or a database of this program. Leaves the file unchanged.
///
/// # Errors
/// What is wrong with it.
fn check_owner(path: &str) -> Result<(), String> {
    // Even a reader creates files beside a database, unless it is said to be immutable. Then the
    // changes in those files are not read.
    let has_companions = COMPANIONS
        .iter()
        .any(|suffix| with_suffix(Path::new(path), suffix).exists());
    let uri = format!(
        "file:{}?immutable={}",
        utf8_percent_encode(path, NON_ALPHANUMERIC),
        u8::from(!has_companions)
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let read = || {
        let database = Connection::open_with_flags(&uri, flags)?;
        database.busy_timeout(LOCK_TIMEOUT)?;
        let query = "SELECT (SELECT application_id FROM pragma_application_id), \
                     (SELECT user_version FROM pragma_user_version), \
                     (SELECT count(*) FROM sqlite_schema), \
                     (SELECT count(*) FROM sqlite_schema WHERE name IN ('_config', '_tables'))";
        database.query_one(query, [], |row| <(i32, i32, usize, usize)>::try_from(row))
    };
    match read().map_err(|error| problem(&error))? {
        (APPLICATION_ID, ..=FORMAT, ..) => Ok(()),
        (APPLICATION_ID, ..) => Err("a newer version of this program wrote it".to_owned()),
        // It is empty, or this program made it before it marked its files.
        (0, 0, 0, _) | (0, 0, _, 2) => Ok(()),
        _ => Err("it is the database of another program".to_owned()),
    }
}

/// Marks a file as one of this program.
fn mark(path: &str) -> rusqlite::Result<()> {
    let mut database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    database.busy_timeout(LOCK_TIMEOUT)?;
    let change = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    change.pragma_update(None, "application_id", APPLICATION_ID)?;
    change.pragma_update(None, "user_version", FORMAT)?;
    change.commit()
}

/// Returns what is wrong with a file that SQLite cannot use.
fn problem(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => "another program has locked it".to_owned(),
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::NotADatabase) => "it is not a database".to_owned(),
        _ => error.to_string(),
    }
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

    /// Makes a database with these commands.
    fn database(path: &Path, commands: &str) -> Connection {
        let database = Connection::open(path).expect("the directory is writable");
        database
            .execute_batch(commands)
            .expect("the commands are valid");
        database
    }

    /// Makes a data file as older versions of this program did.
    fn unmarked(path: &Path) {
        database(path, "CREATE TABLE _config (a); CREATE TABLE _tables (a)");
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
        unmarked(&path);
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
        unmarked(&path);
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
        for content in ["short".to_owned(), "longer than a page ".repeat(100)] {
            fs::write(&path, &content).expect("the directory is writable");
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
    fn a_database_of_another_program_is_left_unchanged() {
        let newer = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2");
        for (commands, expected) in [
            ("CREATE TABLE notes (a)", "another program"),
            (
                "PRAGMA journal_mode = WAL; CREATE TABLE notes (a)",
                "another program",
            ),
            ("PRAGMA application_id = 5", "another program"),
            ("PRAGMA user_version = 99", "another program"),
            (&newer, "a newer version"),
        ] {
            let directory = directory();
            let path = directory.path().join("100% other?.db");
            drop(database(&path, commands));
            let before = fs::read(&path).expect("it exists");
            assert!(problem(&path).contains(expected), "{commands}");
            assert_eq!(fs::read(&path).expect("it exists"), before, "{commands}");
            let files = fs::read_dir(directory.path()).expect("it exists").count();
            assert_eq!(files, 1, "{commands}");
        }
    }

    #[test]
    fn a_data_file_of_this_program_is_marked() {
        let directory = directory();
        let (old, new) = (
            directory.path().join("old.db"),
            directory.path().join("new.db"),
        );
        unmarked(&old);
        for path in [old, new] {
            for _ in 0..2 {
                drop(DataFile::open(&path).expect("it is ours"));
                let database = Connection::open(&path).expect("it is a database");
                let id = database.pragma_query_value(None, "application_id", |row| row.get(0));
                assert_eq!(id, Ok(APPLICATION_ID));
            }
        }
    }

    #[test]
    fn a_file_that_another_program_has_locked_is_named() {
        let directory = directory();
        let path = directory.path().join("users.db");
        drop(DataFile::open(&path).expect("it can be made"));
        let _locked = database(&path, "BEGIN EXCLUSIVE");
        assert!(problem(&path).contains("another program has locked it"));
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

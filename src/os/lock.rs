//! One worker id per daemon on a host, by lock files (decisions: "Worker id when `workerId` is absent").
//!
//! The first daemon of an application on a host is `<host>-<application>`, the second one
//! `<host>-<application>-2`, and so on. A lock ends with its process, however that ends, so whoever
//! holds one knows that the former holder of the name is dead.
//!
//! Lock files are never deleted: a file that is there already is what tells a new daemon that it
//! has a predecessor. It proves nothing where a process of the same id lives on another host: a daemon
//! that ends because of one says so in its file, and whoever comes after it has no predecessor until
//! one has held a lease again.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// So many daemons of one application on one host are tried before giving up.
const MOST_DAEMONS: u32 = 1000;

/// Bytes of a name that go into the file name; file systems allow 255 in all.
const LONGEST_NAME: usize = 180;

/// The word behind the process id that says that another process works under the worker id. Must never
/// change: another version of the daemon has to find it.
const TWIN: &str = "another-lives";

/// So much of a lock file is looked at.
const LONGEST_TEXT: u64 = 256;

/// Where lock files may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockPlaces {
    /// `$XDG_RUNTIME_DIR`, where it is set.
    pub runtime: Option<PathBuf>,
    /// The directory for temporary files, shared by all users.
    pub temporary: PathBuf,
}

/// No worker id could be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// No place can be written to.
    #[error(
        "no lock file for the worker id can be made ({0}): set workerId in the properties, or XDG_RUNTIME_DIR to a directory that can be written to"
    )]
    NoPlace(String),
    /// The worker id that was asked for is in use on this host.
    #[error(
        "the worker id '{worker_id}' is in use by process {process} on this host: give each worker an id of its own (workerId), or leave workerId out"
    )]
    InUse {
        /// The id.
        worker_id: String,
        /// The process that holds it, as far as the file tells.
        process: String,
    },
    /// All names are taken.
    #[error(
        "{0} daemons of this application run on this host already: set workerId in the properties"
    )]
    TooMany(u32),
}

/// A worker id that no other daemon on this host has, while this value lives.
#[derive(Debug)]
pub struct WorkerIdLock {
    /// Keeps the lock.
    file: File,
    worker_id: String,
    path: PathBuf,
    found: Found,
}

/// What a lock file told of the process that had it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// There was none.
    Nothing,
    /// It is dead.
    Predecessor,
    /// It is dead, and knew of another process of its id, elsewhere.
    Twin,
}

impl WorkerIdLock {
    /// Takes the first free name of `<host>-<application>`, `-2`, `-3` …
    ///
    /// # Errors
    /// [`LockError`].
    pub fn acquire(places: &LockPlaces, host: &str, application: &str) -> Result<Self, LockError> {
        let base = format!("{host}-{application}");
        let names = (1..=MOST_DAEMONS).map(|number| match number {
            1 => base.clone(),
            _ => format!("{base}-{number}"),
        });
        let names: Vec<(String, String)> = names.map(|name| (name.clone(), name)).collect();
        acquire_any(places, &names)?.ok_or(LockError::TooMany(MOST_DAEMONS))
    }

    /// Takes exactly this worker id, as the properties file asks for it (`workerId`).
    ///
    /// # Errors
    /// [`LockError`], also when another daemon of the application has it on this host.
    pub fn acquire_exact(
        places: &LockPlaces,
        worker_id: &str,
        application: &str,
    ) -> Result<Self, LockError> {
        // Told apart from the default names, which never contain an '@' before escaping.
        let name = format!("{worker_id}@{application}");
        let names = [(name.clone(), worker_id.to_owned())];
        match acquire_any(places, &names)? {
            Some(lock) => Ok(lock),
            None => Err(LockError::InUse {
                worker_id: worker_id.to_owned(),
                process: holder(places, &name),
            }),
        }
    }

    /// The worker id.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// Whether the file was there before: a daemon of this name ran on this host, and as the lock
    /// was free it is dead. Its leases can be resumed at once. `false` if it knew of a twin, whose
    /// leases they may be.
    #[must_use]
    pub fn had_predecessor(&self) -> bool {
        self.found == Found::Predecessor
    }

    /// Whether the file says that another process works under the id, as it was found.
    #[must_use]
    pub fn knew_of_twin(&self) -> bool {
        self.found == Found::Twin
    }

    /// Notes for the next one that another process works under the id, or that this one has come to
    /// hold leases in spite of it.
    ///
    /// # Errors
    /// Those of writing the file; it may be another user's.
    pub fn note_twin(&self, lives: bool) -> io::Result<()> {
        write_text(&self.file, lives)
    }

    /// The lock file; it holds the process id of the daemon as text.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkerIdLock {
    /// Closing the file would not do: a child that is being started has a copy of it until it executes its
    /// program, and with it the lock.
    fn drop(&mut self) {
        // If that is refused, the lock ends with the last copy.
        let _ = self.file.unlock();
    }
}

/// The directories that are tried for lock files, in this order.
fn directories(places: &LockPlaces) -> Vec<PathBuf> {
    let runtime = places.runtime.iter().filter(|path| path.is_absolute());
    runtime
        .cloned()
        .chain([places.temporary.clone(), private_directory(places)])
        .collect()
}

/// Belongs to this user alone, for hosts on which the shared one refuses.
fn private_directory(places: &LockPlaces) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    places.temporary.join(format!("kcl-daemon-{user}"))
}

/// Takes the first free one of these (name of the file, worker id); `None` when all are taken.
fn acquire_any(
    places: &LockPlaces,
    names: &[(String, String)],
) -> Result<Option<WorkerIdLock>, LockError> {
    let mut refusals = Vec::new();
    let private = private_directory(places);
    for directory in directories(places) {
        let usable = match directory == private {
            true => make_private(&directory),
            false => Ok(()),
        };
        match usable.and_then(|()| acquire_in(&directory, names)) {
            Ok(lock) => return Ok(lock),
            Err(error) => refusals.push(format!("{}: {error}", directory.display())),
        }
    }
    Err(LockError::NoPlace(refusals.join("; ")))
}

fn lock_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("kcl-daemon-{}.lock", escaped(name)))
}

/// The process that the lock file of a name tells of.
fn holder(places: &LockPlaces, name: &str) -> String {
    directories(places)
        .iter()
        .find_map(|directory| std::fs::read_to_string(lock_file(directory, name)).ok())
        .and_then(|text| text.split_ascii_whitespace().next().map(str::to_owned))
        .unwrap_or_else(|| "(unknown)".to_owned())
}

/// `None` when all names are taken.
fn acquire_in(directory: &Path, names: &[(String, String)]) -> io::Result<Option<WorkerIdLock>> {
    for (name, worker_id) in names {
        let path = lock_file(directory, name);
        if let Some((file, found)) = try_take(&path)? {
            return Ok(Some(WorkerIdLock {
                file,
                worker_id: worker_id.clone(),
                path,
                found,
            }));
        }
    }
    Ok(None)
}

/// A directory in a shared place, of which somebody else may have made one of this name.
fn make_private(directory: &Path) -> io::Result<()> {
    match std::fs::create_dir(directory) {
        Ok(()) => std::fs::set_permissions(directory, Permissions::from_mode(0o700)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = std::fs::symlink_metadata(directory)?;
            let own = found.uid() == rustix::process::geteuid().as_raw();
            if found.is_dir() && own && found.mode() & 0o022 == 0 {
                return Ok(());
            }
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a directory of this user alone",
            ))
        }
        Err(error) => Err(error),
    }
}

/// Takes this lock and says what was in the file; `None` when somebody holds it.
fn try_take(path: &Path) -> io::Result<Option<(File, Found)>> {
    loop {
        let (file, existed) = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !is_still_at(&file, path) {
            // A clean-up of temporary files deleted it between opening and locking.
            continue;
        }
        // A file that was just made by a daemon which lost the race for its lock is empty, and the
        // winner writes its id first thing: an empty file has had no holder.
        let found = match existed {
            true => read_text(&file),
            false => Found::Nothing,
        };
        // For people who look; a file of another user's cannot be written to, and need not.
        let _ = write_text(&file, found == Found::Twin);
        return Ok(Some((file, found)));
    }
}

/// Opens the lock file, made if it is missing, and says whether it was there.
fn open(path: &Path) -> io::Result<(File, bool)> {
    // Never through a link, never waiting on a FIFO: the place may be shared with strangers.
    let flags = OFlags::NOFOLLOW
        .union(OFlags::NONBLOCK)
        .bits()
        .cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    loop {
        // Without O_CREAT: Linux refuses that for another user's file in a shared directory.
        let opened = match options.clone().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
            other => other,
        };
        match opened {
            Ok(file) if file.metadata()?.is_file() => return Ok((file, true)),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{} is not a file", path.display()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match options
            .clone()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(path)
        {
            Ok(file) => {
                // Other users need to see whether it is locked, whatever the umask.
                let _ = file.set_permissions(Permissions::from_mode(0o644));
                return Ok((file, false));
            }
            // Another daemon made it in this moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(held), Ok(found)) => held.ino() == found.ino() && held.dev() == found.dev(),
        _ => false,
    }
}

/// What the former holder wrote. Whatever cannot be understood was written by somebody all the same.
fn read_text(file: &File) -> Found {
    let mut text = Vec::new();
    let _ = file.take(LONGEST_TEXT).read_to_end(&mut text);
    if text.is_empty() {
        return Found::Nothing;
    }
    let mut words = text.split(u8::is_ascii_whitespace);
    match words.any(|word| word == TWIN.as_bytes()) {
        true => Found::Twin,
        false => Found::Predecessor,
    }
}

/// In one piece, so that a crash leaves no text without its word behind.
fn write_text(mut file: &File, twin: bool) -> io::Result<()> {
    let process = std::process::id();
    let text = match twin {
        true => format!("{process} {TWIN}\n"),
        false => format!("{process}\n"),
    };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    // Only now, for the same reason: what a longer text left behind.
    file.set_len(text.len() as u64)
}

/// The name as part of a file name: letters, digits, `.`, `_` and `-` stay, other bytes become
/// `%XX`. A long name is cut and told apart by a checksum of the whole.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.len() > LONGEST_NAME {
        out.truncate(LONGEST_NAME);
        out.push_str(&format!("~{:016x}", fnv1a(name.as_bytes())));
    }
    out
}

/// FNV-1a: the same on every version and machine, unlike the standard library's hashers.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;

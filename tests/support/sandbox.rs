//! A temporary directory and a mark on every process that belongs to one test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::processes;

/// The environment variable that marks the processes of a sandbox.
pub const MARK: &str = "KCL_TEST_SANDBOX";

/// No process of a test may be there so long after its end.
pub const NOTHING_LEFT_WITHIN: Duration = Duration::from_secs(3);

/// One test's place. Declare it first, so that it goes last: at its end no marked process may be
/// left. It stays on the disk when the test fails.
pub struct Sandbox {
    directory: TempDir,
    name: String,
}

impl Sandbox {
    /// A fresh one; the name is for people.
    pub fn new(name: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory");
        Self {
            directory,
            name: name.to_owned(),
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("the sandbox can be written to");
        path
    }

    /// Writes a file that can be run.
    pub fn write_executable(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// Another "host": daemons there know nothing of the worker-id locks of other hosts. As all have
    /// the same host name, give such daemons a `workerId`.
    pub fn host(&self, name: &str) -> Host<'_> {
        let locks = self.path().join(format!("host-{name}"));
        std::fs::create_dir_all(&locks).expect("a directory for locks");
        Host {
            sandbox: self,
            locks,
        }
    }

    /// Processes that belong to this test: daemons, guardians, children, grandchildren.
    pub fn processes(&self) -> Vec<processes::Process> {
        processes::marked(MARK, self.path())
    }

    /// Sees that nothing of this test runs any more.
    ///
    /// # Panics
    /// When something is left after `timeout`; it is killed then.
    #[track_caller]
    pub fn assert_no_processes(&self, timeout: Duration) {
        let left = processes::gone_within(timeout, || self.processes());
        if !left.is_empty() {
            processes::kill_all(&left);
            panic!("processes left {timeout:?} after the end of everything: {left:#?}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            processes::kill_all(&self.processes());
            self.directory.disable_cleanup(true);
            eprintln!(
                "the files of this test are kept in {}",
                self.path().display()
            );
        } else {
            self.assert_no_processes(NOTHING_LEFT_WITHIN);
        }
    }
}

/// Where daemons run, as far as worker-id locks are concerned.
#[derive(Debug, Clone)]
pub struct Host<'a> {
    sandbox: &'a Sandbox,
    locks: PathBuf,
}

impl<'a> Host<'a> {
    /// The sandbox it is in.
    pub fn sandbox(&self) -> &'a Sandbox {
        self.sandbox
    }

    /// Its `XDG_RUNTIME_DIR` and `TMPDIR`.
    pub fn locks(&self) -> &Path {
        &self.locks
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path().fmt(f)
    }
}

impl<'a> From<&'a Sandbox> for Host<'a> {
    fn from(sandbox: &'a Sandbox) -> Self {
        sandbox.host("a")
    }
}

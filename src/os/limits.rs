//! Resource limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files before and after [`raise_open_files`]; `None` is "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The soft limit that the process was started with.
    pub before: Option<u64>,
    /// The soft limit now.
    pub now: Option<u64>,
}

/// Raises the soft limit of open files to the hard one: a shard takes four descriptors and more.
///
/// Never fails: a refusal leaves the limit as it was, which `now` tells.
#[must_use]
pub fn raise_open_files() -> OpenFiles {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let wanted = Rlimit {
            current: maximum,
            maximum,
        };
        // macOS refuses "no limit" here; the limit then stays as it was.
        let _refused = setrlimit(Resource::Nofile, wanted);
    }
    OpenFiles {
        before: current,
        now: getrlimit(Resource::Nofile).current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one_and_stays() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let first = raise_open_files();
        assert_eq!(first.now, hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
        assert_eq!(
            raise_open_files(),
            OpenFiles {
                before: hard,
                now: hard
            }
        );
    }
}

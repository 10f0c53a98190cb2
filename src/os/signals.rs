//! Signals from outside, as values.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks the daemon to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopSignal {
    /// SIGTERM: a supervisor, `docker stop`, Kubernetes.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl StopSignal {
    /// Its number; an exit code of 128 plus this says that it ended the daemon.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Terminate => 15,
            Self::Interrupt => 2,
            Self::HangUp => 1,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Received {
    /// Stop.
    Stop(StopSignal),
    /// SIGQUIT: print the state and go on.
    DumpState,
}

/// The signals of this process. While it lives they do not end the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    /// `None`: ignored when the process was started, as under `nohup`, and so it stays.
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
    quit: Signal,
}

impl Signals {
    /// Begins to listen. Signals that come before this have their usual effect.
    ///
    /// # Errors
    /// The operating system refuses.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let ignored = Ignored::at_start();
        let unless = |ignored: bool, kind| match ignored {
            true => Ok(None),
            false => signal(kind).map(Some),
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless(
                ignored.contains(StopSignal::Interrupt),
                SignalKind::interrupt(),
            )?,
            hang_up: unless(ignored.contains(StopSignal::HangUp), SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next signal. May be dropped and called again without losing one.
    pub async fn next(&mut self) -> Received {
        tokio::select! {
            () = received(Some(&mut self.terminate)) => Received::Stop(StopSignal::Terminate),
            () = received(self.interrupt.as_mut()) => Received::Stop(StopSignal::Interrupt),
            () = received(self.hang_up.as_mut()) => Received::Stop(StopSignal::HangUp),
            () = received(Some(&mut self.quit)) => Received::DumpState,
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// The set of ignored signals, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ignored(u64);

impl Ignored {
    /// What this process ignores now. Only Linux tells without an effect of the question; elsewhere
    /// nothing counts as ignored.
    fn at_start() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::from_status(&status)
    }

    /// Reads the line `SigIgn:` of `/proc/<pid>/status`, a number in hexadecimal.
    fn from_status(status: &str) -> Self {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
        Self(mask.unwrap_or(0))
    }

    fn contains(self, signal: StopSignal) -> bool {
        self.0 & (1 << (signal.number() - 1)) != 0
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_file() {
        use StopSignal::{HangUp, Interrupt, Terminate};
        let table: [(&str, &[StopSignal]); 5] = [
            ("Name:\tsh\nSigIgn:\t0000000000000001\n", &[HangUp]),
            (
                "SigIgn:\t0000000000000003\nSigCgt:\t0",
                &[HangUp, Interrupt],
            ),
            ("SigIgn:\t0000000000005000\n", &[Terminate]),
            ("SigIgn:\tnonsense\n", &[]),
            ("", &[]),
        ];
        for (status, expected) in table {
            let ignored = Ignored::from_status(status);
            let found: Vec<_> = [HangUp, Interrupt, Terminate]
                .into_iter()
                .filter(|signal| ignored.contains(*signal))
                .collect();
            assert_eq!(found, expected, "{status:?}");
        }
    }

    #[tokio::test]
    async fn each_signal_arrives_as_itself() {
        let mut signals = Signals::listen().unwrap();
        let table = [
            (Number::TERM, Received::Stop(StopSignal::Terminate)),
            (Number::INT, Received::Stop(StopSignal::Interrupt)),
            (Number::HUP, Received::Stop(StopSignal::HangUp)),
            (Number::QUIT, Received::DumpState),
        ];
        for (number, expected) in table {
            // Under `nohup` or in a background job this cannot be tried.
            if Ignored::at_start().0 & (1 << (number.as_raw() - 1)) != 0 {
                continue;
            }
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, expected);
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, expected, "a second time as well");
        }
    }
}

//! The composition root: configuration → adapters → worker; order of start and stop; exit code.
//! The only place that knows everything.

pub mod check;
mod settings;
mod wiring;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::app::wiring::{Children, Wiring};
use crate::child;
use crate::config::DaemonConfig;
use crate::core::ids::WorkerId;
use crate::observe::log;
use crate::os::environment::{self, Environment};
use crate::os::guardian::GuardianProgram;
use crate::os::lock::{LockError, LockPlaces, WorkerIdLock};
use crate::os::process::{Launcher, LauncherSettings};
use crate::os::signals::{Received, Signals, StopSignal};
use crate::os::tasks::TaskGroup;
use crate::os::{limits, reaper, runtime};
use crate::ports::Clock;
use crate::worker::coordinator::{
    Coordinator, CoordinatorPorts, Grace, HeldStatus, Member, StopRequest, WorkerEnd,
};
use crate::worker::counting::Calls;
use crate::worker::joining::join;
use crate::worker::startup::{Patience, check_consumer, check_stream};

/// The same signal again within this time is the first one, delivered twice.
const ONE_SIGNAL: Duration = Duration::from_millis(300);

/// How often the number of calls is logged at the level DEBUG.
const CALLS_EVERY: Duration = Duration::from_secs(60);

/// Runs the daemon to its end; gives the exit code (`decisions.md`): 0 after a graceful stop, 1 when
/// it cannot start or go on, 128 + signal when a stop had to be cut short.
pub fn run(config: &DaemonConfig, environment: &Environment) -> ExitCode {
    let open_files = limits::raise_open_files();
    match start(config, environment, open_files.before) {
        Ok(code) => code,
        Err(message) => {
            log::fatal(&message);
            ExitCode::FAILURE
        }
    }
}

fn start(
    config: &DaemonConfig,
    environment: &Environment,
    open_files: Option<u64>,
) -> Result<ExitCode, String> {
    let cwd = environment::working_directory()
        .map_err(|error| format!("the working directory cannot be used: {error}"))?;
    // Before any call to AWS: a wrong executable should not be found out by a shard.
    let path = environment.get_os("PATH");
    let executable =
        child::resolve(&config.child.executable, path, &cwd).map_err(|error| error.to_string())?;
    let lock = worker_id(config, environment).map_err(|error| error.to_string())?;
    let me = WorkerId::new(lock.worker_id());
    info!("Using workerId: {me}");
    info!(
        "Running {} to process stream {} with executable {} (program {}, argv {:?})",
        config.identity.application_name,
        config.identity.stream.name,
        config.child.executable,
        executable.display(),
        config.child.argv
    );
    info!("Retrieval mode: {}", config.retrieval.choice.reason);
    info!(
        "MultiLangDaemon is adding the following fields to the User Agent: {}",
        crate::aws::clients::user_agent()
    );
    let guardian = GuardianProgram::this_executable().map_err(|error| {
        format!("cannot find the program that ends children when the daemon is killed: {error}")
    })?;
    let launcher = Launcher::start(LauncherSettings {
        guardian: Some(guardian),
        open_files,
    })
    .map_err(|error| format!("cannot start the thread that starts children: {error}"))?;
    let runtime =
        runtime::main_runtime().map_err(|error| format!("cannot start the runtime: {error}"))?;
    let children = Children { launcher, cwd };
    let code = runtime.block_on(work(config, environment, &me, &lock, children));
    // Blocking reads of STDIN (`--local-input -`) must not hold the process back.
    runtime.shutdown_background();
    code
}

/// The worker's id: the one of the properties file, else one that no other daemon on this host has.
fn worker_id(config: &DaemonConfig, environment: &Environment) -> Result<WorkerIdLock, LockError> {
    let places = LockPlaces {
        runtime: environment.get_os("XDG_RUNTIME_DIR").map(Into::into),
        temporary: environment::temporary_directory(),
    };
    let application = &config.identity.application_name;
    match &config.identity.worker_id {
        Some(id) => WorkerIdLock::acquire_exact(&places, id, application),
        None => WorkerIdLock::acquire(&places, &environment::host_name(), application),
    }
}

async fn work(
    config: &DaemonConfig,
    environment: &Environment,
    me: &WorkerId,
    lock: &WorkerIdLock,
    children: Children,
) -> Result<ExitCode, String> {
    let mut signals =
        Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let (stop, stop_view) = watch::channel(StopRequest::Run);
    let mut worker = TaskGroup::new();
    let mut helpers = TaskGroup::new();
    let Wiring {
        ports,
        calls,
        _renewals,
    } = tokio::select! {
        wiring = wiring::wire(config, environment, me, &children, &mut helpers) => wiring?,
        signal = next_stop(&mut signals) => return Ok(stopped_early(signal)),
    };
    if reaper::is_needed() {
        let (clock, launcher) = (ports.keeper.clock.clone(), children.launcher.clone());
        helpers.spawn(async move { reaper::run(&*clock, &launcher).await });
    }
    let (clock, entropy) = (&*ports.keeper.clock, &*ports.keeper.entropy);
    let pause = config.coordinator.initialization_backoff;
    let ready = async {
        let stream = async {
            let fetcher = &ports.consumer.fetcher;
            check_stream(&*fetcher.stream, Patience::new(clock, entropy, pause)).await?;
            check_consumer(&fetcher.retrieval, Patience::new(clock, entropy, pause)).await
        };
        let join_settings = settings::joining(config);
        let table = join(
            &ports,
            me,
            &join_settings,
            Patience::new(clock, entropy, pause),
        );
        tokio::try_join!(stream, table)
            .map(|((), standing)| standing)
            .map_err(|error| error.to_string())
    };
    let standing = tokio::select! {
        ready = ready => ready?,
        signal = next_stop(&mut signals) => return Ok(stopped_early(signal)),
    };
    let (coordinator, held) = Coordinator::new(
        Member {
            id: me.clone(),
            standing,
            resume_at_once: lock.had_predecessor(),
        },
        ports.clone(),
        settings::leases(config),
        settings::consumers(config),
        Grace::of(config.child.grace()),
        stop_view,
    );
    worker.spawn(coordinator.run());
    tell_calls(&mut helpers, &ports, Arc::clone(&calls));
    let end = supervise(&mut worker, &mut signals, clock, &stop, &held, &calls);
    let end = tokio::select! {
        end = end => end,
        never = note_first_lease(lock, held.clone()) => match never {},
    };
    let end = end.map(|(end, code)| {
        if let WorkerEnd::SharesItsId(_) = end {
            note_twin(lock, true);
        }
        code
    });
    debug!("calls to DynamoDB since the start: {calls}");
    end
}

/// A worker that holds leases, although its predecessor knew of another one of its id, has an heir.
async fn note_first_lease(
    lock: &WorkerIdLock,
    mut held: watch::Receiver<Vec<HeldStatus>>,
) -> Infallible {
    if lock.knew_of_twin() && held.wait_for(|held| !held.is_empty()).await.is_ok() {
        note_twin(lock, false);
    }
    std::future::pending().await
}

fn note_twin(lock: &WorkerIdLock, lives: bool) {
    if let Err(error) = lock.note_twin(lives) {
        warn!(
            "{} cannot be written ({error}): the next start under this worker id may take the leases of the other process",
            lock.path().display()
        );
    }
}

/// What the coordination costs, every minute, for whoever looks at it.
fn tell_calls(helpers: &mut TaskGroup<()>, ports: &CoordinatorPorts, calls: Arc<Calls>) {
    let clock = Arc::clone(&ports.keeper.clock);
    helpers.spawn(async move {
        loop {
            clock.sleep_until(clock.now() + CALLS_EVERY).await;
            debug!("calls to DynamoDB since the start: {calls}");
        }
    });
}

async fn next_stop(signals: &mut Signals) -> StopSignal {
    loop {
        match signals.next().await {
            Received::Stop(signal) => return signal,
            Received::DumpState => info!("starting"),
        }
    }
}

fn stopped_early(signal: StopSignal) -> ExitCode {
    info!(
        "{} before the worker started: nothing to give up",
        signal.name()
    );
    ExitCode::SUCCESS
}

/// Waits for the worker's end and hands signals on.
async fn supervise(
    worker: &mut TaskGroup<WorkerEnd>,
    signals: &mut Signals,
    clock: &dyn Clock,
    stop: &watch::Sender<StopRequest>,
    held: &watch::Receiver<Vec<HeldStatus>>,
    calls: &Calls,
) -> Result<(WorkerEnd, ExitCode), String> {
    let mut first: Option<StopSignal> = None;
    let mut first_at = clock.now();
    let mut second = false;
    loop {
        tokio::select! {
            end = worker.join_next() => {
                let end = match end {
                    Some(Ok(end)) => end,
                    Some(Err(failure)) => return Err(format!("the worker failed: {failure}")),
                    None => return Err("the worker is gone".to_owned()),
                };
                let code = exit_code(&end, first, second);
                return Ok((end, code));
            }
            received = signals.next() => match received {
                Received::DumpState => {
                    print_state(&held.borrow());
                    info!("calls to DynamoDB since the start: {calls}");
                }
                Received::Stop(signal) if first.is_none() => {
                    info!("Process terminated, will initiate shutdown. ({}; a second signal stops at once)", signal.name());
                    first = Some(signal);
                    first_at = clock.now();
                    stop.send_replace(StopRequest::Graceful);
                }
                // Wrappers and terminals like to deliver one signal twice, to the process and to its group.
                Received::Stop(signal) if first == Some(signal) && clock.now().since(first_at) < ONE_SIGNAL => {}
                Received::Stop(signal) => {
                    warn!("{} again: children are killed, leases released", signal.name());
                    second = true;
                    stop.send_replace(StopRequest::AtOnce);
                }
            }
        }
    }
}

fn exit_code(end: &WorkerEnd, signal: Option<StopSignal>, second: bool) -> ExitCode {
    match (end, signal) {
        (WorkerEnd::Stopped, Some(signal)) if second => ExitCode::from(128 + signal.number()),
        (WorkerEnd::Stopped, _) => {
            info!("Process shutdown is complete.");
            ExitCode::SUCCESS
        }
        (WorkerEnd::Cut, Some(signal)) => {
            error!(
                "Encountered an error during shutdown. It took longer than shutdownGraceMillis allows: children were \
                 killed, and leases that could not be released expire by themselves"
            );
            ExitCode::from(128 + signal.number())
        }
        (
            WorkerEnd::Cut
            | WorkerEnd::ChildFailed(_)
            | WorkerEnd::SharesItsId(_)
            | WorkerEnd::Failed(_),
            _,
        ) => ExitCode::FAILURE,
    }
}

/// SIGQUIT: what every shard is doing, on the log.
fn print_state(held: &[HeldStatus]) {
    info!("{} leases held", held.len());
    for lease in held {
        match lease.consumer.as_ref().map(|consumer| consumer.borrow()) {
            Some(consumer) => info!(
                shard = %lease.key.shard_id(),
                pid = consumer.pid,
                records = consumer.records,
                checkpoint = %consumer.checkpoint,
                millis_behind_latest = consumer.millis_behind_latest,
                failures = consumer.failures,
                "{}", consumer.state
            ),
            None => {
                info!(shard = %lease.key.shard_id(), "finished, waiting for its child shards to progress")
            }
        }
    }
}

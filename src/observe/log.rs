//! Log set-up: one line per event on STDERR.

use tracing_subscriber::EnvFilter;

/// Levels when nothing else is said: our own at INFO, the SDK's only when something is wrong.
const DEFAULT: &str = "info,aws_config=warn,aws_smithy_runtime=warn,aws_smithy_runtime_api=warn,hyper=warn,hyper_util=warn,rustls=warn";

/// Starts logging. `filter` is a level or a list of `target=level`; it is laid over the defaults.
///
/// # Errors
/// A filter that cannot be read.
pub fn init(filter: Option<&str>) -> Result<(), String> {
    let directives = match filter {
        None | Some("") => DEFAULT.to_owned(),
        Some(filter) => format!("{DEFAULT},{filter}"),
    };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| format!("the log filter '{directives}' cannot be read: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .try_init()
        .map_err(|error| format!("logging cannot be started: {error}"))
}

/// Says why the daemon ends: an ERROR line, or without the log's marks if the log is off.
pub fn fatal(message: &str) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{message}");
    } else {
        eprintln!("kcl-daemon: {message}");
    }
}

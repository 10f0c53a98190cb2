//! The HTTP client under all AWS clients of one runtime: one pool of connections.
//!
//! It is built here and not by the SDK's defaults, for three reasons: TLS is rustls on ring, the
//! certificates of `AWS_CA_BUNDLE` count (the Rust SDK does not look at it), and a connection on which
//! a request got no answer is never used again. The last matters with HTTP/2, where one connection
//! carries all requests: behind a NAT that has forgotten it, each of them would wait in vain until the
//! kernel gives up, a quarter of an hour later.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use base64::Engine as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Connections that nobody used for this long are closed. Shorter than the idle limits of AWS and of
/// usual NATs, so that a renewal does not meet a connection that the other side has just closed.
const IDLE: Duration = Duration::from_secs(20);

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Time to connect, TLS included. What takes longer counts as not sent.
    pub connect_timeout: Duration,
    /// `AWS_CA_BUNDLE`: the certificates to trust, in place of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Whether the environment names a proxy; only for messages. Which one is used for what is the
    /// SDK's business (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in both spellings).
    pub proxied: bool,
}

impl HttpSettings {
    /// The settings that an environment asks for.
    #[must_use]
    pub fn from_environment(
        connect_timeout: Duration,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            connect_timeout,
            ca_bundle: set("AWS_CA_BUNDLE").map(PathBuf::from),
            proxied: [
                "HTTPS_PROXY",
                "https_proxy",
                "HTTP_PROXY",
                "http_proxy",
                "ALL_PROXY",
                "all_proxy",
            ]
            .iter()
            .any(|name| set(name).is_some()),
        }
    }
}

/// The certificates of `AWS_CA_BUNDLE` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("AWS_CA_BUNDLE names {path}, which cannot be used: {reason}")]
pub struct BadCertificates {
    /// The file.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// Makes pools of connections.
#[derive(Debug, Clone)]
pub struct HttpPools {
    settings: HttpSettings,
    tls: TlsContext,
}

impl HttpPools {
    /// Reads the certificates.
    ///
    /// # Errors
    /// [`BadCertificates`], when `AWS_CA_BUNDLE` is set and is of no use.
    pub fn new(settings: HttpSettings) -> Result<Self, BadCertificates> {
        let trust = match &settings.ca_bundle {
            Some(path) => trust_store(path)?,
            None => TrustStore::default(),
        };
        // proven: a context with a trust store only has nothing that could be wrong; if that ever
        // changes, the system's certificates are a safe fall-back.
        let tls = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .unwrap_or_default();
        Ok(Self { settings, tls })
    }

    /// Makes a client with a pool of its own: a connection is driven by the runtime that made it.
    #[must_use]
    pub fn client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(Pool {
            pools: self.clone(),
            proxied: OnceLock::new(),
            direct: OnceLock::new(),
        });
        http_client_fn(move |_, _| connector.clone())
    }
}

fn connector(settings: &HttpSettings, tls: TlsContext, proxy: ProxyConfig) -> SharedHttpConnector {
    SharedHttpConnector::new(
        Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .proxy_config(proxy)
            .pool_idle_timeout(IDLE)
            .connector_settings(
                HttpConnectorSettings::builder()
                    .connect_timeout(settings.connect_timeout)
                    .build(),
            )
            .build(),
    )
}

/// Reads the certificates of a PEM file. Those that cannot be used are left out; the HTTP client would
/// panic on them.
fn trust_store(path: &Path) -> Result<TrustStore, BadCertificates> {
    let bad = |reason: String| BadCertificates {
        path: path.display().to_string(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut store = TrustStore::empty();
    let (mut usable, mut refused) = (0_usize, None);
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| {
                rustls::RootCertStore::empty()
                    .add(certificate.clone())
                    .map_err(|error| error.to_string())?;
                Ok(certificate)
            });
        match added {
            Ok(certificate) => {
                usable += 1;
                store.add_pem_certificate(format!(
                    "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                    base64::engine::general_purpose::STANDARD.encode(certificate.as_ref())
                ));
            }
            Err(reason) => refused = Some(reason),
        }
    }
    match (usable, refused) {
        (0, None) => Err(bad("it contains no PEM certificate".to_owned())),
        (0, Some(reason)) => Err(bad(reason)),
        (_, None) => Ok(store),
        (usable, Some(reason)) => {
            tracing::warn!(
                "AWS_CA_BUNDLE: {} contains certificates that cannot be used, the other {usable} are: {reason}",
                path.display()
            );
            Ok(store)
        }
    }
}

/// Two ways out of the host, made when they are first needed, and the rules for connections.
#[derive(Debug)]
struct Pool {
    pools: HttpPools,
    proxied: OnceLock<SharedHttpConnector>,
    direct: OnceLock<SharedHttpConnector>,
}

impl Pool {
    fn way(&self, is_local: bool) -> &SharedHttpConnector {
        let HttpPools { settings, tls } = &self.pools;
        if is_local {
            let direct = || connector(settings, tls.clone(), ProxyConfig::disabled());
            self.direct.get_or_init(direct)
        } else {
            let proxied = || connector(settings, tls.clone(), ProxyConfig::from_env());
            self.proxied.get_or_init(proxied)
        }
    }
}

impl HttpConnector for Pool {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let destination = Destination::of(request.uri());
        let connection = match request.extension::<CaptureSmithyConnection>() {
            Some(connection) => connection.clone(),
            None => {
                let connection = CaptureSmithyConnection::new();
                request.add_extension(connection.clone());
                connection
            }
        };
        let mentions_proxy = self.pools.settings.proxied && !destination.is_local;
        let answer = self.way(destination.is_local).call(request);
        let unanswered = Unanswered(Some(connection));
        HttpConnectorFuture::new(async move {
            let result = answer.await;
            match result {
                Ok(response) => {
                    unanswered.got_answer();
                    Ok(response)
                }
                Err(error) => Err(at(error, destination.authority, mentions_proxy)),
            }
        })
    }
}

/// A request without an answer yet. Dropped as such, by an error or because somebody stopped waiting,
/// it takes its connection out of the pool; requests under way on it go on.
struct Unanswered(Option<CaptureSmithyConnection>);

impl Unanswered {
    fn got_answer(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take().and_then(|capture| capture.get()) {
            connection.poison();
        }
    }
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Destination {
    /// Host and port.
    authority: String,
    /// Whether it is this host or its metadata service, which no proxy can reach.
    is_local: bool,
}

impl Destination {
    fn of(uri: &str) -> Self {
        let uri: http::Uri = uri.parse().unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("http") {
                80
            } else {
                443
            });
        let is_local = match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
            Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || METADATA_V6.contains(&ip),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        Self {
            authority: format!("{host}:{port}"),
            is_local,
        }
    }
}

/// The metadata services of EC2 instances and of EKS pods over IPv6.
const METADATA_V6: [std::net::Ipv6Addr; 2] = [
    std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
];

/// Says in an error where it happened, and keeps its kind.
fn at(error: ConnectorError, authority: String, mentions_proxy: bool) -> ConnectorError {
    let (timeout, io, user, other) = (
        error.is_timeout(),
        error.is_io(),
        error.is_user(),
        error.as_other(),
    );
    let error = Box::new(At {
        authority,
        mentions_proxy,
        source: error,
    });
    if timeout {
        ConnectorError::timeout(error)
    } else if io {
        ConnectorError::io(error)
    } else if user {
        ConnectorError::user(error)
    } else {
        ConnectorError::other(error, other)
    }
}

#[derive(Debug)]
struct At {
    authority: String,
    mentions_proxy: bool,
    source: ConnectorError,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = if self.mentions_proxy {
            " (the environment names a proxy)"
        } else {
            ""
        };
        write!(f, "{}{proxy}", self.authority)
    }
}

impl Error for At {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

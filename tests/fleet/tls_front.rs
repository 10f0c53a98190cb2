//! TLS in front of services that speak clear text, as at AWS: HTTP/2 where the client offers it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::support::Sandbox;

/// A loopback port with a certificate of its own, in front of another port.
pub struct TlsFront {
    port: u16,
    certificate: PathBuf,
    seen: Arc<Seen>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Seen {
    /// Bytes that went to clients, before encryption.
    answered: AtomicU64,
    /// What was agreed on with each (ALPN).
    protocols: Mutex<Vec<String>>,
}

impl TlsFront {
    /// In front of an endpoint (`http://127.0.0.1:PORT`).
    pub fn of(sandbox: &Sandbox, endpoint: &str) -> Self {
        let target = endpoint
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("an endpoint with a port");
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let path = sandbox.write("certificate.pem", certificate.pem());
        let acceptor = acceptor(certificate.der().clone(), &key);

        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let port = listener.local_addr().expect("it listens").port();
        let seen = Arc::new(Seen::default());
        let watched = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(
                    client,
                    target,
                    acceptor.clone(),
                    Arc::clone(&watched),
                ));
            }
        });
        Self {
            port,
            certificate: path,
            seen,
            _runtime: runtime,
        }
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// What a client has to trust, for `AWS_CA_BUNDLE`.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Bytes that clients got so far.
    pub fn answered(&self) -> u64 {
        self.seen.answered.load(Ordering::Relaxed)
    }

    /// What each connection so far speaks.
    pub fn protocols(&self) -> Vec<String> {
        self.seen.protocols.lock().expect("not poisoned").clone()
    }
}

fn acceptor(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn forward(client: TcpStream, target: u16, acceptor: TlsAcceptor, seen: Arc<Seen>) {
    let Ok(client) = acceptor.accept(client).await else {
        return;
    };
    let protocol = client.get_ref().1.alpn_protocol().unwrap_or_default();
    seen.protocols
        .lock()
        .expect("not poisoned")
        .push(String::from_utf8_lossy(protocol).into_owned());
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            to_client.write_all(&buffer[..read]).await?;
            to_client.flush().await?;
            seen.answered.fetch_add(read as u64, Ordering::Relaxed);
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = answers => {}
    }
}

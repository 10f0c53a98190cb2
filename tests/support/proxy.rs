//! A way to services that can be cut: connections break, new ones are refused.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Forwards a loopback port to another.
pub struct Proxy {
    port: u16,
    target: u16,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Proxy {
    /// Forwards a free port to what listens at this endpoint (`http://127.0.0.1:PORT`).
    pub fn to(endpoint: &str) -> Self {
        let target = endpoint
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("an endpoint with a port");
        let mut proxy = Self {
            port: super::services::free_port(),
            target,
            running: None,
        };
        proxy.restore();
        proxy
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
            running.thread.join().expect("the proxy works");
            let connections = running.connections.lock().expect("not poisoned");
            for connection in connections.iter() {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// Forwards again.
    pub fn restore(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port is free");
        listener.set_nonblocking(true).expect("possible");
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (stopped, known, target) = (Arc::clone(&stop), Arc::clone(&connections), self.target);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let mut known = known.lock().expect("not poisoned");
                        known.extend(forward(client, target).unwrap_or_default());
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        self.running = Some(Running {
            stop,
            connections,
            thread,
        });
    }
}

/// Copies both ways in threads that end with the connection; gives both ends of it.
fn forward(client: TcpStream, target: u16) -> io::Result<Vec<TcpStream>> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    client.set_nonblocking(false)?;
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(vec![client, server])
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.cut();
        }
    }
}

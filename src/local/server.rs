//! The embedded services on a loopback port, for other processes and SDKs.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tracing::debug;

use crate::local::backend::{Answer, LocalAws};
use crate::local::event_stream::{self, EventStreamBody};
use crate::os::tasks::TaskGroup;

/// The largest request that is read; AWS allows 10 MiB of records in one PutRecords.
const LARGEST_REQUEST: usize = 32 << 20;

/// The services cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on 127.0.0.1:{port}: {cause}")]
pub struct ServeError {
    port: u16,
    cause: std::io::Error,
}

/// A server that is listening.
pub struct Server {
    listener: TcpListener,
    local: Arc<LocalAws>,
}

/// Listens on a loopback port; 0 takes a free one. Gives the address and the server, which answers
/// for as long as its [`Server::run`] is polled.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(local: Arc<LocalAws>, port: u16) -> Result<(SocketAddr, Server), ServeError> {
    let listen = async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok((listener.local_addr()?, listener))
    };
    match listen.await {
        Ok((address, listener)) => Ok((address, Server { listener, local })),
        Err(cause) => Err(ServeError { port, cause }),
    }
}

impl Server {
    /// Answers requests, for ever.
    pub async fn run(self) {
        let mut connections: TaskGroup<()> = TaskGroup::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let _ = stream.set_nodelay(true);
                    let local = Arc::clone(&self.local);
                    connections.spawn(async move {
                        let service = service_fn(move |request| answer(Arc::clone(&local), request));
                        let served = Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        if let Err(error) = served {
                            debug!("a connection to the local services ended: {error}");
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

type Outgoing = Either<Full<Bytes>, EventStreamBody>;

async fn answer(
    local: Arc<LocalAws>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = Limited::new(request.into_body(), LARGEST_REQUEST)
        .collect()
        .await
        .map(|body| body.to_bytes());
    Ok(match body {
        Err(error) => whole(Answer::error(
            400,
            "SerializationException",
            &error.to_string(),
        )),
        Ok(body) if LocalAws::is_subscription(&target) => match local.subscribe(&body) {
            Ok(subscription) => with_type(
                Either::Right(EventStreamBody::new(subscription)),
                event_stream::CONTENT_TYPE,
            ),
            Err(refusal) => whole(refusal),
        },
        Ok(body) => whole(local.handle(&target, &body)),
    })
}

fn whole(answer: Answer) -> Response<Outgoing> {
    let mut response = with_type(
        Either::Left(Full::new(Bytes::from(answer.body))),
        answer.content_type,
    );
    *response.status_mut() = http::StatusCode::from_u16(answer.status)
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn with_type(body: Outgoing, content_type: &'static str) -> Response<Outgoing> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}

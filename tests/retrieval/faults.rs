//! The embedded Kinesis behind an HTTP client that fails as it is told.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use http_body::{Body, Frame};

use kcl_daemon::local::{LocalAws, http_client};
use kcl_daemon::ports::Clock;

/// A way to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The service says no.
    Error(u16, String),
    /// The connection breaks.
    Broken,
    /// No connection comes about.
    NotSent,
    /// Nothing comes.
    Silent,
    /// What comes is nonsense.
    Garbled,
    /// A stream of events ends before its time.
    Ended,
}

impl Fault {
    /// By the word of the table: an error code, or one of the others.
    pub fn parse(word: &str, status: u16) -> Self {
        match word {
            "(connection breaks)" => Self::Broken,
            "(no connection)" => Self::NotSent,
            "(no answer)" => Self::Silent,
            "(nonsense)" => Self::Garbled,
            "(ends early)" => Self::Ended,
            code => Self::Error(status, code.to_owned()),
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The operation.
    pub operation: &'static str,
    /// In the stream of events, after so many frames; else instead of the answer.
    pub after_frames: Option<usize>,
    /// How.
    pub fault: Fault,
    /// At so many moments; all calls of one moment fail, as some are repeated at once.
    pub moments: usize,
}

/// A call that arrived.
#[derive(Debug, Clone)]
pub struct Call {
    /// The operation.
    pub operation: String,
    /// When, since the start.
    pub at: Duration,
    /// Whether it failed, or will in its stream of events.
    pub failed: bool,
    /// The body, as JSON.
    pub body: serde_json::Value,
}

/// The door.
#[derive(Clone)]
pub struct Door {
    clock: Arc<dyn Clock>,
    inner: SharedHttpConnector,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// With the moment of the last failure.
    plans: Vec<(Plan, Option<Duration>)>,
    calls: Vec<Call>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

impl Door {
    pub fn new(local: &Arc<LocalAws>, clock: Arc<dyn Clock>) -> Self {
        let settings = HttpConnectorSettings::builder().build();
        let components = RuntimeComponentsBuilder::for_tests()
            .build()
            .expect("components");
        Self {
            inner: http_client(local).http_connector(&settings, &components),
            clock,
            state: Arc::default(),
        }
    }

    pub fn client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    /// From now on.
    pub fn fail(&self, plan: Plan) {
        self.state.lock().unwrap().plans.push((plan, None));
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Calls of one operation so far.
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.operation == operation);
        calls
    }

    /// Notes a call; gives what goes wrong with it.
    fn arrive(&self, operation: &str, body: &[u8]) -> Option<Plan> {
        let now = self.clock.now().since_origin();
        let mut state = self.state.lock().unwrap();
        let hit = state.plans.iter_mut().find_map(|(plan, last)| {
            if plan.operation != operation {
                return None;
            }
            if *last != Some(now) {
                plan.moments = plan.moments.checked_sub(1)?;
                *last = Some(now);
            }
            Some(plan.clone())
        });
        state.calls.push(Call {
            operation: operation.to_owned(),
            at: now,
            failed: hit.is_some(),
            body: serde_json::from_slice(body).unwrap_or_default(),
        });
        hit
    }
}

impl HttpConnector for Door {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let Some(plan) = self.arrive(&operation, &body) else {
            return self.inner.call(request);
        };
        let Some(frames) = plan.after_frames else {
            return HttpConnectorFuture::new(instead(plan.fault));
        };
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let mut response = answer.await?;
            let events = response.take_body();
            *response.body_mut() = SdkBody::from_body_1_x(Interrupted {
                events,
                frames,
                fault: Some(plan.fault),
            });
            Ok(response)
        })
    }
}

async fn instead(fault: Fault) -> Result<HttpResponse, ConnectorError> {
    let (status, body) = match fault {
        Fault::Broken => return Err(ConnectorError::io("connection reset by a test".into())),
        Fault::NotSent => {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            return Err(ConnectorError::io(refused.into()));
        }
        Fault::Silent => std::future::pending().await,
        Fault::Garbled | Fault::Ended => (200, "<html>".to_owned()),
        Fault::Error(status, code) => (
            status,
            serde_json::json!({"__type": code, "message": "by a test"}).to_string(),
        ),
    };
    let status = status.try_into().expect("a status");
    Ok(HttpResponse::new(status, SdkBody::from(body)))
}

/// A stream of events that fails after some frames.
struct Interrupted {
    events: SdkBody,
    frames: usize,
    fault: Option<Fault>,
}

impl Body for Interrupted {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.frames > 0 {
            let polled = Pin::new(&mut self.events).poll_frame(context);
            if polled.is_ready() {
                self.frames -= 1;
            }
            return polled;
        }
        Poll::Ready(match self.fault.take() {
            Some(Fault::Silent) => {
                self.fault = Some(Fault::Silent);
                return Poll::Pending;
            }
            Some(Fault::Broken | Fault::NotSent) => Some(Err("reset by a test".into())),
            Some(Fault::Garbled) => Some(Ok(Frame::data(Bytes::from_static(&[0x41; 64])))),
            Some(Fault::Error(_, code)) => Some(Ok(Frame::data(exception(&code)))),
            Some(Fault::Ended) | None => None,
        })
    }
}

fn exception(code: &str) -> Bytes {
    let text = |text: &str| HeaderValue::String(text.to_owned().into());
    let message = Message::new(Bytes::from_static(b"{\"message\":\"by a test\"}"))
        .add_header(Header::new(":message-type", text("exception")))
        .add_header(Header::new(":exception-type", text(code)))
        .add_header(Header::new(":content-type", text("application/json")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("a small message");
    bytes.into()
}

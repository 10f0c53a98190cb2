//! A service made of a function, under the SDK's real client: for the tests of this module.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_async::rt::sleep::{AsyncSleep as _, TokioSleep};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::Frame;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::aws::clients::{Access, ClientSettings};
use crate::aws::credentials::fixed;
use crate::core::time::Moment;
use crate::ports::{BoxFuture, Clock};

/// What the service does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers with JSON.
    Json(u16, Value),
    /// Answers with something else.
    Text(u16, &'static str),
    /// Answers 200 with these pieces of a body, and then ends or, if `breaks`, breaks off.
    Wire {
        content_type: &'static str,
        pieces: Vec<Vec<u8>>,
        breaks: bool,
    },
    /// Answers 200 and sends a byte every 50 ms, for ever.
    Trickle,
    /// Is not there.
    Refused,
    /// Closes the connection.
    Broken,
    /// Never answers.
    Silent,
}

impl Reply {
    /// A success.
    pub(crate) fn ok(body: Value) -> Self {
        Self::Json(200, body)
    }

    /// An error of the service.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Json(status, json!({"__type": code, "message": message}))
    }
}

/// A request as the service saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// The operation.
    pub(crate) operation: String,
    /// The body.
    pub(crate) body: Value,
    /// `x-amz-user-agent` and `user-agent`.
    pub(crate) agents: String,
    /// The address.
    pub(crate) uri: String,
}

/// A body in pieces.
pub(crate) fn cut(body: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|cut| body[cut[0]..cut[1]].to_vec());
    pieces.collect()
}

/// The pieces of a body, each as a frame of its own.
struct Pieces {
    left: std::vec::IntoIter<Vec<u8>>,
    breaks: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match self.left.next() {
            Some(piece) => Some(Ok(Frame::data(piece.into()))),
            None if self.breaks => Some(Err(std::io::ErrorKind::ConnectionReset.into())),
            None => None,
        })
    }
}

/// A body that never ends.
struct Trickle(Option<Pin<Box<aws_smithy_async::rt::sleep::Sleep>>>);

impl http_body::Body for Trickle {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let nap = || Box::pin(TokioSleep::new().sleep(Duration::from_millis(50)));
        let pause = self.0.get_or_insert_with(nap);
        match pause.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.0 = None;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
            }
        }
    }
}

type Answer = dyn Fn(&str, &Value) -> Reply + Send + Sync;

/// A service made of a function.
#[derive(Clone)]
pub(crate) struct FakeService {
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl std::fmt::Debug for FakeService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeService")
    }
}

impl FakeService {
    pub(crate) fn new(answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            seen: Arc::default(),
        }
    }

    /// Gives these replies in turn, the last one from then on.
    pub(crate) fn script(replies: Vec<Reply>) -> Self {
        let left = Mutex::new(replies);
        Self::new(move |_, _| {
            let mut left = left.lock().unwrap();
            if left.len() > 1 {
                left.remove(0)
            } else {
                left[0].clone()
            }
        })
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The operations so far.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.operation).collect()
    }

    pub(crate) fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    pub(crate) fn access(&self) -> Access {
        Access::new(self.http(), fixed("key", "secret"), Duration::from_secs(5))
    }
}

/// Settings that need nothing of the environment.
pub(crate) fn settings() -> ClientSettings {
    ClientSettings {
        region: Some("eu-west-9".to_owned()),
        endpoint: Some("http://service.test".to_owned()),
        ..ClientSettings::new(Duration::from_millis(200))
    }
}

impl HttpConnector for FakeService {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
        let target = header("x-amz-target");
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body: Value =
            serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let reply = (self.answer)(&operation, &body);
        self.seen.lock().unwrap().push(Seen {
            operation,
            body,
            agents: format!("{} {}", header("x-amz-user-agent"), header("user-agent")),
            uri: request.uri().to_owned(),
        });
        let response = |status: u16, body: String| {
            HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
        };
        let io =
            |kind: std::io::ErrorKind| ConnectorError::io(Box::new(std::io::Error::from(kind)));
        match reply {
            Reply::Json(status, body) => {
                HttpConnectorFuture::ready(Ok(response(status, body.to_string())))
            }
            Reply::Text(status, body) => {
                HttpConnectorFuture::ready(Ok(response(status, body.to_owned())))
            }
            Reply::Wire {
                content_type,
                pieces,
                breaks,
            } => {
                let body = SdkBody::from_body_1_x(Pieces {
                    left: pieces.into_iter(),
                    breaks,
                });
                let mut response = HttpResponse::new(200.try_into().unwrap(), body);
                response.headers_mut().insert("content-type", content_type);
                HttpConnectorFuture::ready(Ok(response))
            }
            Reply::Trickle => {
                let body = SdkBody::from_body_1_x(Trickle(None));
                let mut response = HttpResponse::new(200.try_into().unwrap(), body);
                let headers = response.headers_mut();
                headers.insert("content-type", "application/x-amz-json-1.1");
                HttpConnectorFuture::ready(Ok(response))
            }
            Reply::Refused => {
                HttpConnectorFuture::ready(Err(io(std::io::ErrorKind::ConnectionRefused)))
            }
            Reply::Broken => {
                HttpConnectorFuture::ready(Err(io(std::io::ErrorKind::ConnectionReset)))
            }
            Reply::Silent => HttpConnectorFuture::new(std::future::pending()),
        }
    }
}

/// A clock on which every pause is over at once; it remembers them.
#[derive(Default)]
pub(crate) struct QuickClock {
    now: Mutex<Moment>,
    pauses: Mutex<Vec<Duration>>,
}

impl QuickClock {
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        self.pauses.lock().unwrap().clone()
    }
}

impl Clock for QuickClock {
    fn now(&self) -> Moment {
        *self.now.lock().unwrap()
    }

    fn wall_millis(&self) -> i64 {
        0
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        let mut now = self.now.lock().unwrap();
        self.pauses.lock().unwrap().push(moment.since(*now));
        *now = (*now).max(moment);
        Box::pin(std::future::ready(()))
    }
}

/// A DynamoDB that nobody here wrote: every expression is judged by it.
#[cfg(feature = "local")]
pub(crate) fn embedded_dynamodb() -> FakeService {
    use dynoxide::Database;
    let database = Database::memory().unwrap();
    FakeService::new(move |operation, body| {
        macro_rules! carry_out {
            ($method:ident) => {
                match serde_json::from_value(body.clone()) {
                    Ok(request) => database
                        .$method(request)
                        .map(|response| serde_json::to_value(response).unwrap()),
                    Err(error) => {
                        return Reply::error(400, "SerializationException", &error.to_string())
                    }
                }
            };
        }
        let result = match operation {
            "CreateTable" => carry_out!(create_table),
            "DescribeTable" => carry_out!(describe_table),
            "PutItem" => carry_out!(put_item),
            "GetItem" => carry_out!(get_item),
            "UpdateItem" => carry_out!(update_item),
            "DeleteItem" => carry_out!(delete_item),
            "Scan" => carry_out!(scan),
            "Query" => carry_out!(query),
            "UpdateTable" => carry_out!(update_table),
            "TransactWriteItems" => carry_out!(transact_write_items),
            other => return Reply::error(400, "UnknownOperationException", other),
        };
        match result {
            Ok(body) => Reply::ok(body),
            Err(error) => Reply::Json(
                error.status_code(),
                serde_json::from_str(&error.to_json()).unwrap(),
            ),
        }
    })
}

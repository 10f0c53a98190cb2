//! The SDK's HTTP client that calls the embedded services in this process.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

use crate::local::backend::LocalAws;
use crate::local::event_stream::{self, EventStreamBody};

#[derive(Clone)]
struct InProcess(Arc<LocalAws>);

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let local = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let target = request
                .headers()
                .get("x-amz-target")
                .unwrap_or_default()
                .to_owned();
            let body = match request.body().bytes() {
                Some(body) => body.to_vec(),
                None => request
                    .into_body()
                    .collect()
                    .await
                    .map_err(ConnectorError::user)?
                    .to_bytes()
                    .to_vec(),
            };
            let (status, content_type, body) = answer(&local, &target, &body);
            let response = http::Response::builder()
                .status(status)
                .header("content-type", content_type)
                .body(body)
                .map_err(|error| ConnectorError::user(error.into()))?;
            HttpResponse::try_from(response).map_err(|error| ConnectorError::user(error.into()))
        })
    }
}

fn answer(local: &LocalAws, target: &str, body: &[u8]) -> (u16, &'static str, SdkBody) {
    let answer = if LocalAws::is_subscription(target) {
        match local.subscribe(body) {
            Ok(subscription) => {
                let events = SdkBody::from_body_1_x(EventStreamBody::new(subscription));
                return (200, event_stream::CONTENT_TYPE, events);
            }
            Err(refusal) => refusal,
        }
    } else {
        local.handle(target, body)
    };
    (
        answer.status,
        answer.content_type,
        SdkBody::from(answer.body),
    )
}

/// A client for the SDK that reaches `local` without any socket.
#[must_use]
pub fn http_client(local: &Arc<LocalAws>) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(InProcess(Arc::clone(local)));
    http_client_fn(move |_, _| connector.clone())
}

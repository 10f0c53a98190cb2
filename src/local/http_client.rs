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
            let answer = local.handle(&target, &body);
            let response = http::Response::builder()
                .status(answer.status)
                .header("content-type", answer.content_type)
                .body(SdkBody::from(answer.body))
                .map_err(|error| ConnectorError::user(error.into()))?;
            HttpResponse::try_from(response).map_err(|error| ConnectorError::user(error.into()))
        })
    }
}

/// A client for the SDK that reaches `local` without any socket.
#[must_use]
pub fn http_client(local: &Arc<LocalAws>) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(InProcess(Arc::clone(local)));
    http_client_fn(move |_, _| connector.clone())
}

//! The body of an answer, past the SDK.
//!
//! The SDK signs, sends, resolves the endpoint and judges the answer, as always; only the body of a
//! success is taken out before the SDK would read it. What comes out of the SDK then is an empty
//! answer, which nobody looks at. The body keeps the SDK's protection against stalled connections.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;

/// What JSON answers of the service are marked with.
const JSON: &str = "application/x-amz-json-1.1";

/// Takes the body of one call's answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Handover(Arc<Mutex<Option<Answer>>>);

/// The body of an answer, and its length if the service said it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: SdkBody,
    pub(super) length: Option<usize>,
}

impl Handover {
    /// The body, if there was a success in JSON. Otherwise the SDK has read the answer.
    pub(super) fn take(&self) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Handover {
    fn name(&self) -> &'static str {
        "Handover"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let kind = response.headers().get("content-type").unwrap_or_default();
        let is_json = kind.split(';').next() == Some(JSON);
        if is_json && response.status().as_u16() == 200 {
            let length = response.headers().get("content-length");
            let length = length.and_then(|length| length.parse().ok());
            let body = mem::replace(response.body_mut(), SdkBody::from("{}"));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Answer { body, length });
        }
        Ok(())
    }
}

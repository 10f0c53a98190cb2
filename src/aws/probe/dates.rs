//! How far the services' clocks are from this host's, by the Date header of every answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use crate::ports::Clock;

/// What the header's cut-off to whole seconds takes away on average, milliseconds.
const CUT_OFF: i64 = 500;

/// One service's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skew {
    /// Host and port of the service.
    pub host: String,
    /// How much later it is there than here, milliseconds.
    pub millis: i64,
}

/// What was seen of the services' clocks.
#[derive(Clone)]
pub struct Dates {
    clock: Arc<dyn Clock>,
    /// By host: round trip and skew of the quickest answer, milliseconds.
    seen: Arc<Mutex<BTreeMap<String, (i64, i64)>>>,
}

impl fmt::Debug for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dates")
    }
}

impl Dates {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            seen: Arc::default(),
        }
    }

    /// A client that does what `http` does, and is watched.
    #[must_use]
    pub fn watch(&self, http: SharedHttpClient) -> SharedHttpClient {
        let dates = self.clone();
        http_client_fn(move |settings, components| {
            SharedHttpConnector::new(Watched {
                inner: http.http_connector(settings, components),
                dates: dates.clone(),
            })
        })
    }

    /// The services that answered with a date.
    #[must_use]
    pub fn skews(&self) -> Vec<Skew> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .map(|(host, (_, millis))| Skew {
                host: host.clone(),
                millis: *millis,
            })
            .collect()
    }

    fn note(&self, host: String, date: &str, sent: i64, received: i64) {
        let Ok(date) = DateTime::from_str(date, Format::HttpDate) else {
            return;
        };
        let round_trip = received.saturating_sub(sent).max(0);
        let service = date.secs().saturating_mul(1000).saturating_add(CUT_OFF);
        let skew = service.saturating_sub(sent.saturating_add(round_trip / 2));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let best = seen.entry(host).or_insert((round_trip, skew));
        if round_trip < best.0 {
            *best = (round_trip, skew);
        }
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    dates: Dates,
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: http::Uri = request.uri().parse().unwrap_or_default();
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let dates = self.dates.clone();
        let sent = dates.clock.wall_millis();
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let response = answer.await?;
            if let Some(date) = response.headers().get("date") {
                dates.note(host, date, sent, dates.clock.wall_millis());
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock::SystemClock;

    #[test]
    fn the_quickest_answer_tells_the_skew() {
        let dates = Dates::new(Arc::new(SystemClock::new()));
        let noon = 1_715_774_400_000; // 2024-05-15T12:00:00Z
        let header = "Wed, 15 May 2024 12:01:30 GMT";
        dates.note("a".to_owned(), header, noon, noon + 4000);
        dates.note("a".to_owned(), header, noon, noon + 1000);
        dates.note("a".to_owned(), header, noon, noon + 2000);
        dates.note("b".to_owned(), "yesterday", noon, noon);
        assert_eq!(
            dates.skews(),
            [Skew {
                host: "a".to_owned(),
                millis: 90_000
            }]
        );
    }
}

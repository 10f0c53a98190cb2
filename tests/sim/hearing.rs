//! The errors that are logged on this thread: what a world's workers tell people.
//!
//! One subscriber serves all tests, as those of several would get in each other's way; where nobody
//! listens, an event costs next to nothing.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

thread_local! {
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Ear;

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                let mut line = Line::default();
                event.record(&mut line);
                heard.push(line.0);
            }
        });
    }
}

/// An event as one line.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}

/// Does something, and gives the errors that were logged meanwhile beside what came of it.
pub fn errors_of<T>(live: impl FnOnce() -> T) -> (T, Vec<String>) {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Ear.with_filter(LevelFilter::ERROR));
        tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
    });
    HEARD.set(Some(Vec::new()));
    let result = live();
    (result, HEARD.take().unwrap_or_default())
}

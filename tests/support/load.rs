//! Records put steadily in the background.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::aws::{Aws, Put, padded};
use super::properties::Endpoints;

/// Pause between two rounds.
const EVERY: Duration = Duration::from_millis(100);

/// Puts some records into every part of the hash space ten times a second, until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    puts: Arc<Mutex<Vec<Put>>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// One record per round for each of `places` equal parts of the hash space. With as many places as
    /// shards, and shards of equal size, each shard gets one.
    pub fn start(endpoints: &Endpoints, stream: &str, places: u32) -> Self {
        Self::sized(endpoints, stream, places, 0)
    }

    /// As [`Self::start`], with records of so many bytes.
    pub fn sized(endpoints: &Endpoints, stream: &str, places: u32, bytes: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let puts = Arc::new(Mutex::new(Vec::new()));
        let (stopped, done) = (Arc::clone(&stop), Arc::clone(&puts));
        let (endpoints, stream) = (endpoints.clone(), stream.to_owned());
        let thread = std::thread::spawn(move || {
            let aws = Aws::at(&endpoints);
            let mut round = 0;
            while !stopped.load(Ordering::Relaxed) {
                let step = u128::MAX / u128::from(places);
                let records: Vec<(String, u128)> = (0..places)
                    .map(|place| {
                        (
                            padded(&format!("load-{round}-{place}"), bytes),
                            step * u128::from(place) + step / 2,
                        )
                    })
                    .collect();
                round += 1;
                // What was not acknowledged may be in the stream or not: nobody asks for it.
                if let Ok(put) = aws.put_at(&stream, &records) {
                    done.lock().expect("not poisoned").extend(put);
                }
                std::thread::sleep(EVERY);
            }
        });
        Self {
            stop,
            puts,
            thread: Some(thread),
        }
    }

    /// Stops; gives what was acknowledged.
    pub fn stop(mut self) -> Vec<Put> {
        self.end();
        std::mem::take(&mut self.puts.lock().expect("not poisoned"))
    }

    /// Stops; gives the ids of what was acknowledged.
    pub fn stop_ids(self) -> Vec<String> {
        self.stop().into_iter().map(|put| put.id).collect()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the load failed");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A failing test may have left the services stopped, so nobody waits for the thread.
        self.stop.store(true, Ordering::Relaxed);
    }
}

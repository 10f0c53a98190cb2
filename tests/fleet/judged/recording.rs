//! What daemons ask of DynamoDB and what they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use kcl_daemon::core::ids::LeaseKey;
use kcl_daemon::core::lease::LeaseDeletion;
use serde_json::Value;

use super::super::support::fake_http::{Answer as HttpAnswer, FakeHttp, Request, forward};
use super::super::support::now_micros;
use super::super::trace::{Answer, Event, Op, ProcessInfo, ProcessNumber, Row, What};
use super::super::world::{Kind, Time};
use super::rows::{lease, update};

#[derive(Default)]
struct State {
    processes: Vec<ProcessInfo>,
    pids: BTreeMap<u32, ProcessNumber>,
    rows: BTreeMap<LeaseKey, Arc<Row>>,
    events: Vec<Event>,
    calls: u64,
    endpoints: Vec<FakeHttp>,
}

/// The record.
pub struct Recording {
    target: String,
    began: i64,
    state: Mutex<State>,
    /// Held while a write is under way, so that writes are recorded in their order.
    one_write: Mutex<()>,
}

/// The body of an answer, if it is a good one.
fn good(answer: &HttpAnswer) -> Option<Value> {
    match answer {
        HttpAnswer::With(200, _, body) => serde_json::from_slice(body).ok(),
        _ => None,
    }
}

fn row(item: &Value) -> Option<Arc<Row>> {
    lease(item).map(Row::lease).map(Arc::new)
}

impl Recording {
    pub fn new(dynamodb: &str) -> Arc<Self> {
        Arc::new(Self {
            target: dynamodb.trim_start_matches("http://").to_owned(),
            began: now_micros(),
            state: Mutex::default(),
            one_write: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// A moment, microseconds since the epoch, in the time of the trace.
    pub fn time(&self, micros: i64) -> Time {
        Time::try_from(micros - self.began).unwrap_or(0)
    }

    /// A process that is about to start, and where it reaches DynamoDB.
    pub fn process(self: &Arc<Self>, worker: &str) -> (ProcessNumber, String) {
        let mut state = self.state();
        let number = ProcessNumber::try_from(state.processes.len()).expect("few processes");
        state.processes.push(ProcessInfo {
            name: worker.to_owned(),
            kind: Kind::Ours,
        });
        let recording = Arc::clone(self);
        let endpoint = FakeHttp::start(move |request| recording.pass(number, request));
        let url = endpoint.endpoint();
        state.endpoints.push(endpoint);
        drop(state);
        self.note(Some(number), What::Started);
        (number, url)
    }

    pub fn has_pid(&self, process: ProcessNumber, pid: u32) {
        self.state().pids.insert(pid, process);
    }

    pub fn of_pid(&self, pid: u32) -> Option<ProcessNumber> {
        self.state().pids.get(&pid).copied()
    }

    pub fn processes(&self) -> Vec<ProcessInfo> {
        self.state().processes.clone()
    }

    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Notes something that happens now.
    pub fn note(&self, by: Option<ProcessNumber>, what: What) {
        let at = self.time(now_micros());
        self.note_at(at, by, what);
    }

    fn note_at(&self, at: Time, by: Option<ProcessNumber>, what: What) {
        let local = at;
        self.state().events.push(Event {
            at,
            local,
            by,
            what,
        });
    }

    fn pass(&self, process: ProcessNumber, request: &Request) -> HttpAnswer {
        let writes = matches!(request.operation(), "UpdateItem" | "PutItem" | "DeleteItem");
        let turn = writes.then(|| self.one_write.lock().expect("not poisoned"));
        let sent = self.time(now_micros());
        let answer = forward(&self.target, request)
            .unwrap_or_else(|error| HttpAnswer::text(502, &error.to_string()));
        if let Some(body) = good(&answer)
            && let Ok(asked) = serde_json::from_slice(&request.body)
        {
            self.record(process, sent, request.operation(), &asked, &body);
        }
        drop(turn);
        answer
    }

    fn record(
        &self,
        process: ProcessNumber,
        sent: Time,
        operation: &str,
        asked: &Value,
        body: &Value,
    ) {
        let row_of = |key: &Value| {
            let key = LeaseKey::new(key["leaseKey"]["S"].as_str().unwrap_or_default());
            let known = self.state().rows.get(&key).cloned();
            (key, known)
        };
        let (op, written, answer) = match operation {
            "Scan" => {
                let items = body["Items"].as_array().into_iter().flatten();
                let rows = items.filter_map(row).collect();
                (Op::Scan, None, Answer::Rows(rows))
            }
            "GetItem" => {
                let (key, _) = row_of(&asked["Key"]);
                (Op::Get(key, true), None, Answer::Row(row(&body["Item"])))
            }
            "PutItem" => {
                let Some(new) = row(&asked["Item"]) else {
                    return;
                };
                let op = Op::Create(Arc::clone(&new));
                (op, Some((None, Some(new))), Answer::Created(true))
            }
            "UpdateItem" => {
                let (_, before) = row_of(&asked["Key"]);
                let (Some(before), Some(after)) = (before, row(&body["Attributes"])) else {
                    return;
                };
                let (Some(was), Some(is)) = (before.as_lease(), after.as_lease()) else {
                    return;
                };
                let op = Op::Update(update(asked, was, is));
                let answer = Answer::Applied(Arc::clone(&after));
                (op, Some((Some(before), Some(after))), answer)
            }
            "DeleteItem" => {
                let (key, before) = row_of(&asked["Key"]);
                let Some(lease) = before.as_ref().and_then(|row| row.as_lease()) else {
                    return;
                };
                let deletion = LeaseDeletion {
                    key,
                    counter: lease.counter,
                    checkpoint: lease.checkpoint.clone(),
                };
                (
                    Op::Delete(deletion),
                    Some((before, None)),
                    Answer::Deleted(true),
                )
            }
            _ => return,
        };
        let now = self.time(now_micros());
        let call = {
            let mut state = self.state();
            state.calls += 1;
            if let Some((before, after)) = &written {
                match (before, after) {
                    (_, Some(row)) => {
                        state.rows.insert(row.key().clone(), Arc::clone(row));
                    }
                    (Some(row), None) => {
                        state.rows.remove(row.key());
                    }
                    (None, None) => {}
                }
            }
            state.calls
        };
        self.note_at(sent, Some(process), What::Sent { call, op });
        if let Some((before, after)) = written {
            let what = What::Applied {
                call,
                before,
                after,
            };
            self.note_at(now, Some(process), what);
        }
        self.note_at(now, Some(process), What::Answered { call, answer });
    }
}

//! A small HTTP/1.1 service made of a function, on a loopback port; it keeps what it was asked.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    /// The operation of a JSON service (`GetRecords`).
    pub fn operation(&self) -> &str {
        self.header("x-amz-target")
            .rsplit('.')
            .next()
            .unwrap_or_default()
    }

    /// The access key that signed it, empty if nobody did.
    pub fn access_key(&self) -> &str {
        self.header("authorization")
            .split_once("Credential=")
            .and_then(|(_, rest)| rest.split('/').next())
            .unwrap_or_default()
    }

    /// The region it was signed for.
    pub fn signing_region(&self) -> &str {
        self.header("authorization")
            .split_once("Credential=")
            .and_then(|(_, rest)| rest.split('/').nth(2))
            .unwrap_or_default()
    }

    /// A field of a form, decoded as far as ASCII goes.
    pub fn form(&self, name: &str) -> String {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let value = body
            .split('&')
            .find_map(|field| field.strip_prefix(&format!("{name}=")))
            .unwrap_or_default();
        let mut bytes = Vec::new();
        let mut rest = value.bytes();
        while let Some(byte) = rest.next() {
            let hex = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
            match byte {
                b'%' => {
                    let (high, low) = (rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0'));
                    bytes.push(hex(high) * 16 + hex(low));
                }
                b'+' => bytes.push(b' '),
                byte => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What the service says.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Status, headers, body.
    With(u16, Vec<(String, String)>, Vec<u8>),
    /// Nothing: the connection stays open.
    Never,
    /// A body without a known length, handed on as it comes.
    Streamed(Vec<(String, String)>, Arc<Mutex<BufReader<TcpStream>>>),
}

impl Answer {
    /// JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::With(status, Vec::new(), body.to_string().into_bytes())
            .header("content-type", "application/json")
    }

    /// Other text.
    pub fn text(status: u16, body: &str) -> Self {
        Self::With(status, Vec::new(), body.as_bytes().to_vec()).header("content-type", "text/xml")
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::With(_, headers, _) = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// The service. Its threads end with the test's process.
pub struct FakeHttp {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl FakeHttp {
    /// Starts one.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                std::thread::spawn(move || serve(&stream, &*handler, &log));
            }
        });
        Self { port, seen }
    }

    /// One that hands everything on to another service and keeps what it saw.
    pub fn recording(target: &str) -> Self {
        let target = target.trim_start_matches("http://").to_owned();
        Self::start(move |request| {
            forward(&target, request).unwrap_or_else(|error| Answer::text(502, &error.to_string()))
        })
    }

    /// Its URL, without a slash at the end.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

fn serve(stream: &TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = read(&mut reader) {
        let answer = handler(&request);
        log.lock().expect("not poisoned").push(request);
        let (status, headers, body) = match answer {
            Answer::With(status, headers, body) => (status, headers, body),
            Answer::Never => {
                // Until the other side goes away.
                let _ = io::copy(&mut reader, &mut io::sink());
                return;
            }
            Answer::Streamed(headers, body) => {
                let mut head = "HTTP/1.1 200 x\r\n".to_owned();
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                let mut out = stream;
                if out.write_all(head.as_bytes()).is_ok() {
                    let _ = io::copy(&mut *body.lock().expect("not poisoned"), &mut out);
                }
                return;
            }
        };
        let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut out = stream;
        if out.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn line(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// First line, headers and body; `None` at the end of the connection.
fn read(reader: &mut impl io::BufRead) -> io::Result<Option<Request>> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let headers = read_headers(reader)?;
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: Vec::new(),
    };
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn read_headers(reader: &mut impl io::BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let text = line(reader)?;
        let Some((name, value)) = text.split_once(':') else {
            return Ok(headers);
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Hands a request on to another service.
pub fn forward(target: &str, request: &Request) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), &request.body].concat())?;
    let mut reader = BufReader::new(stream);
    let status = line(&mut reader)?
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let headers = read_headers(&mut reader)?;
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map_or(String::new(), |(_, value)| value.clone())
    };
    if header("transfer-encoding") == "chunked" {
        return Ok(Answer::Streamed(headers, Arc::new(Mutex::new(reader))));
    }
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Answer::With(status, Vec::new(), body).header("content-type", &header("content-type")))
}

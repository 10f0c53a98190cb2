//! A service on a loopback port that is made of a function.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// An answer: status, `Content-Type`, body, and the Date header if it should be a certain one.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
    pub date: Option<String>,
}

impl Answer {
    /// An error as Kinesis and DynamoDB give it.
    pub fn refusal(code: &str, message: &str) -> Self {
        Self {
            status: 400,
            kind: "application/x-amz-json-1.1",
            body: format!(r#"{{"__type":"{code}","message":"{message}"}}"#),
            date: None,
        }
    }

    /// An answer as STS and IAM give it.
    pub fn xml(status: u16, body: &str) -> Self {
        Self {
            status,
            kind: "text/xml",
            body: body.to_owned(),
            date: None,
        }
    }
}

/// Serves until the test ends; `answer` is given the operation and the body. Gives the URL.
pub fn serve(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || talk(connection, &*answer));
        }
    });
    format!("http://127.0.0.1:{port}")
}

/// Accepts connections and never answers. Gives the URL.
pub fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming().flatten() {
            held.push(connection);
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn talk(connection: TcpStream, answer: &dyn Fn(&str, &str) -> Answer) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut writer = connection;
    loop {
        let (mut length, mut target) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "x-amz-target" => value.trim().clone_into(&mut target),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body);
        // STS and IAM name the operation in the body.
        let operation = match target.rsplit_once('.') {
            Some((_, operation)) => operation,
            None => body
                .split('&')
                .find_map(|pair| pair.strip_prefix("Action="))
                .unwrap_or_default(),
        };
        let answer = answer(operation, &body);
        let date = answer
            .date
            .map(|date| format!("Date: {date}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: {}\r\n{date}Content-Length: {}\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        );
        writer.write_all((head + &answer.body).as_bytes()).ok()?;
    }
}

//! A web server on 127.0.0.1 that misbehaves as it is told: one behaviour for each request, in order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// What to do with one request.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// As one should: 206 for a range that fits, else 200.
    Serve,
    /// Names the right length and hangs up after so many bytes of the body.
    CutAfter(usize),
    /// Sends so many bytes of the body and then nothing, without hanging up.
    StallAfter(usize),
    /// Answers nothing at all.
    Silent,
    /// One bit of the body is wrong.
    Corrupt,
    /// 200 and all of it, whatever was asked for.
    IgnoreRange,
    /// 206 with a part that begins elsewhere.
    WrongPart,
    /// A body of this length is announced; the true one is sent.
    ClaimLength(usize),
    /// No length; the end of the connection is the end of the body, after so many bytes.
    Unannounced(usize),
    /// Endless zeros, without a length.
    Endless,
    /// This body instead of the file.
    Instead(Vec<u8>),
    /// Just this status line, such as `404 Not Found`.
    Status(&'static str),
    /// 416 with the file's length, as for a range that begins at its end.
    NothingLeft,
}

pub(super) struct TestServer {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
    address: std::net::SocketAddr,
}

impl TestServer {
    /// Serves `body` under every path, with this `ETag`; after the last behaviour every request is served well.
    pub(super) fn start(body: Vec<u8>, etag: &'static str, behaviours: Vec<Behaviour>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let thread = thread::spawn(move || {
            let mut behaviours = behaviours.into_iter();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let head = read_head(&stream);
                if head.is_empty() {
                    break;
                }
                seen.lock().unwrap().push(head.clone());
                let behaviour = behaviours.next().unwrap_or(Behaviour::Serve);
                // A client that has hung up is no fault of the server.
                let _ = answer(stream, &head, &body, etag, behaviour);
            }
        });
        Self { url: format!("http://{address}/data"), requests, thread: Some(thread), address }
    }

    /// The heads of all requests so far, in lower case.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // A connection without a request ends the server.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_head(stream: &TcpStream) -> String {
    let mut head = String::new();
    for line in BufReader::new(stream).lines() {
        match line {
            Ok(line) if !line.is_empty() => head.push_str(&format!("{}\n", line.to_lowercase())),
            _ => break,
        }
    }
    head
}

fn answer(
    mut stream: TcpStream,
    head: &str,
    body: &[u8],
    etag: &str,
    behaviour: Behaviour,
) -> std::io::Result<()> {
    let asked = asked_from(head, etag).filter(|&start| start < body.len());
    let (mut start, mut sent) = (asked.unwrap_or(0), body.to_vec());
    let mut announced = Some(body.len() - start);
    let mut ranged = asked.is_some();
    let mut limit = usize::MAX;
    let mut stalls = false;
    match behaviour {
        Behaviour::Serve => {}
        Behaviour::CutAfter(n_bytes) => limit = n_bytes,
        Behaviour::StallAfter(n_bytes) => (limit, stalls) = (n_bytes, true),
        Behaviour::Silent => return wait_for_the_end(&mut stream),
        Behaviour::Corrupt => {
            let middle = start + (sent.len() - start) / 2;
            sent[middle] ^= 1;
        }
        Behaviour::IgnoreRange => (start, ranged, announced) = (0, false, Some(body.len())),
        Behaviour::WrongPart => {
            let wrong = start.saturating_sub(7);
            return write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes {wrong}-{wrong}/{}\r\n\
                 Connection: close\r\n\r\nx",
                body.len()
            );
        }
        Behaviour::ClaimLength(n_bytes) => announced = Some(n_bytes),
        Behaviour::Unannounced(n_bytes) => (announced, limit) = (None, n_bytes),
        Behaviour::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[0; 4096])?;
            }
        }
        Behaviour::Instead(other) => {
            (start, ranged, announced, sent) = (0, false, Some(other.len()), other)
        }
        Behaviour::Status(status) => {
            return write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Behaviour::NothingLeft => {
            return write!(
                stream,
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
        }
    }
    let status = if ranged { "206 Partial Content" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nETag: {etag}\r\nConnection: close\r\n")?;
    if let Some(announced) = announced {
        write!(stream, "Content-Length: {announced}\r\n")?;
    }
    if ranged {
        write!(stream, "Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len())?;
    }
    stream.write_all(b"\r\n")?;
    let sent = &sent[start..];
    stream.write_all(&sent[..limit.min(sent.len())])?;
    if stalls { wait_for_the_end(&mut stream) } else { Ok(()) }
}

/// The start of the range asked for, if its `If-Range` still holds.
fn asked_from(head: &str, etag: &str) -> Option<usize> {
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if value("if-range:").is_some_and(|tag| tag != etag) {
        return None;
    }
    value("range:")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// Says nothing until the client hangs up.
fn wait_for_the_end(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream.take(u64::MAX), &mut std::io::sink()).map(drop)
}

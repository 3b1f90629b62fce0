//! A web server of a few lines for services that are not to be had here: it logs, and it dies when it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A request as the server got it.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: String,
    /// Path with query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.path.split_once('?')?.1.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Handler = dyn Fn(&Got) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    log: Mutex<Vec<String>>,
    /// Requests that are still answered before the server is dead.
    lives: AtomicUsize,
    /// Whether the request on which it dies is still carried out, though not answered.
    dies_late: AtomicBool,
    stopping: AtomicBool,
}

/// A running server on a port of its own.
pub(crate) struct Server {
    pub(crate) url: String,
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            log: Mutex::new(Vec::new()),
            lives: AtomicUsize::new(usize::MAX),
            dies_late: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.stopping.load(Ordering::SeqCst) {
                    break;
                }
                // A client that went away is the client's matter.
                let _ = stream.and_then(|stream| serve(&stream, &seen));
            }
        });
        Self { url: format!("http://{address}"), address, shared, thread: Some(thread) }
    }

    /// Answers this many requests more, then none; the one after them is carried out if `late`.
    pub(crate) fn die_after(&self, requests: usize, late: bool) {
        self.shared.dies_late.store(late, Ordering::SeqCst);
        self.shared.lives.store(requests, Ordering::SeqCst);
    }

    pub(crate) fn revive(&self) {
        self.shared.lives.store(usize::MAX, Ordering::SeqCst);
    }

    /// Method and path of all requests so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }

    pub(crate) fn forget_log(&self) {
        self.shared.log.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let got = read(stream)?;
    let alive = shared.lives.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lives| match lives {
        usize::MAX => Some(usize::MAX),
        lives => lives.checked_sub(1),
    });
    if alive.is_err() {
        if shared.dies_late.swap(false, Ordering::SeqCst) {
            (shared.handler)(&got);
        }
        return stream.shutdown(Shutdown::Both);
    }
    shared.log.lock().unwrap().push(format!("{} {}", got.method, got.path));
    let reply = (shared.handler)(&got);
    write!(
        stream,
        "HTTP/1.1 {} Status\r\nconnection: close\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    )?;
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    if got.method != "HEAD" {
        stream.write_all(&reply.body)?;
    }
    stream.flush()
}

fn read(stream: &TcpStream) -> std::io::Result<Got> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut got = Got { method, path, headers, body: Vec::new() };
    let length = got.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    assert!(got.header("transfer-encoding").is_none(), "every request must state its length");
    reader.take(length).read_to_end(&mut got.body)?;
    Ok(got)
}

//! A file server on a free port of this machine, for clients that speak HTTP: what a mirror is, with nothing around it.
//!
//! It answers `GET` and `HEAD` for files below one folder, without ranges and one request per connection.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// Longest time that a client may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Most bytes of a request.
const MAX_REQUEST_BYTES: u64 = 16 << 10;

/// A server that serves until the process ends; it holds nothing but a thread and a port.
#[derive(Debug)]
pub struct FileServer {
    url: String,
}

impl FileServer {
    /// Serves the files below a folder on 127.0.0.1.
    ///
    /// # Errors
    ///
    /// There is no free port.
    pub fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let folder = folder.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let folder = folder.clone();
                // A client that goes away in the middle is the client's affair.
                thread::spawn(move || drop(answer(&folder, &client)));
            }
        });
        Ok(Self { url })
    }

    /// Address of the folder, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn answer(folder: &Path, client: &TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(SILENCE))?;
    client.set_write_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(io::Read::take(client, MAX_REQUEST_BYTES)).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let file = place(folder, target).and_then(|path| File::open(path).ok());
    let size = file.as_ref().and_then(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file);
    let mut client = client;
    match (method, file, size) {
        ("GET" | "HEAD", Some(mut file), Some(metadata)) => {
            write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", metadata.len())?;
            if method == "GET" {
                io::copy(&mut file, &mut client)?;
            }
            Ok(())
        }
        _ => write!(client, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

/// The file that a request means; none if it could be outside of the folder.
fn place(folder: &Path, target: &str) -> Option<PathBuf> {
    let target = decode(target.split('?').next()?.strip_prefix('/')?)?;
    let inside = Path::new(&target).components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| folder.join(target))
}

/// Undoes `%XX`, which clients write for `+` and `~`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

//! A proxy that spoils what passes: it speaks just enough HTTP to pass requests on, one connection each, and to change answers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What it does to answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Passes them on slowly.
    Slow,
    /// Answers 503 so many times before it passes a request on.
    Storm(u64),
    /// Breaks off in the middle of every body of a blob.
    Cut,
    /// Changes a byte of every blob.
    Flip,
    /// Answers 500 always.
    Always500,
}

/// A proxy before a server, until it is dropped.
pub struct Proxy {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Proxy {
    /// Before the server at `endpoint` (`http://host:port`).
    pub fn start(endpoint: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let (server, ended, count) =
            (endpoint.trim_start_matches("http://").to_owned(), Arc::clone(&over), Arc::new(AtomicU64::new(0)));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (server, count) = (server.clone(), Arc::clone(&count));
                // What breaks off is what the test is about.
                std::thread::spawn(move || client.and_then(|client| pass(client, &server, fault, &count)));
            }
        });
        Self { port, over }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut client: TcpStream, server: &str, fault: Fault, count: &AtomicU64) -> io::Result<()> {
    let (head, mut body) = head_of(&mut client)?;
    let text = String::from_utf8_lossy(&head).into_owned();
    let length = length_of(&text).unwrap_or(0);
    while body.len() < length {
        let mut more = [0; 65536];
        let read = client.read(&mut more)?;
        if read == 0 {
            return Ok(());
        }
        body.extend_from_slice(&more[..read]);
    }
    let turn = count.fetch_add(1, Ordering::Relaxed);
    let refuse = match fault {
        Fault::Storm(times) => turn % (times + 1) < times,
        Fault::Always500 => true,
        _ => false,
    };
    if refuse {
        let status = if fault == Fault::Always500 { "500 Internal Server Error" } else { "503 Slow Down" };
        return client
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
    }
    // The signature covers the host's name, so that stays; what it says of keeping the connection does not.
    let head: String = text
        .split("\r\n")
        .filter(|line| !line.to_lowercase().starts_with("connection:") && !line.is_empty())
        .map(|line| format!("{line}\r\n"))
        .collect();
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    let is_blob = text.starts_with("GET ") && text.contains("/blobs/");
    match fault {
        Fault::Flip if is_blob => {
            let last = answer.len() - 1;
            answer[last] ^= 1;
        }
        Fault::Cut if is_blob => answer.truncate(answer.len() / 2),
        _ => {}
    }
    let pause = if fault == Fault::Slow { Duration::from_millis(50) } else { Duration::ZERO };
    for chunk in answer.chunks(65536) {
        client.write_all(chunk)?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn head_of(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((bytes, body));
        }
        let mut more = [0; 65536];
        let read = client.read(&mut more)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&more[..read]);
    }
}

fn length_of(head: &str) -> Option<usize> {
    let line = head.split("\r\n").find(|line| line.to_lowercase().starts_with("content-length:"))?;
    line.split(':').nth(1)?.trim().parse().ok()
}

//! A client of the HTTP interface, without a runtime: one connection, one request at a time.
//!
//! A connection that the node closed in between is opened again, once. That is safe for every
//! request here: reading changes nothing, and a transaction that arrives twice counts once.

use crate::view::Problem;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Largest answer that is read, in bytes.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// Largest line of a head or of an event stream, in bytes. An event has a receipt for each
/// transaction of its block.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Headers of an answer, at most.
const HEADERS_MAX: usize = 100;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The text is no address.
    #[error("{0:?} is no address of a node; write host:port, such as 127.0.0.1:7200")]
    Address(String),
    /// Nobody listens there.
    #[error("cannot reach the node at {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The other end speaks something else.
    #[error("{address} does not answer like a node: {problem}")]
    Protocol {
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        problem: String,
    },
    /// The node says no.
    #[error("{} ({})", problem.message, problem.code)]
    Refused {
        /// Status of the answer.
        status: u16,
        /// Code and sentence.
        problem: Problem,
    },
}

impl ClientError {
    /// Whether another try may succeed: the node starts, stops or has too much to do.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Io { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 503),
            Self::Address(_) | Self::Protocol { .. } => false,
        }
    }

    /// The stable code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(&problem.code),
            _ => None,
        }
    }
}

/// Reads `host:port`, with or without `http://`.
pub fn parse_address(text: &str) -> Result<SocketAddr, ClientError> {
    let host = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    host.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| ClientError::Address(text.to_owned()))
}

/// A connection to one node.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

/// Where the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

struct Head {
    status: u16,
    framing: Framing,
    is_kept: bool,
}

impl Client {
    /// A client of the node at `address`. `timeout` is for the silence before an answer.
    pub fn new(address: SocketAddr, timeout: Duration) -> Self {
        Self {
            address,
            timeout,
            connection: None,
        }
    }

    /// The node's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks, and reads JSON.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let body = self.exchange("GET", path, None)?;
        self.decode(&body)
    }

    /// Asks, and reads text.
    pub fn get_text(&mut self, path: &str) -> Result<String, ClientError> {
        let body = self.exchange("GET", path, None)?;
        String::from_utf8(body).map_err(|_| self.protocol("the text is not UTF-8"))
    }

    /// Sends a body, and reads JSON.
    pub fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<T, ClientError> {
        let body = self.exchange("POST", path, Some((content_type, body)))?;
        self.decode(&body)
    }

    /// Opens a stream of server-sent events on a connection of its own.
    pub fn events(&self, path: &str) -> Result<EventStream, ClientError> {
        let client = Self::new(self.address, self.timeout);
        let mut connection = client.connect()?;
        client.send(&mut connection, "GET", path, None)?;
        let head = client.read_head(&mut connection)?;
        if head.status != 200 {
            let body = client.read_body(&mut connection, head.framing)?;
            return Err(client.refusal(head.status, &body));
        }
        if head.framing != Framing::Chunked {
            return Err(client.protocol("an event stream of fixed length"));
        }
        Ok(EventStream {
            address: self.address,
            connection,
            chunk: Vec::new(),
            position: 0,
            is_over: false,
        })
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Vec<u8>, ClientError> {
        let reused = self.connection.take();
        let is_reused = reused.is_some();
        let mut connection = match reused {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let head = match self.ask(&mut connection, method, path, body) {
            Ok(head) => head,
            // The node closed the connection while it was idle.
            Err(ClientError::Io { .. }) if is_reused => {
                connection = self.connect()?;
                self.ask(&mut connection, method, path, body)?
            }
            Err(error) => return Err(error),
        };
        let answer = self.read_body(&mut connection, head.framing)?;
        if head.is_kept {
            self.connection = Some(connection);
        }
        if (200..300).contains(&head.status) {
            Ok(answer)
        } else {
            Err(self.refusal(head.status, &answer))
        }
    }

    fn ask(
        &self,
        connection: &mut BufReader<TcpStream>,
        method: &str,
        path: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Head, ClientError> {
        self.send(connection, method, path, body)?;
        self.read_head(connection)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>, ClientError> {
        let error = |source| ClientError::Connect {
            address: self.address,
            source,
        };
        let stream = TcpStream::connect_timeout(&self.address, self.timeout).map_err(error)?;
        stream.set_nodelay(true).map_err(error)?;
        stream.set_read_timeout(Some(self.timeout)).map_err(error)?;
        stream
            .set_write_timeout(Some(self.timeout))
            .map_err(error)?;
        Ok(BufReader::with_capacity(64 << 10, stream))
    }

    fn send(
        &self,
        connection: &mut BufReader<TcpStream>,
        method: &str,
        path: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<(), ClientError> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\n",
            self.address
        );
        if let Some((content_type, bytes)) = body {
            request += &format!(
                "content-type: {content_type}\r\ncontent-length: {}\r\n",
                bytes.len()
            );
        }
        request += "\r\n";
        let mut bytes = request.into_bytes();
        if let Some((_, body)) = body {
            bytes.extend_from_slice(body);
        }
        connection
            .get_mut()
            .write_all(&bytes)
            .map_err(|source| self.io(source))
    }

    fn read_head(&self, connection: &mut BufReader<TcpStream>) -> Result<Head, ClientError> {
        let line = read_line(connection).map_err(|source| self.io(source))?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.protocol("no HTTP/1.1 status line"))?;
        let mut head = Head {
            status,
            framing: Framing::Length(0),
            is_kept: true,
        };
        for _ in 0..HEADERS_MAX {
            let line = read_line(connection).map_err(|source| self.io(source))?;
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| self.protocol("a header without a colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length = value
                    .parse()
                    .map_err(|_| self.protocol("a content-length that is no number"))?;
                head.framing = Framing::Length(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding")
                && value.eq_ignore_ascii_case("chunked")
            {
                head.framing = Framing::Chunked;
            } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
            {
                head.is_kept = false;
            }
        }
        Err(self.protocol("too many headers"))
    }

    fn read_body(
        &self,
        connection: &mut BufReader<TcpStream>,
        framing: Framing,
    ) -> Result<Vec<u8>, ClientError> {
        let too_long = || self.protocol("an answer that is too long");
        match framing {
            Framing::Length(length) if length > BODY_BYTES_MAX => Err(too_long()),
            Framing::Length(length) => {
                let mut body = Vec::new();
                let read = connection
                    .by_ref()
                    .take(length)
                    .read_to_end(&mut body)
                    .map_err(|source| self.io(source))?;
                if read as u64 == length {
                    Ok(body)
                } else {
                    Err(self.io(io::ErrorKind::UnexpectedEof.into()))
                }
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                while let Some(chunk) = read_chunk(connection).map_err(|source| self.io(source))? {
                    if (body.len() + chunk.len()) as u64 > BODY_BYTES_MAX {
                        return Err(too_long());
                    }
                    body.extend_from_slice(&chunk);
                }
                Ok(body)
            }
        }
    }

    fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body)
            .map_err(|error| self.protocol(&format!("unexpected JSON: {error}")))
    }

    fn refusal(&self, status: u16, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(problem) => ClientError::Refused { status, problem },
            Err(_) => self.protocol(&format!("status {status} without a reason")),
        }
    }

    fn io(&self, source: io::Error) -> ClientError {
        ClientError::Io {
            address: self.address,
            source,
        }
    }

    fn protocol(&self, problem: &str) -> ClientError {
        ClientError::Protocol {
            address: self.address,
            problem: problem.to_owned(),
        }
    }
}

/// One line without its end.
fn read_line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    connection
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The next chunk of a chunked body; `None` after the last.
fn read_chunk(connection: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let line = read_line(connection)?;
    let digits = line.split(';').next().unwrap_or("").trim();
    let length = u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
    if length > BODY_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut chunk = Vec::new();
    let read = connection.by_ref().take(length).read_to_end(&mut chunk)?;
    if read as u64 != length || !read_line(connection)?.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((length > 0).then_some(chunk))
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct EventStream {
    address: SocketAddr,
    connection: BufReader<TcpStream>,
    chunk: Vec<u8>,
    position: usize,
    is_over: bool,
}

impl EventStream {
    /// Waits for the next event. `None` when the node ends the stream. The node shows every few
    /// seconds that it lives, so a long silence is an error.
    pub fn receive(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        let mut event = ServerEvent {
            name: String::new(),
            data: String::new(),
        };
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if line.is_empty() {
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
                event.name.clear();
            } else if let Some(name) = line.strip_prefix("event:") {
                name.trim_start().clone_into(&mut event.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                event.data += data.trim_start();
            }
            // Comments, ids and pauses say nothing here.
        }
    }

    /// The next line of the stream, across chunks.
    fn line(&mut self) -> Result<Option<String>, ClientError> {
        let mut line = Vec::new();
        loop {
            let rest = &self.chunk[self.position..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&rest[..end]);
                self.position += end + 1;
                let text = String::from_utf8(line);
                return text.map(Some).map_err(|_| ClientError::Protocol {
                    address: self.address,
                    problem: "an event that is not UTF-8".to_owned(),
                });
            }
            line.extend_from_slice(rest);
            if self.is_over {
                return Ok(None);
            }
            if line.len() as u64 > LINE_BYTES_MAX {
                return Err(ClientError::Protocol {
                    address: self.address,
                    problem: "an event that is too long".to_owned(),
                });
            }
            self.position = 0;
            self.chunk = match read_chunk(&mut self.connection) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    self.is_over = true;
                    Vec::new()
                }
                Err(source) => {
                    return Err(ClientError::Io {
                        address: self.address,
                        source,
                    });
                }
            };
        }
    }
}

//! HTTP/1.1 on a socket, with nothing corrected.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::fields::Fields;

/// A start line and the fields after it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClosed,
}

impl Framing {
    /// Of a request.
    pub(crate) fn of_request(fields: &Fields) -> Self {
        Self::announced(fields).unwrap_or(Self::Length(0))
    }

    /// Of a response that may have a body.
    pub(crate) fn of_response(fields: &Fields) -> Self {
        Self::announced(fields).unwrap_or(Self::UntilClosed)
    }

    fn announced(fields: &Fields) -> Option<Self> {
        if fields.lists("transfer-encoding", "chunked") {
            Some(Self::Chunked)
        } else if fields.has("transfer-encoding") {
            Some(Self::UntilClosed)
        } else {
            let length = fields.number("content-length")?;
            Some(Self::Length(length.try_into().unwrap_or_default()))
        }
    }
}

impl Head {
    /// The bytes on the wire.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in self.fields.iter() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.chars()
            .map(|character| u8::try_from(character).unwrap_or(b'?'))
            .collect()
    }

    /// The words of the start line.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.start.split(' ')
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes).await
    }

    /// Whether nothing more can be asked for on it: the other side closed it, or said too much.
    pub(crate) async fn is_spent(&mut self) -> bool {
        poll_fn(|cx| {
            let reading = std::pin::pin!(self.stream.fill_buf());
            Poll::Ready(reading.poll(cx).is_ready())
        })
        .await
    }

    /// The next head; `None`: the connection was closed.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(start) = self.line().await? else {
            return Ok(None);
        };
        let mut fields = Fields::default();
        loop {
            let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(Some(Head { start, fields }));
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            fields.push(name, value.trim());
        }
    }

    /// The body after a head.
    pub(crate) async fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        match framing {
            Framing::Length(length) => self.exactly(length, &mut body).await?,
            Framing::UntilClosed => {
                self.stream.read_to_end(&mut body).await?;
            }
            Framing::Chunked => loop {
                let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
                if size == 0 {
                    break;
                }
                self.exactly(size, &mut body).await?;
                self.line().await?;
            },
        }
        if framing == Framing::Chunked {
            while self
                .line()
                .await?
                .is_some_and(|trailer| !trailer.is_empty())
            {}
        }
        Ok(body)
    }

    async fn exactly(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let read = (&mut self.stream).take(length).read_to_end(body).await?;
        if read as u64 == length {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// The next line; `None`: there is none.
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        let Some(line) = line.strip_suffix(b"\n") else {
            return if line.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(line.iter().copied().map(char::from).collect()))
    }
}

//! The client: one connection, nothing cached, followed, decoded or repeated.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::fields::Fields;
use crate::message::{Framing, Head, Wire};

#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    wire: Option<Wire>,
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: String,
    pub(crate) fields: Fields,
    pub(crate) body: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) interim: Vec<(u16, Fields)>,
    pub(crate) fields: Fields,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            wire: None,
        }
    }

    /// Sends a request, and reads the response to its end.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> io::Result<Response> {
        let mut wire = self.connect().await?;
        let method = request.method;
        let (head, body) = request.encode(self.address);
        wire.write(&[head.encode(), body].concat()).await?;
        let mut interim = Vec::new();
        let (status, fields) = loop {
            let head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = head.words().nth(1).and_then(|code| code.parse().ok());
            match status.ok_or(io::ErrorKind::InvalidData)? {
                status @ 100..=199 => interim.push((status, head.fields)),
                status => break (status, head.fields),
            }
        };
        let framing = match status {
            204 | 304 => Framing::Length(0),
            _ if method == "HEAD" => Framing::Length(0),
            _ => Framing::of_response(&fields),
        };
        let body = wire.body(framing).await?;
        if framing != Framing::UntilClosed && !fields.lists("connection", "close") {
            self.wire = Some(wire);
        }
        Ok(Response {
            status,
            interim,
            fields,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// The connection of the request before, if it can be used once more.
    async fn connect(&mut self) -> io::Result<Wire> {
        if let Some(mut wire) = self.wire.take()
            && !wire.is_spent().await
        {
            return Ok(wire);
        }
        Wire::new(TcpStream::connect(self.address).await?)
    }
}

impl Request<'_> {
    fn encode(self, address: SocketAddr) -> (Head, Vec<u8>) {
        let mut fields = self.fields;
        let encoding = match fields.has("range") {
            true => "identity",
            false => "gzip, deflate",
        };
        fields.push_missing("Accept", "*/*");
        fields.push_missing("Accept-Language", "*");
        fields.push_missing("User-Agent", "conformance");
        fields.push_missing("Accept-Encoding", encoding);
        fields.push_missing("Host", address.to_string());
        if let Some(body) = &self.body {
            fields.push_missing("Content-Type", "text/plain;charset=UTF-8");
            fields.push_missing("Content-Length", body.len().to_string());
        }
        let start = format!("{} {} HTTP/1.1", self.method, self.target);
        let body = self.body.unwrap_or_default().into_bytes();
        (Head { start, fields }, body)
    }
}

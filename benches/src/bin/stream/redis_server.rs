//! Redis, and a slow way to it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_redis::EmbeddedRedis;
use redis::{Client, cmd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

/// A server of our own.
pub(crate) struct Redis {
    server: EmbeddedRedis,
    client: Client,
    relay: PathBuf,
    _directory: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Result<Self, Box<dyn Error>> {
        let server = EmbeddedRedis::start().await?;
        let client = Client::open(server.url())?;
        let directory = tempfile::tempdir()?;
        let relay = directory.path().join("relay.sock");
        tokio::spawn(relaying(
            UnixListener::bind(&relay)?,
            server.socket().to_owned(),
        ));
        Ok(Self {
            server,
            client,
            relay,
            _directory: directory,
        })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// The same server, at a megabyte or two a second.
    pub(crate) fn slow_url(&self) -> String {
        format!("redis+unix://{}", self.relay.display())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<(), Box<dyn Error>> {
        let mut connection = self.client.get_connection()?;
        Ok(cmd("FLUSHALL").arg("SYNC").exec(&mut connection)?)
    }
}

/// Passes on what clients say, slowly, and what the server says.
async fn relaying(listener: UnixListener, server: PathBuf) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let server = connect(&server).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(pass_on(from_client, to_server, SLOW));
        tokio::spawn(pass_on(from_server, to_client, Duration::ZERO));
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pause: Duration) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        // What is small is no slower, so that it is still known that nothing is stored.
        if length == buffer.len() && !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// After each 16 KiB.
const SLOW: Duration = Duration::from_millis(10);

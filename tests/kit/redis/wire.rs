//! What is between a client and a server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// A TCP proxy on the loopback interface, which counts what passes, and can be slow, or break.
///
/// It belongs to the runtime in which it was started, and goes away with its connections when it is
/// dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    _connections: JoinSet<()>,
}

/// What has passed a [`Wire`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// How many connections were accepted.
    pub connections: u64,
    /// From clients to the server.
    pub to_server: Flow,
    /// From the server to clients.
    pub to_client: Flow,
}

/// What has passed in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flow {
    /// How many bytes.
    pub bytes: u64,
    /// In how many pieces they came, where each is what was there when it was looked for.
    pub packets: u64,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    passed: Mutex<Passed>,
}

#[derive(Debug, Clone, Default)]
struct State {
    delay_to_server: Duration,
    delay_to_client: Duration,
    bytes_per_second: Option<u64>,
    is_partitioned: bool,
    is_refusing: bool,
    is_listening: bool,
    resets: u64,
}

#[derive(Debug, Default)]
struct Passed {
    traffic: Traffic,
    /// After how many bytes to a client its connection is reset.
    cut: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Wire {
    /// A wire to the server at this address, which has no faults so far.
    ///
    /// # Panics
    ///
    /// Where no socket can be opened.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port on the loopback interface");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State {
                is_listening: true,
                ..State::default()
            }),
            passed: Mutex::default(),
        });
        let mut connections = JoinSet::new();
        connections.spawn(listen(listener, server, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _connections: connections,
        }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed, since it was started or [`reset_traffic`](Self::reset_traffic).
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.passed().traffic
    }

    /// Counts from zero again.
    pub fn reset_traffic(&self) {
        self.shared.passed().traffic = Traffic::default();
    }

    /// From now on, everything takes so much longer in each direction.
    pub fn delay(&self, to_server: Duration, to_client: Duration) {
        self.set(|state| {
            state.delay_to_server = to_server;
            state.delay_to_client = to_client;
        });
    }

    /// From now on, no more passes per second in each direction of a connection.
    pub fn limit(&self, bytes_per_second: u64) {
        self.set(|state| state.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// From now on, nothing passes and nobody is told: connections stay, and new ones are accepted.
    pub fn partition(&self) {
        self.set(|state| state.is_partitioned = true);
    }

    /// Resets the connection that gets the last of the next bytes to clients, so many, in the
    /// middle of what it is told. Once.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.passed().cut = Some(bytes);
    }

    /// Resets all connections. New ones are accepted.
    pub fn reset(&self) {
        self.set(|state| state.resets += 1);
    }

    /// From now on, refuses new connections, until it is [healed](Self::heal).
    pub async fn refuse(&self) {
        self.set(|state| state.is_refusing = true);
        self.listens(false).await;
    }

    /// Takes back all faults. What a partition has held back passes now.
    pub async fn heal(&self) {
        self.shared.passed().cut = None;
        self.set(|state| {
            *state = State {
                is_listening: state.is_listening,
                resets: state.resets,
                ..State::default()
            };
        });
        self.listens(true).await;
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.shared.state.send_modify(change);
    }

    async fn listens(&self, does: bool) {
        let mut states = self.shared.state.subscribe();
        states
            .wait_for(|state| state.is_listening == does)
            .await
            .expect("the state lives as long as the wire");
    }
}

impl Shared {
    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is(&self, wanted: impl FnMut(&State) -> bool) -> State {
        let mut states = self.state.subscribe();
        let state = states.wait_for(wanted).await;
        state.expect("the sender is in here").clone()
    }
}

impl State {
    fn delay(&self, direction: Direction) -> Duration {
        match direction {
            Direction::ToServer => self.delay_to_server,
            Direction::ToClient => self.delay_to_client,
        }
    }
}

impl Passed {
    /// Counts a packet, and says how much of it is let through, and whether that was the last.
    fn pass(&mut self, direction: Direction, length: usize) -> (usize, bool) {
        let (flow, cut) = match direction {
            Direction::ToServer => (&mut self.traffic.to_server, None),
            Direction::ToClient => (&mut self.traffic.to_client, self.cut.as_mut()),
        };
        let mut through = length as u64;
        let mut is_last = false;
        if let Some(cut) = cut {
            through = through.min(*cut);
            *cut -= through;
            is_last = *cut == 0;
        }
        if is_last {
            self.cut = None;
        }
        flow.bytes += through;
        flow.packets += 1;
        (
            usize::try_from(through).expect("no more than came"),
            is_last,
        )
    }
}

async fn listen(mut listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    let address = listener.local_addr().expect("a bound socket");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    shared.passed().traffic.connections += 1;
                    connections.spawn(connect(client, server, Arc::clone(&shared)));
                }
            }
            _ = shared.is(|state| state.is_refusing) => {
                drop(listener);
                shared.state.send_modify(|state| state.is_listening = false);
                shared.is(|state| !state.is_refusing).await;
                listener = bind(address).await;
                shared.state.send_modify(|state| state.is_listening = true);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A client may have the port for its own end of another connection.
async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn connect(mut client: TcpStream, server: SocketAddr, shared: Arc<Shared>) {
    let resets = shared.state.borrow().resets;
    let Ok(mut server) = TcpStream::connect(server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let passed = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                pump(from_client, to_server, Direction::ToServer, &shared),
                pump(from_server, to_client, Direction::ToClient, &shared),
            )
        };
        tokio::select! {
            passed = both => passed.map(drop),
            _ = shared.is(|state| state.resets != resets) => Err(reset()),
        }
    };
    if passed.is_err() {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Until the one end is at its end, or the other is gone.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    shared: &Shared,
) -> io::Result<()> {
    let (sender, mut packets) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let due = Instant::now() + shared.state.borrow().delay(direction);
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, packet)) = packets.recv().await {
            sleep_until(due).await;
            shared.is(|state| !state.is_partitioned).await;
            let (through, is_last) = shared.passed().pass(direction, packet.len());
            write_slowly(&mut to, &packet[..through], shared).await?;
            if is_last {
                return Err(reset());
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}

async fn write_slowly(
    to: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    shared: &Shared,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let state = shared.is(|state| !state.is_partitioned).await;
        let Some(rate) = state.bytes_per_second else {
            return to.write_all(bytes).await;
        };
        // A hundredth of a second's worth at a time.
        let length = usize::try_from(rate / 100)
            .unwrap_or(usize::MAX)
            .clamp(1, bytes.len());
        let (now, later) = bytes.split_at(length);
        to.write_all(now).await?;
        sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
        bytes = later;
    }
    Ok(())
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

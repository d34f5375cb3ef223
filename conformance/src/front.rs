//! The gateway under test.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use cache_tower::{CacheLayer, Policy};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::activity::{Activity, Marking};
use crate::gateway::{self, Origin};
use crate::options::{CacheKind, Options};
use crate::store::{self, Store};
use crate::timeline::Timeline;
use crate::watched::Watched;

/// A gateway on a port of its own; dropping it ends it, and closes its connections.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) activity: Activity,
    tasks: JoinSet<()>,
}

impl Front {
    pub(crate) async fn start(
        options: &Options,
        store: &Store,
        origin: SocketAddr,
        timeline: Timeline,
    ) -> Result<Self, BoxError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut front = Self {
            address: listener.local_addr()?,
            activity: Activity::default(),
            tasks: JoinSet::new(),
        };
        let origin: Origin = format!("http://{origin}").parse()?;
        let origin_side = gateway::origin_side(Marking::new(gateway::client()));
        let policy = match options.cache {
            CacheKind::Shared => Policy::shared(),
            CacheKind::Private => Policy::private(),
            CacheKind::None => {
                front.serve(listener, gateway::client_side(origin, origin_side));
                return Ok(front);
            }
        };
        let backend = Watched::new(store.backend().await?, front.activity.clone());
        let cached = CacheLayer::new(backend)
            .backend_budget(store::PATIENCE)
            .policy(policy)
            .clock(timeline)
            .layer(origin_side);
        front.serve(listener, gateway::client_side(origin, cached));
        Ok(front)
    }

    fn serve<S, B>(&mut self, listener: TcpListener, gateway: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = BoxError>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let activity = self.activity.clone();
        let gateway = gateway.map_request(move |request| activity.mark(request));
        self.tasks.spawn(gateway::serve(listener, gateway));
    }
}

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
use crate::gateway::interim::Turn;
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
        let client = Marking::new(gateway::client());
        let policy = match options.cache {
            CacheKind::Shared => Policy::shared(),
            CacheKind::Private => Policy::private(),
            CacheKind::None => {
                front.serve(listener, move |turn| {
                    let origin_side = gateway::origin_side(client.clone(), turn);
                    gateway::client_side(origin.clone(), origin_side)
                });
                return Ok(front);
            }
        };
        let backend = Watched::new(store.backend().await?, front.activity.clone());
        let cache = CacheLayer::new(backend)
            .backend_budget(store::PATIENCE)
            .policy(policy)
            .clock(timeline);
        front.serve(listener, move |turn| {
            let cached = cache.layer(gateway::origin_side(client.clone(), turn));
            gateway::client_side(origin.clone(), cached)
        });
        Ok(front)
    }

    fn serve<F, S, B>(&mut self, listener: TcpListener, gateway: F)
    where
        F: Fn(Turn) -> S + Clone + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = BoxError>,
        S: Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let activity = self.activity.clone();
        let marking = move |turn| {
            let activity = activity.clone();
            gateway(turn).map_request(move |request| activity.mark(request))
        };
        self.tasks.spawn(gateway::serve(listener, marking));
    }
}

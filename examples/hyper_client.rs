//! A hyper client with a cache in memory.

use bytes::Bytes;
use cache_examples::LocalOrigin;
use cache_tower::{CacheInfo, CacheLayer, MemoryBackend};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let origin = LocalOrigin::start().await?;

    let client = ServiceBuilder::new()
        .layer(CacheLayer::new(MemoryBackend::default()))
        .service(Client::builder(TokioExecutor::new()).build_http());

    for _ in 0..2 {
        let request = Request::get(origin.uri("/catalogue")).body(Empty::<Bytes>::new())?;
        let response = client.clone().oneshot(request).await?;
        if let Some(info) = response.extensions().get::<CacheInfo>() {
            println!("{info}");
        }
        // A response is stored when its body has been read to its end.
        let body = response.into_body().collect().await?.to_bytes();
        print!("{}", String::from_utf8_lossy(&body));
    }
    Ok(())
}

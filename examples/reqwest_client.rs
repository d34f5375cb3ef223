//! A reqwest client with a cache in memory.

use cache_examples::LocalOrigin;
use cache_reqwest::CachedClient;
use cache_tower::{CacheInfo, CacheLayer, MemoryBackend};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let origin = LocalOrigin::start().await?;

    // Redirects are for a layer outside of the cache, which then sees each of them.
    let reqwest = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let client: CachedClient =
        CachedClient::new(reqwest.clone(), CacheLayer::new(MemoryBackend::default()));

    for _ in 0..2 {
        let response = client
            .execute(reqwest.get(origin.uri("/catalogue")).build()?)
            .await?;
        if let Some(info) = response.extensions().get::<CacheInfo>() {
            println!("{info}");
        }
        print!("{}", response.text().await?);
    }
    Ok(())
}

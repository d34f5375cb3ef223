//! The peers, each as its documentation shows it, with a store in memory.

use std::time::Duration;

use hitbox_backend::format::BincodeFormat;
use hitbox_http::extractors::{Method, path::PathExtractor};
use hitbox_http::predicates::{NeutralRequestPredicate, NeutralResponsePredicate};
use http_cache::MokaManager;
use http_cache_tower::HttpCacheLayer;
use redis::aio::ConnectionManagerConfig;
use tower::Layer;

use crate::ask::Listed;
use crate::candidate::{Candidate, Measured};
use crate::exchange::{Origin, Prebuilt};
use crate::over_redis::PATIENCE;

pub(crate) fn peers(prebuilt: &Prebuilt, body_bytes: usize) -> Vec<Box<dyn Candidate>> {
    vec![
        tower_http_cache(prebuilt, body_bytes),
        hitbox(prebuilt, body_bytes),
        http_cache_tower(prebuilt, body_bytes),
    ]
}

fn tower_http_cache(prebuilt: &Prebuilt, body_bytes: usize) -> Box<dyn Candidate> {
    let origin = Origin::new(prebuilt.clone());
    let layer = tower_http_cache::CacheLayer::new_in_memory(1000).with_ttl(LIFETIME);
    let service = layer.layer(origin.clone());
    let name = "tower-http-cache";
    Box::new(Measured::new(
        name,
        service,
        prebuilt.clone(),
        body_bytes,
        Some(origin),
    ))
}

pub(crate) async fn tower_http_cache_in_redis(
    client: &redis::Client,
    name: &str,
    prebuilt: &Prebuilt,
    body_bytes: usize,
    asked: Listed,
) -> Result<Box<dyn Candidate>, redis::RedisError> {
    let origin = Origin::new(prebuilt.clone());
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connection = client.get_connection_manager_with_config(config).await?;
    let backend = tower_http_cache::backend::redis::RedisBackend::new(connection)
        .with_namespace(format!("peer-{name}"));
    let layer = tower_http_cache::CacheLayer::new(backend).with_ttl(LIFETIME);
    let service = layer.layer(origin.clone());
    let (name, prebuilt) = ("tower-http-cache", prebuilt.clone());
    let peer = Measured::new(name, service, prebuilt, body_bytes, Some(origin));
    Ok(Box::new(peer.asking(asked)))
}

/// The faster of its formats: JSON, the default, takes ten times as long and more.
fn hitbox(prebuilt: &Prebuilt, body_bytes: usize) -> Box<dyn Candidate> {
    let origin = Origin::new(prebuilt.clone());
    let backend = hitbox_moka::MokaBackend::builder()
        .max_entries(1000)
        .value_format(BincodeFormat)
        .build();
    let policy = hitbox::policy::PolicyConfig::builder()
        .ttl(LIFETIME)
        .build();
    let config = hitbox::Config::builder()
        .request_predicate(NeutralRequestPredicate::new())
        .response_predicate(NeutralResponsePredicate::new())
        .extractor(Method::new().path("/{rest}*"))
        .policy(policy)
        .build();
    let layer = hitbox_tower::Cache::builder()
        .backend(backend)
        .config(config)
        .build();
    let service = layer.layer(origin.clone());
    let name = "hitbox (bincode)";
    Box::new(Measured::new(
        name,
        service,
        prebuilt.clone(),
        body_bytes,
        Some(origin),
    ))
}

fn http_cache_tower(prebuilt: &Prebuilt, body_bytes: usize) -> Box<dyn Candidate> {
    let origin = Origin::new(prebuilt.clone());
    let service = HttpCacheLayer::new(MokaManager::default()).layer(origin.clone());
    let name = "http-cache-tower";
    Box::new(Measured::new(
        name,
        service,
        prebuilt.clone(),
        body_bytes,
        Some(origin),
    ))
}

/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(3600);

//! The HTTP cache around a reqwest client.
//!
//! ```
//! use cache_reqwest::CachedClient;
//! use cache_tower::{CacheInfo, CacheLayer, MemoryBackend};
//!
//! # async fn run() -> Result<(), reqwest::Error> {
//! let reqwest = reqwest::Client::builder()
//!     .redirect(reqwest::redirect::Policy::none())
//!     .build()?;
//! let client: CachedClient =
//!     CachedClient::new(reqwest.clone(), CacheLayer::new(MemoryBackend::default()));
//!
//! let request = reqwest.get("https://example.com/").build()?;
//! let response = client.execute(request).await?;
//! let info = response.extensions().get::<CacheInfo>();
//! # let _ = info;
//! # Ok(())
//! # }
//! ```
//!
//! `RequestBuilder::send` speaks to reqwest and knows no cache: end with `build`, and give the
//! request to [`CachedClient::execute`].
//!
//! # What reqwest does by itself, it does inside the cache
//!
//! - **Redirects.** A client that follows them hides them: the last response is stored under the
//!   first URL, for as long as *it* is fresh, even where the redirect was not to be kept. Build the
//!   client with [`Policy::none`](reqwest::redirect::Policy::none) and follow them outside, with
//!   [`CachedClient::layer`] and tower-http's `FollowRedirectLayer`.
//! - **Default header fields, cookies, proxy credentials.** They are added behind the cache, which
//!   keeps the users of one store apart by the credentials that it sees. Put `Authorization` and
//!   `Cookie` into the request, or give each such client a store or a
//!   [`Partition`](cache_tower::Partition) of its own.
//! - **Decompression.** What is stored is decoded, and the header section says so.
//! - **Timeouts**, of the client and of a request. They are about the origin: when one fires, a
//!   stored response that is stale may stand in.

mod client;
pub use client::CachedClient;

mod from_content;
pub use from_content::FromContent;

mod http_client;
pub use http_client::HttpClient;

mod with_url;
pub use with_url::{ResponseFuture, WithUrl};

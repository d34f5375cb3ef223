//! The Redis backend of the HTTP cache.

mod backend;
pub use backend::RedisBackend;

mod config;
pub use config::{ConfigError, Deployment, Password, RedisConfig, Tls};

mod keys;
pub use keys::{InvalidNamespace, Namespace};

mod connect;
pub use connect::ConnectError;
#[cfg(feature = "memory")]
pub use connect::from_url;

mod maintenance;
pub use maintenance::{Listing, Progress, Stored};

mod options;
pub use options::Options;

mod pool;
pub use pool::Pool;

mod embedded;
pub use embedded::*;

mod body;
mod duration;
mod format;
mod gather;
mod heads;
mod lane;
mod lookup;
mod manage;
mod scripts;
mod writer;

//! The gateway: a server, the cache, and a client, with what RFC 9110 §7.6 asks of an intermediary.

mod client;
pub(crate) use client::client;

mod origin;
pub(crate) use origin::Origin;

mod service;
pub(crate) use service::{client_side, origin_side};

mod server;
pub(crate) use server::serve;

pub(crate) mod interim;

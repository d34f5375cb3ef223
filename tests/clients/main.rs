//! Real clients and servers over loopback sockets, and the layers of tower and tower-http inside
//! and outside the cache: `docs/ordering.md` says in a table what these tests pin.

mod exchange;

mod axum_app;
mod hyper_client;
mod reqwest_client;

mod decompression;
mod redirect;
mod retry;
mod timeout;
mod trace;

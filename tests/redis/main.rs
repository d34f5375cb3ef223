//! The Redis backend, on real servers.

mod contract;

mod support;

mod config;
mod counts;
mod expiry;
mod foreign;
mod large;
mod layout;
mod leases;
mod order;
mod pools;
mod resurrection;
mod variants;
mod walks;

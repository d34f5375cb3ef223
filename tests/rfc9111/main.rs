//! RFC 9111 and its neighbours, exchange by exchange; a module a section.

mod age;
mod cache_status;
mod conditional;
mod connection;
mod head;
mod immutable;
mod interim;
mod invalidation;
mod modes;
mod partition;
mod ranges;
mod request_directives;
mod stale;
mod storing;
mod targeted;
mod validation;
mod vary;

//! The rules of RFC 9111, one section a file.

pub(crate) mod conditional;
pub(crate) mod freshening;
pub(crate) mod freshness;
pub(crate) mod invalidation;
pub(crate) mod reuse;
pub(crate) mod selection;
pub(crate) mod storing;

//! Where other caches went wrong, and what this one does there.
//!
//! A sentence says what we do; the comment above it says whose failure it was.

mod bounds;
mod faults;
mod freshness;
mod info;
mod invalidation;
mod keys;
mod service;
mod stale;
mod storing;
mod streaming;
mod validation;
mod vary;

mod altered;
mod found;

use kit::held;

//! Under load and in trouble: many requests for the same, a store that is sick, an origin that fails,
//! callers that leave, and bodies that get lost on their way.

#![allow(
    clippy::bool_assert_comparison,
    clippy::collapsible_if,
    clippy::redundant_clone,
    clippy::type_complexity,
    reason = "what reads best in a test"
)]

mod breaker;
mod cancellation;
mod coalescing;
mod invalidation;
mod judging;
mod leaders;
mod lost_bodies;
mod schedules;
mod streaming;
mod window;

mod reading;
mod scene;
mod store;

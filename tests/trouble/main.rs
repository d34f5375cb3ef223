//! Under load and in trouble: many requests for the same, a store that is sick, an origin that fails,
//! callers that leave, and bodies that get lost on their way.

mod breaker;
mod cancellation;
mod clocks;
mod coalescing;
mod early;
mod fail_mode;
mod invalidation;
mod judging;
mod leaders;
mod leaks;
mod lost_bodies;
mod schedules;
mod streaming;
mod window;

mod reading;
mod scene;
mod store;

//! What an application says of its cache: rules, and all that goes with them.

mod config;
mod content;
mod controls;
mod events;
mod filters;
mod keys;
mod options;
mod precedence;
mod rules;

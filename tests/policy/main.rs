//! What an application says of its cache: rules, and all that goes with them.

mod config;
mod controls;
mod filters;
mod options;
mod precedence;
mod rules;

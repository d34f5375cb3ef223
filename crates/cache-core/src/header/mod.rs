//! Reading header fields: total, linear, and restrictive where a field is malformed.
//!
//! No field value is interpreted outside this module.

pub(crate) mod age;
pub(crate) mod cache_control;
pub(crate) mod common_values;
pub(crate) mod connection;
pub(crate) mod date;
pub(crate) mod entity_tag;
pub(crate) mod list;
pub(crate) mod range;
pub(crate) mod structured;
pub(crate) mod vary;

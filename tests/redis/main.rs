//! The Redis backend, on real servers.

mod contract;

mod support;

mod cancellation;
mod config;
mod counts;
mod deployments;
mod expiry;
mod faults;
mod faults_front;
mod faults_list;
mod faults_load;
mod foreign;
mod large;
mod layout;
mod leases;
mod order;
mod pools;
mod resurrection;
mod secrets;
mod through_the_layer;
mod variants;
mod walks;

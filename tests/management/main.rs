//! Looking after what is stored: the handle, over every kind of store.

mod codecs;
mod handle;
mod pages;
mod scene;
mod secrets;

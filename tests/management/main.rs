//! Looking after what is stored: the handle, over every kind of store.

mod handle;
mod scene;

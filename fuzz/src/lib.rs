//! What the fuzz targets share.
//!
//! `text` is for targets whose input can be read: requests and responses as lines. The others are the
//! parts of the target `exchange`: a `script` decoded from bytes is played by `stage` to a cache over
//! `store`, in front of `origin`, and `oracle` judges what the caller gets. The oracle is written from
//! the RFCs, and knows nothing of how the cache works.

pub mod text;

mod input;

mod clock;

mod script;

mod store;

mod origin;

mod oracle;

mod stage;
pub use stage::play;

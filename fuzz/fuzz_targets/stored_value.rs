//! Values in Redis: whatever stands behind a true beginning is read or refused.

#![no_main]

use bytes::{BufMut, Bytes, BytesMut};
use cache_redis::Stored;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Stored::read(&Bytes::copy_from_slice(data));
    let Some((first, head)) = data.split_first() else {
        return;
    };
    let mut value = BytesMut::from(&b"httc\x01"[..]);
    value.put_u8(1 + first % 3);
    value.put_bytes(0, 42);
    value.put_u32_le(u32::try_from(head.len()).unwrap_or_default());
    value.put_bytes(0, 24);
    value.put_slice(head);
    let Some(stored) = Stored::read(&value.freeze()) else {
        return;
    };
    // What can be read can be used.
    let _ = stored.head.variant();
    let _ = stored.head.remaining(stored.head.received_at());
    let _ = stored.head.weight();
    let _ = format!("{stored:?}");
});

//! The promises of the port, for every backend.

mod memory {
    kit::backend_contract!(cache_memory::MemoryBackend::default());
    kit::management_contract!(cache_memory::MemoryBackend::default());
}

mod little_memory {
    kit::backend_contract!(
        cache_memory::MemoryBackend::with_capacity(4 << 20).expect("a capacity")
    );
}

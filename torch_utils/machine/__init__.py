"""What a result depends on beside the code: device, versions, processor, allocator."""

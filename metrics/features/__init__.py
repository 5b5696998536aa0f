"""Features of real and generated images: sampling, passes through a detector, the cache."""

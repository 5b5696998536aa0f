"""Images as tensors and files: grids, pictures of others decoded within bounds, video."""

"""What a run leaves for people: grids of images, statistics, TensorBoard's curves, snapshots, metrics."""

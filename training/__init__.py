"""Training: configuration, networks, augmentation, data, the loop, and the files it writes."""

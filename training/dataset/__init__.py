"""Images and labels from folders, zips and arrays, their order, and the stream that decodes them ahead of need."""

from training.dataset.image_dataset import ImageDataset

__all__ = ["ImageDataset"]

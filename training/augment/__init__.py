"""Adaptive discriminator augmentation: the transforms."""

from training.augment.pipe import AUGPIPES, AugmentPipe

__all__ = ["AUGPIPES", "AugmentPipe"]

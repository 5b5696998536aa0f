"""What the discriminator sees instead of the images themselves: the transforms of ADA, DiffAugment, APA."""

from training.augment.apa import PseudoReals
from training.augment.diffaug import DiffAugment
from training.augment.pipe import AUGPIPES, AugmentPipe


def build_pipe(name: str) -> AugmentPipe | DiffAugment:
    """The augmentation of that name: `diffaug` or one of `AUGPIPES`."""
    return DiffAugment() if name == "diffaug" else AugmentPipe(**AUGPIPES[name])


__all__ = ["AUGPIPES", "AugmentPipe", "DiffAugment", "PseudoReals", "build_pipe"]

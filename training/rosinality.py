"""Names and shapes of rosinality/stylegan2-pytorch, under a public name: see `training.snapshot.rosinality`."""

from training.snapshot.rosinality import (
    discriminator_from_rosinality,
    discriminator_to_rosinality,
    generator_from_rosinality,
    generator_to_rosinality,
)

__all__ = [
    "discriminator_from_rosinality",
    "discriminator_to_rosinality",
    "generator_from_rosinality",
    "generator_to_rosinality",
]

"""Random numbers as a function of the progress: no generator state needs to be saved or exchanged.

Before each micro-batch of each phase PyTorch's default generators are seeded from (seed, images seen,
phase, number of the micro-batch in the step). An interrupted run therefore draws what the uninterrupted
one draws, and a step draws the same whichever process computes which of its micro-batches.
"""

import hashlib

import torch


def seed_generators(seed: int, nimg: int, phase: str, micro_batch: int) -> None:
    """Seed the default generators of all devices for one micro-batch of a phase."""
    torch.manual_seed(derived_seed(seed, nimg, phase, micro_batch))


def derived_seed(*parts: int | str) -> int:
    """A number in [0, 2^63) that depends on every part."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

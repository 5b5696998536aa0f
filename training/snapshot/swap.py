"""Layer swapping: a generator with the coarse layers of one network and the fine layers of another.

Pinkney and Adler 2020, "Resolution Dependent GAN Interpolation for Controllable Image Synthesis Between Domains": the
two are usually a network and one that was trained on from it (`--resume`), so that their layers still fit together.
"""

import copy
import dataclasses

from dnnlib import UserError
from training.networks import Generator


def swap_layers(coarse: Generator, fine: Generator, from_resolution: int) -> Generator:
    """A new generator: mapping and blocks below `from_resolution` of `coarse`, blocks from there on of `fine`.

    Both are of the same architecture and stay as they are. Blocks of images that are not square are named after the
    side that square ones have there.

    Raises:
        UserError: different architectures, or no block of that resolution above the first.
    """
    ours, theirs = (dataclasses.asdict(network.config) for network in (coarse, fine))
    differing = [f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if differing:
        raise UserError(f"`swap` takes two networks of the same architecture; these have {', '.join(differing)}")
    choices = coarse.synthesis.block_resolutions[1:]
    if from_resolution not in choices:
        raise UserError(f"`from_resolution`={from_resolution}: choose one of {', '.join(map(str, choices))}")
    mixed = copy.deepcopy(coarse)
    for resolution in choices:
        if resolution >= from_resolution:
            setattr(mixed.synthesis, f"b{resolution}", copy.deepcopy(getattr(fine.synthesis, f"b{resolution}")))
    return mixed

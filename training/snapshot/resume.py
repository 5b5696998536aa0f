"""Weights of another run as the beginning of a new one."""

from collections.abc import Callable, Mapping

import torch

from dnnlib import UserError
from training.snapshot.load import load_snapshot

_CDN = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/transfer-learning-source-nets/"
RESUME_SOURCES = {
    "ffhq256": _CDN + "ffhq-res256-mirror-paper256-noaug.pkl",
    "ffhq512": _CDN + "ffhq-res512-mirror-stylegan2-noaug.pkl",
    "ffhq1024": _CDN + "ffhq-res1024-mirror-stylegan2-noaug.pkl",
    "celebahq256": _CDN + "celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl",
    "lsundog256": _CDN + "lsundog-res256-paper256-kimg100000-noaug.pkl",
}
"""NVIDIA's transfer-learning networks by the reference's names; their licence is NVIDIA's, not this project's."""


def copy_weights(
    source: str, networks: Mapping[str, torch.nn.Module], *, partial: bool, log: Callable[[str], None]
) -> None:
    """Copy every tensor of the snapshot `source` (file, URL or name) into the network of the same name.

    Tensors are copied in place, where name and shape agree.

    Raises:
        UserError: some tensor is missing, extra or of another shape, and not `partial`; all are listed.
    """
    snapshot = load_snapshot(RESUME_SOURCES.get(source, source))
    copies: list[tuple[torch.Tensor, torch.Tensor]] = []
    problems: list[str] = []
    for name, network in networks.items():
        theirs = getattr(snapshot, name)
        if theirs is None:
            problems.append(f"{name}: not in the file")
            continue
        if theirs.config.img_size != network.config.img_size and not partial:
            made, wanted = (" x ".join(map(str, reversed(n.config.img_size))) for n in (theirs, network))
            raise UserError(
                f"`resume`={source}: its {name} is for images of {made}, the data has {wanted}; bring the images to "
                f"that size with dataset_tool.py, or give `resume_partial` to take over what fits"
            )
        available = theirs.state_dict()
        for key, target in network.state_dict().items():
            if key not in available:
                problems.append(f"{name}.{key}: missing, stays as initialised")
            elif available[key].shape != target.shape:
                problems.append(f"{name}.{key}: {list(available[key].shape)} in the file, {list(target.shape)} here")
            else:
                copies.append((target, available[key]))
        problems += [f"{name}.{key}: extra, not used" for key in available if key not in network.state_dict()]
    if problems:
        for problem in problems:
            log(f"  {problem}")
        if not partial:
            raise UserError(
                f"`resume`={source} does not fit: {len(problems)} tensors are missing, extra or of another shape "
                f"(listed above, first: {problems[0]}); choose the `cfg`, resolution and `cond` that it was "
                "trained with, or give `resume_partial` to take over the rest"
            )
    with torch.no_grad():
        for target, value in copies:
            target.copy_(value)
    log(f"resumed {len(copies)} tensors from {source}")

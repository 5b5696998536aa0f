"""Networks from a config and tensors that someone else wrote: nothing is believed before it is compared."""

from collections.abc import Mapping
from typing import Any

import torch

from dnnlib import UserError
from dnnlib.typed import fits
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

_CLASSES = {"D": (Discriminator, DiscriminatorConfig)} | dict.fromkeys(("G", "G_ema"), (Generator, GeneratorConfig))
_LARGEST = {"img_resolution": 8192, "channel_base": 1 << 20, "mapping_layers": 64, "mbstd_num_channels": 64}
_LARGEST_SIZE = 1 << 16
_LARGEST_CLAMP = 1e30  # of float32's range


def build_network(name: str, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: str) -> Any:
    """Build a network from its config and all of its tensors: CPU, float32, eval, requires_grad False.

    The shapes are compared before any memory is taken, so a config cannot ask for more than the file has.

    Args:
        name: "G", "D" or "G_ema".
        config: fields of `GeneratorConfig` or `DiscriminatorConfig`.
        tensors: parameters and buffers by name.
        where: what error messages call the file.

    Raises:
        UserError: an implausible config, or tensors that are missing, left over, of another shape or integers.
    """
    make, make_config = _CLASSES[name]
    _check_sizes(name, config, where)
    with torch.device("meta"):
        network = make(make_config.from_dict(dict(config)))
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    _compare_shapes(name, expected, {key: tuple(tensor.shape) for key, tensor in tensors.items()}, where)
    strange = [key for key, tensor in tensors.items() if tensor.layout != torch.strided or tensor.device.type != "cpu"]
    if strange:
        raise UserError(f"{where}: {name}.{strange[0]} is no ordinary tensor")
    whole = [key for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if whole:
        raise UserError(f"{where}: {name}.{whole[0]} holds {tensors[whole[0]].dtype} instead of floating-point numbers")
    own = {key: tensor.to(torch.float32).contiguous() for key, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    return network.eval().requires_grad_(False)


def _check_sizes(name: str, config: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        largest = _LARGEST.get(key, _LARGEST_SIZE)
        is_size = type(value) is int and 0 <= value <= largest
        is_clamp = key == "conv_clamp" and fits(value, float) and abs(value) <= _LARGEST_CLAMP
        is_absent = key in ("conv_clamp", "cmap_dim") and value is None
        is_name = key == "architecture" and type(value) is str
        is_shape = key == "base_size" and fits(value, tuple[int, int])
        if not (is_size or is_clamp or is_absent or is_name or is_shape):
            raise UserError(f"{where}: {name} has {key}={str(value)[:40]!r}, which no StyleGAN2 network has")


def _compare_shapes(
    name: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: str
) -> None:
    wrong = [f"{key} is missing" for key in expected if key not in found]
    wrong += [f"{key[:80]} is unknown" for key in found if key not in expected]
    wrong += [
        f"{key} is {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{where}: the tensors of {name} do not fit its architecture: {'; '.join(wrong[:3])}{more}")

"""The checkpoint layout of rosinality/stylegan2-pytorch: names and shapes of its tensors, there and back.

A checkpoint is a dict with the state dicts `g`, `d`, `g_ema` (any may be absent) and `latent_avg` [w_dim], the mean w.
The arithmetic is the same as here, tensor by tensor; only names, leading axes of size 1 and the gain inside the stored
blur kernels differ. The layout knows unconditional RGB networks with a residual discriminator and no clamping.
"""

from collections.abc import Iterable, Mapping

import torch

from dnnlib import UserError
from torch_utils.ops import upfirdn2d
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.networks.layers import RESAMPLE_TAPS

Tensors = dict[str, torch.Tensor]
_MOST = 64  # layers of a kind: more than any network has, and than a resolution can be doubled
_UP_GAIN = 4  # the kernels that follow an upsampling hold its gain, 2 x 2


def generator_to_rosinality(G: Generator) -> Tensors:
    """The state dict of rosinality's `Generator` with the weights of G.

    Raises:
        UserError: G is conditional, has not 3 channels or is not square, which the layout cannot express.
    """
    _require_plain(G.config)
    ours = G.state_dict()
    theirs = {there: add_axes(ours[here], there) for here, there in _generator_names(G.config).items()}
    kernel = _kernel() * _UP_GAIN
    for index in range(G.img_resolution.bit_length() - 3):
        theirs[f"convs.{2 * index}.conv.blur.kernel"] = kernel.clone()
        theirs[f"to_rgbs.{index}.upsample.kernel"] = kernel.clone()
    return theirs


def discriminator_to_rosinality(D: Discriminator) -> Tensors:
    """The state dict of rosinality's `Discriminator` with the weights of D.

    Raises:
        UserError: D is conditional, not residual, not square, or has not 3 channels or one of minibatch deviation.
    """
    _require_plain(D.config)
    if D.config.architecture != "resnet" or D.config.mbstd_num_channels != 1:
        raise UserError("rosinality's layout has residual discriminators with one channel of minibatch deviation only")
    ours = D.state_dict()
    theirs = {there: ours[here].clone() for here, there in _discriminator_names(D.config).items()}
    for index in range(1, len(D.block_resolutions) + 1):
        theirs[f"convs.{index}.conv2.0.kernel"] = _kernel()
        theirs[f"convs.{index}.skip.0.kernel"] = _kernel()
    return theirs


def generator_from_rosinality(
    theirs: Mapping[str, torch.Tensor], latent_avg: torch.Tensor | None
) -> tuple[dict, Tensors]:
    """Config and tensors of a generator; w_avg is `latent_avg`, or zero where there is none.

    Raises:
        UserError: tensors are missing or left over, or channels follow no rule that a `GeneratorConfig` can express.
    """
    blocks = _count(theirs, "to_rgbs.{}.bias")
    widths = [_shape(theirs, "input.input", 4)[1]]
    widths += [_shape(theirs, f"convs.{2 * index}.activate.bias", 1)[0] for index in range(blocks)]
    w_dim, z_dim = _shape(theirs, "style.1.weight", 2)
    config = GeneratorConfig(
        img_resolution=4 << blocks,
        **_widths_rule(widths),
        conv_clamp=None,
        z_dim=z_dim,
        w_dim=w_dim,
        mapping_layers=_count(theirs, "style.{}.weight", first=1),
    )
    names = _generator_names(config)
    kernels = {f"convs.{2 * i}.conv.blur.kernel" for i in range(blocks)}
    kernels |= {f"to_rgbs.{i}.upsample.kernel" for i in range(blocks)}
    with torch.device("meta"):
        expected = Generator(config).state_dict()
    shapes = {there: add_axes(expected[here], there).shape for here, there in names.items()}
    ours = _take(theirs, names, shapes, kernels, gain=_UP_GAIN)
    ours = {here: tensor.reshape(expected[here].shape) for here, tensor in ours.items()}
    if latent_avg is not None and latent_avg.numel() != w_dim:
        raise UserError(f"the checkpoint has a 'latent_avg' of {latent_avg.numel()} numbers instead of {w_dim}")
    ours["mapping.w_avg"] = torch.zeros(w_dim) if latent_avg is None else latent_avg.reshape(w_dim)
    return config.to_dict(), ours | _filters(expected)


def discriminator_from_rosinality(theirs: Mapping[str, torch.Tensor]) -> tuple[dict, Tensors]:
    """Config and tensors of a discriminator. Raises UserError as `generator_from_rosinality`."""
    blocks = _count(theirs, "convs.{}.skip.1.weight", first=1)
    outward = [_shape(theirs, f"convs.{index}.conv1.1.bias", 1)[0] for index in range(1, blocks + 1)]
    widths = [_shape(theirs, "final_conv.1.bias", 1)[0], *reversed(outward)]
    config = DiscriminatorConfig(img_resolution=4 << blocks, **_widths_rule(widths), conv_clamp=None)
    kernels = {f"convs.{i}.{part}.0.kernel" for i in range(1, blocks + 1) for part in ("conv2", "skip")}
    names = _discriminator_names(config)
    with torch.device("meta"):
        expected = Discriminator(config).state_dict()
    shapes = {there: expected[here].shape for here, there in names.items()}
    return config.to_dict(), _take(theirs, names, shapes, kernels, gain=1) | _filters(expected)


def add_axes(tensor: torch.Tensor, there: str) -> torch.Tensor:
    """A copy of one of our tensors in the shape that rosinality's generator gives to `there`."""
    if there == "input.input" or there.endswith("conv.weight"):
        return tensor.clone()[None]
    if there.endswith("noise.weight"):
        return tensor.clone().reshape(1)
    if there.startswith("noises."):
        return tensor.clone()[None, None]
    if there.startswith("to_rgb") and there.endswith("bias") and "modulation" not in there:
        return tensor.clone().reshape(1, -1, 1, 1)
    return tensor.clone()


def _generator_names(config: GeneratorConfig) -> dict[str, str]:
    """Our name to theirs, for everything but filters and w_avg."""
    names = {"synthesis.b4.const": "input.input"}
    for index in range(config.mapping_layers):  # style.0 normalises and has no weights
        for part in ("weight", "bias"):
            names[f"mapping.fc{index}.{part}"] = f"style.{index + 1}.{part}"

    def layer(here: str, there: str, noise: int | None) -> None:
        names[f"{here}.weight"] = f"{there}.conv.weight"
        names[f"{here}.affine.weight"] = f"{there}.conv.modulation.weight"
        names[f"{here}.affine.bias"] = f"{there}.conv.modulation.bias"
        if noise is None:
            names[f"{here}.bias"] = f"{there}.bias"
        else:
            names[f"{here}.bias"] = f"{there}.activate.bias"
            names[f"{here}.noise_strength"] = f"{there}.noise.weight"
            names[f"{here}.noise_const"] = f"noises.noise_{noise}"

    layer("synthesis.b4.conv1", "conv1", 0)
    layer("synthesis.b4.torgb", "to_rgb1", None)
    for index in range(config.img_resolution.bit_length() - 3):
        block = f"synthesis.b{8 << index}"
        layer(f"{block}.conv0", f"convs.{2 * index}", 2 * index + 1)
        layer(f"{block}.conv1", f"convs.{2 * index + 1}", 2 * index + 2)
        layer(f"{block}.torgb", f"to_rgbs.{index}", None)
    return names


def _discriminator_names(config: DiscriminatorConfig) -> dict[str, str]:
    largest = config.img_resolution
    names = {f"b{largest}.fromrgb.weight": "convs.0.0.weight", f"b{largest}.fromrgb.bias": "convs.0.1.bias"}
    for index in range(1, largest.bit_length() - 2):
        block = f"b{largest >> (index - 1)}"
        names[f"{block}.conv0.weight"] = f"convs.{index}.conv1.0.weight"
        names[f"{block}.conv0.bias"] = f"convs.{index}.conv1.1.bias"
        names[f"{block}.conv1.weight"] = f"convs.{index}.conv2.1.weight"
        names[f"{block}.conv1.bias"] = f"convs.{index}.conv2.2.bias"
        names[f"{block}.skip.weight"] = f"convs.{index}.skip.1.weight"
    names |= {"b4.conv.weight": "final_conv.0.weight", "b4.conv.bias": "final_conv.1.bias"}
    for here, there in (("fc", "final_linear.0"), ("out", "final_linear.1")):
        names |= {f"b4.{here}.weight": f"{there}.weight", f"b4.{here}.bias": f"{there}.bias"}
    return names


def _take(
    theirs: Mapping[str, torch.Tensor],
    names: Mapping[str, str],
    shapes: Mapping[str, torch.Size],
    kernels: set[str],
    gain: int,
) -> Tensors:
    missing = sorted(set(names.values()) - set(theirs))
    unknown = sorted(set(theirs) - set(names.values()) - kernels)
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise UserError(f"the checkpoint is not in rosinality's layout: {what}")
    for there, shape in shapes.items():
        if theirs[there].shape != shape:
            found = f"{there} is {list(theirs[there].shape)} instead of {list(shape)}"
            raise UserError(f"the checkpoint is not in rosinality's layout: {found}")
    for kernel in kernels & set(theirs):
        if theirs[kernel].shape != (4, 4) or not torch.allclose(theirs[kernel].float(), _kernel() * gain):
            raise UserError(f"the checkpoint resamples with another filter than [1, 3, 3, 1] ({kernel})")
    return {here: theirs[there] for here, there in names.items()}


def _filters(names: Iterable[str]) -> Tensors:
    return {name: _kernel() for name in names if name.endswith("resample_filter")}


def _widths_rule(widths: list[int]) -> dict[str, int]:
    """channel_base and channel_max that give these feature maps at 4, 8, 16, ..."""
    channel_max = max(widths)
    narrow = [width * (4 << index) for index, width in enumerate(widths) if width < channel_max]
    base = narrow[-1] if narrow else channel_max * (4 << (len(widths) - 1))
    if widths != [min(base // (4 << index), channel_max) for index in range(len(widths))]:
        raise UserError(f"the checkpoint has feature maps {widths}, which follow no rule min(base // resolution, max)")
    return {"channel_base": base, "channel_max": channel_max}


def _count(theirs: Mapping[str, torch.Tensor], pattern: str, first: int = 0) -> int:
    index = first
    while pattern.format(index) in theirs and index <= _MOST:
        index += 1
    if index == first:
        raise UserError(f"the checkpoint is not in rosinality's layout: {pattern.format(first)} is missing")
    return index - first


def _shape(theirs: Mapping[str, torch.Tensor], name: str, dimensions: int) -> torch.Size:
    if name not in theirs or theirs[name].ndim != dimensions:
        raise UserError(f"the checkpoint is not in rosinality's layout: {name} is missing or of another shape")
    return theirs[name].shape


def _kernel() -> torch.Tensor:
    return upfirdn2d.setup_filter(RESAMPLE_TAPS)


def _require_plain(config: GeneratorConfig | DiscriminatorConfig) -> None:
    if config.base_size != (4, 4):
        height, width = config.img_size
        raise UserError(f"rosinality's layout has square networks only; this one is for images of {width} x {height}")
    if config.c_dim:
        raise UserError("rosinality's layout has no conditional networks; this one takes labels")
    if config.img_channels != 3:
        raise UserError(f"rosinality's layout has RGB networks only; this one has {config.img_channels} channels")

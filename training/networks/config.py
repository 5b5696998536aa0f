"""What defines the two networks: their sizes and nothing about how they are run or trained."""

import dataclasses
import itertools
import math
from typing import Any

from dnnlib import UserError

ARCHITECTURES = ("resnet", "orig", "skip")
SMALLEST_SIDES = range(2, 8)
_SHAPE_COUNTS = 4


def nominal_resolution(height: int, width: int) -> tuple[int, tuple[int, int]] | None:
    """The `img_resolution` and `base_size` of networks for images of this size in pixels; None where there are none.

    Each resolution doubles both sides, from a first one whose sides are 2 to 7. Of several, the one whose area is
    nearest to the 4 x 4 of square images of a power of two.

    Example:
        >>> nominal_resolution(256, 256), nominal_resolution(256, 384)
        ((256, (4, 4)), (256, (4, 6)))
    """
    found = []
    for doublings in range(1, max(height, width).bit_length()):
        base = height >> doublings, width >> doublings
        exact = (base[0] << doublings, base[1] << doublings) == (height, width)
        if exact and all(side in SMALLEST_SIDES for side in base):
            found.append((abs(math.log(base[0] * base[1] / 16)), 4 << doublings, base))
    return min(found)[1:] if found else None


def nearest_size(height: int, width: int) -> tuple[int, int]:
    """The height and width that networks can have nearest to these; shape counts four times as much as size.

    Example:
        >>> nearest_size(480, 640), nearest_size(1080, 1920), nearest_size(50, 50)
        ((384, 512), (1024, 1792), (48, 48))
    """

    def distance(size: tuple[int, int]) -> float:
        up, across = math.log(size[0] / height), math.log(size[1] / width)
        return _SHAPE_COUNTS * abs(across - up) + abs(across + up) / 2

    doublings = range(1, max(height, width).bit_length() + 1)
    sides = itertools.product(SMALLEST_SIDES, SMALLEST_SIDES)
    return min(((h << n, w << n) for h, w in sides for n in doublings), key=distance)


@dataclasses.dataclass(frozen=True)
class _Config:
    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float | None = 256.0
    base_size: tuple[int, int] = dataclasses.field(default=(4, 4), kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """All fields as a dictionary of JSON types; `base_size` only where it is not 4 x 4."""
        values = dataclasses.asdict(self)
        base_size = values.pop("base_size")
        return values if base_size == (4, 4) else {**values, "base_size": list(base_size)}

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return self.size(self.img_resolution)

    def size(self, resolution: int) -> tuple[int, int]:
        """Height and width of the feature maps of block `b<resolution>`."""
        height, width = self.base_size
        return height * resolution // 4, width * resolution // 4

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "_Config":
        """The inverse of `to_dict`; fields left out take their defaults.

        Raises:
            UserError: an unknown field, a missing resolution, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"{cls.__name__}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        if "img_resolution" not in values:
            raise UserError(f"{cls.__name__}: img_resolution is missing; give the side of the images in pixels")
        base_size = values.get("base_size", (4, 4))
        return cls(**{**values, "base_size": tuple(base_size) if isinstance(base_size, list) else base_size})

    def channels(self, resolution: int) -> int:
        """Feature maps at `resolution`: min(channel_base // resolution, channel_max)."""
        return max(min(self.channel_base // resolution, self.channel_max), 1)

    def _require(self, condition: bool, field: str, expected: str) -> None:
        if not condition:
            raise UserError(f"{type(self).__name__}: {field} is {getattr(self, field)!r}; it must be {expected}")

    def _check(self, smallest: int) -> None:
        resolution = self.img_resolution
        is_power = isinstance(resolution, int) and resolution >= smallest and resolution & (resolution - 1) == 0
        self._require(is_power, "img_resolution", f"a power of two, at least {smallest}")
        fits = isinstance(self.base_size, tuple) and len(self.base_size) == 2
        fits = fits and all(isinstance(side, int) and side in SMALLEST_SIDES for side in self.base_size)
        self._require(fits, "base_size", "height and width, each from 2 to 7")
        self._require(1 <= self.img_channels <= 4, "img_channels", "from 1 to 4")
        self._require(self.c_dim >= 0, "c_dim", "0 (no labels) or the length of a label")
        self._require(self.channel_base >= 1, "channel_base", "at least 1")
        self._require(self.channel_max >= 1, "channel_max", "at least 1")
        self._require(self.conv_clamp is None or self.conv_clamp > 0, "conv_clamp", "positive, or None for no clamping")


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(_Config):
    """Architecture of the generator.

    Args:
        img_resolution: Side of the square images in pixels, a power of two from 4; of other images the side at the
            same number of doublings (see `base_size`).
        img_channels: 1 to 4.
        c_dim: Length of the label vectors; 0 for none.
        channel_base: Feature maps at resolution r are min(channel_base // r, channel_max).
        channel_max: See `channel_base`.
        conv_clamp: Activations of convolutions are limited to ±conv_clamp; None for no limit (which is what an
            official pickle without this field means).
        base_size: Height and width of the first constant, 2 to 7 each; every resolution doubles both sides.
        z_dim: Length of the latent z.
        w_dim: Length of the intermediate latent w.
        mapping_layers: Fully connected layers from z to w.
    """

    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8

    def __post_init__(self) -> None:
        self._check(smallest=4)
        self._require(self.z_dim >= 1, "z_dim", "at least 1")
        self._require(self.w_dim >= 1, "w_dim", "at least 1")
        self._require(self.mapping_layers >= 1, "mapping_layers", "at least 1")

    @property
    def num_ws(self) -> int:
        """Intermediate latents that the synthesis takes: 2 log2(img_resolution) - 2."""
        return 2 * (self.img_resolution.bit_length() - 1) - 2


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig(_Config):
    """Architecture of the discriminator.

    Args:
        img_resolution: As of the generator, from 8.
        img_channels: 1 to 4.
        c_dim: Length of the label vectors; 0 for none.
        channel_base: Feature maps at resolution r are min(channel_base // r, channel_max).
        channel_max: See `channel_base`.
        conv_clamp: Activations of convolutions are limited to ±conv_clamp; None for no limit.
        base_size: Height and width of the last feature maps, as of the generator's first.
        architecture: "resnet", "orig" (plain) or "skip" (image pyramid).
        mbstd_group_size: Images per group of the minibatch standard deviation.
        mbstd_num_channels: Feature maps that it adds; 0 switches it off.
        cmap_dim: Length of the mapped label; None for the feature maps of `b4`. Without effect if c_dim is 0.
        mapping_layers: Fully connected layers from the label to its mapping.
        freeze_layers: Freeze-D (Mo et al. 2020): the first layers, counted from the image on in the order
            [fromrgb], conv0, conv1, [skip] of each block, are constant (buffers instead of parameters).
    """

    architecture: str = "resnet"
    mbstd_group_size: int = 4
    mbstd_num_channels: int = 1
    cmap_dim: int | None = None
    mapping_layers: int = 8
    freeze_layers: int = 0

    def __post_init__(self) -> None:
        self._check(smallest=8)
        self._require(self.architecture in ARCHITECTURES, "architecture", f"one of {', '.join(ARCHITECTURES)}")
        self._require(self.mbstd_group_size >= 1, "mbstd_group_size", "at least 1")
        self._require(self.mbstd_num_channels >= 0, "mbstd_num_channels", "0 (off) or more")
        divides = self.mbstd_num_channels == 0 or self.channels(4) % self.mbstd_num_channels == 0
        self._require(divides, "mbstd_num_channels", f"a divisor of the {self.channels(4)} feature maps of b4")
        self._require(self.cmap_dim is None or self.cmap_dim >= 1, "cmap_dim", "at least 1, or None")
        self._require(self.mapping_layers >= 0, "mapping_layers", "0 or more")
        self._require(self.freeze_layers >= 0, "freeze_layers", "0 or more")

    @property
    def num_freezable(self) -> int:
        """The largest `freeze_layers` that has an effect: the layers of all blocks above b4."""
        blocks = self.img_resolution.bit_length() - 3
        from_rgb = blocks if self.architecture == "skip" else 1
        return from_rgb + blocks * (3 if self.architecture == "resnet" else 2)

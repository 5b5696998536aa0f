"""The sliced Wasserstein distance on Laplacian pyramids (Karras et al. 2018, section 5): no network needed.

From each image, at each level of its Laplacian pyramid down to 16 x 16, 128 random 7 x 7 patches are taken.
The patches of a set are normalised by the mean and standard deviation of each colour channel over the set.
The distance of a level is the mean over 512 random directions of the 1-D Wasserstein distance of the
projections, times 1000. The large levels speak of fine detail, the 16 x 16 level of the large structure.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F

from metrics.blocks import BLOCK
from metrics.features.collection import Collection
from metrics.features.passes import run_pass
from metrics.features.real_images import random_order
from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, REAL_SET, Metric, Numbers, Replicates
from metrics.randomness import DIRECTIONS, PATCHES, stream

PATCH = 7
PATCHES_PER_IMAGE = 128
NUM_DIRECTIONS = 512  # the paper's implementation draws 4 times 128
SMALLEST_LEVEL = 16
SCALE = 1000.0
_DIRECTIONS_AT_A_TIME = 16


def pyramid_levels(height: int, width: int) -> list[tuple[int, int]]:
    """The levels' sizes: halved while both sides are even and at least 32; a single level for smaller images.

    Example:
        >>> pyramid_levels(64, 64), pyramid_levels(16, 24)
        ([(64, 64), (32, 32), (16, 16)], [(16, 24)])
    """
    levels = [(height, width)]
    while height % 2 == width % 2 == 0 and min(height, width) // 2 >= SMALLEST_LEVEL:
        height, width = height // 2, width // 2
        levels.append((height, width))
    return levels


def laplacian_pyramid(images: torch.Tensor, num_levels: int) -> list[torch.Tensor]:
    """Float images [N, C, H, W] to `num_levels` band-pass images, each half the size of the one before.

    The last one is the low-pass residue (Burt and Adelson 1983, with their 5-tap filter and mirrored edges).
    """
    pyramid = []
    for _ in range(num_levels - 1):
        smaller = _smooth(images)[:, :, ::2, ::2]
        pyramid.append(images - enlarge(smaller, images.shape[2:]))
        images = smaller
    return [*pyramid, images]


def _smooth(images: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    taps = images.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16 * gain
    channels = images.shape[1]
    images = F.pad(images, [2, 2, 2, 2], mode="reflect")
    images = F.conv2d(images, taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)
    return F.conv2d(images, taps.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)


def enlarge(images: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Images of twice the size, by zeros in between and the pyramid's filter."""
    spread = images.new_zeros(*images.shape[:2], *size)
    spread[:, :, ::2, ::2] = images
    return _smooth(spread, gain=2.0)  # twice in each direction, for the zeros in between


def patch_descriptors(images: torch.Tensor, start: int, seed: int) -> dict[str, torch.Tensor]:
    """The patches of images `start`, `start` + 1, ... of one block.

    Args:
        images: uint8 [N, C, H, W].
        start: index of the first image; positions are a function of (seed, image index, level).
        seed: of the positions.

    Returns:
        float16 [N, 128, C, 7, 7] by the level's height as a string.
    """
    levels = pyramid_levels(*images.shape[2:])
    random = stream(seed, PATCHES, start // BLOCK)
    descriptors = {}
    for (height, width), band in zip(levels, laplacian_pyramid(images.float(), len(levels)), strict=True):
        places = np.array([[height], [width]]) - PATCH + 1
        # One bound for both axes draws other numbers than two equal bounds.
        corners = random.integers(
            places if height != width else height - PATCH + 1, size=(BLOCK, 2, PATCHES_PER_IMAGE)
        )[: len(images)]
        corners = torch.from_numpy(corners).to(images.device)
        windows = band.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # a view [N, C, H - 6, W - 6, 7, 7]
        rows = torch.arange(len(images), device=images.device)[:, None]
        descriptors[str(height)] = windows[rows, :, corners[:, 0], corners[:, 1]].half()
    return descriptors


def sliced_wasserstein(a: torch.Tensor, b: torch.Tensor, *, seed: int, directions: int = NUM_DIRECTIONS) -> float:
    """The distance, times 1000, of two sets of descriptors [N, 128, C, 7, 7] with the same N."""
    if a.shape != b.shape:
        raise ValueError(f"the sets differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = normalised_rows(a), normalised_rows(b)
    total = 0.0
    for axes in random_directions(a.shape[1], directions, seed):
        axes = axes.to(a.device)
        difference = sorted_rows(axes @ a.T) - sorted_rows(axes @ b.T)
        total += float(difference.abs().mean(dim=1).double().sum())
    return total / directions * SCALE


def normalised_rows(descriptors: torch.Tensor) -> torch.Tensor:
    """[N, P, C, 7, 7] to float32 [N * P, C * 49], each channel with mean 0 and standard deviation 1 over the set."""
    values = descriptors.flatten(0, 1).float()
    values = values - _channel_means(values)
    deviation = _channel_means(values.square()).sqrt()
    return (values / deviation.clamp(min=1e-6)).flatten(1)  # a constant channel stays at zero


def _channel_means(values: torch.Tensor) -> torch.Tensor:
    """[K, C, 7, 7] to [1, C, 1, 1]; summed over K in float64."""
    return values.mean(dim=(2, 3), keepdim=True).mean(dim=0, keepdim=True, dtype=torch.float64).float()


def random_directions(dimension: int, count: int, seed: int) -> list[torch.Tensor]:
    """`count` unit vectors, in groups of float32 [16 or fewer, dimension]."""
    axes = stream(seed, DIRECTIONS).standard_normal((count, dimension))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return list(torch.from_numpy(axes.astype(np.float32)).split(_DIRECTIONS_AT_A_TIME))


def sorted_rows(values: torch.Tensor) -> torch.Tensor:
    """Sort each row of [K, N]; on the CPU with numpy, whose vectorised sort is twice as fast, on all threads."""
    if values.device.type != "cpu":
        return values.sort(dim=1).values
    array = values.numpy()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(np.ndarray.sort, array))
    return values


def resampled_distances(
    a: torch.Tensor, b: torch.Tensor, multiplicities: tuple[np.ndarray, np.ndarray], *, seed: int, directions: int = 32
) -> np.ndarray:
    """The distance of bootstrap resamples of whole images, [B], on the first `directions` directions.

    Args:
        a: descriptors [N, 128, C, 7, 7] of one set.
        b: descriptors of the other set.
        multiplicities: how often each image occurs in each resample, int [B, N] twice.
        seed: of the directions.
        directions: fewer than for the value itself; the same for all resamples, so their spread suffers little.
    """
    patches = a.shape[1]
    rows = [normalised_rows(a), normalised_rows(b)]
    total = np.zeros(len(multiplicities[0]))
    for axes in random_directions(rows[0].shape[1], directions, seed):
        projections = [(axes.to(row.device) @ row.T).cpu().numpy() for row in rows]
        for pair in zip(*projections, strict=True):
            orders = [np.argsort(values) for values in pair]
            ordered = [values[order] for values, order in zip(pair, orders, strict=True)]
            images = [order // patches for order in orders]
            for index in range(len(total)):
                drawn = [
                    np.repeat(values, times[index][image])
                    for values, times, image in zip(ordered, multiplicities, images, strict=True)
                ]
                total[index] += np.abs(drawn[0] - drawn[1]).mean(dtype=np.float64)
    return total / directions * SCALE


class PatchStore:
    """The patches of images 0 ... count - 1 by level."""

    def __init__(self, seed: int, count: int = 0) -> None:
        self.count, self._seed = count, seed
        self._levels: dict[str, list[torch.Tensor]] = {}

    def compute(self, images: torch.Tensor, start: int) -> dict[str, torch.Tensor]:
        """See `patch_descriptors`."""
        return patch_descriptors(images, start, self._seed)

    def add(self, start: int, values: Mapping[str, torch.Tensor]) -> None:
        """Add the patches of images start, start + 1, ..."""
        for level, rows in values.items():
            self._levels.setdefault(level, []).append(rows[: self.count - start].cpu())

    def levels(self) -> list[int]:
        """The levels' resolutions, the largest first."""
        return sorted((int(level) for level in self._levels), reverse=True)

    def level(self, level: int, count: int) -> torch.Tensor:
        """The patches of the first `count` images, float16 [count, 128, C, 7, 7] on the CPU."""
        return torch.cat(self._levels[str(level)])[:count]


class SlicedWasserstein(Metric):
    """swd[<N>][...]: equally many images of both kinds, at most N."""

    grammar = (rf"swd{COUNT}?{REAL_SET}",)
    kind = stem = "swd"
    listed = ("swd", "swd2k")
    needs_one_size = True
    default_count = 16_384  # section 5 of the paper

    def with_num_gen(self, num_gen: int) -> Self:
        """Itself: the number in its name is a limit."""
        return self

    def counts(self, num_real: int | None, num_fake: int | None) -> tuple[int | None, int]:
        """As many as there are of either."""
        count = min(self.num_gen, num_real, self.num_gen if num_fake is None else num_fake)
        return count, count

    def want(self, images: Collection, num_real: int | None, num_gen: int) -> None:
        """Patches of the judged images."""
        store = self._patches(images)
        store.count = max(store.count, num_gen)

    def gather(self, images: Collection, num_real: int | None, num_gen: int) -> tuple[Any, Any]:
        """Patches of as many different real images, chosen by the seed.

        Against stored images in the same order, so that equal images have patches at equal places.
        """
        seed = images.settings.seed
        indices = random_order(images.real.count(self.real_set, self.max_real), seed)[:num_gen]
        source = images.real.images(self.real_set, np.sort(indices) if images.is_generated else indices)
        real = PatchStore(seed, num_gen)
        run_pass(source, [real], images.settings, "real images")
        return real, self._patches(images)

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """The mean over the levels, then each level (`swd_16`)."""
        numbers: Numbers = {}
        replicates: Replicates = {}
        for level in inputs.generated.levels():
            key = f"{self.name}_{level}"
            real, generated = (
                store.level(level, inputs.num_gen).to(inputs.device) for store in (inputs.real, inputs.generated)
            )
            numbers[key] = sliced_wasserstein(real, generated, seed=inputs.seed)
            if inputs.resamples:
                replicates[key] = resampled_distances(real, generated, inputs.multiplicities(), seed=inputs.seed)
        average = float(np.mean(list(numbers.values())))
        if inputs.resamples:
            replicates[self.name] = np.mean(list(replicates.values()), axis=0)
        return {self.name: average, **numbers}, replicates

    def _patches(self, images: Collection) -> PatchStore:
        return images.store("patches", lambda: PatchStore(images.settings.seed))

"""Perceptual path length (Karras et al. 2019, section 4.1; 2020, section 3): how smoothly images follow the latents."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from metrics.blocks import BLOCK, blocks_in_order
from metrics.detectors.detector import Detector
from metrics.features.collection import Collection
from metrics.features.sampling import GeneratedImages, finite, generator_unit, private_randomness
from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, Metric, Numbers, Replicates
from metrics.randomness import PATH_NOISE, PATH_POSITIONS, stream
from metrics.settings import EvaluationSettings
from torch_utils.slerp import slerp

EPSILON = 1e-4
DISTANCE_RESOLUTION = 256


def path_lengths(
    spec: "PathLength", generated: GeneratedImages, detector: Detector, settings: EvaluationSettings
) -> np.ndarray:
    """Distances [num_gen] of images a step of 1e-4 apart, divided by the step squared.

    Path i leads from latent 2 i to latent 2 i + 1; both ends have the same label and noise.
    """
    lengths: list[torch.Tensor] = []

    def compute(start: int, stop: int) -> dict[str, torch.Tensor]:
        first = start // BLOCK * 2  # a block of paths takes two blocks of latents
        halves = [_block_lengths(spec, generated, detector, block) for block in (first, first + 1)]
        return {"lengths": torch.cat(halves)[: stop - start]}

    for start, results in blocks_in_order(settings.world, 0, spec.num_gen, compute):
        lengths.append(results["lengths"])
        if settings.progress is not None:
            settings.progress(spec.name, min(start + BLOCK, spec.num_gen), spec.num_gen)
    return torch.cat(lengths).cpu().double().numpy()


def mean_path_length(lengths: np.ndarray) -> float:
    """The mean of what lies between the 1st and the 99th percentile, as StyleGAN takes it."""
    low = np.percentile(lengths, 1, method="lower")
    high = np.percentile(lengths, 99, method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def _block_lengths(spec: "PathLength", generated: GeneratedImages, detector: Detector, block: int) -> torch.Tensor:
    """The lengths [BLOCK // 2] of one block of latents."""
    z = generated.latents(block).view(BLOCK // 2, 2, -1)
    labels = generated.block_labels(block)
    c = None if labels is None else labels[::2]
    t = stream(generated.seed, PATH_POSITIONS, block).random((BLOCK // 2, 1), dtype=np.float32)
    t = torch.from_numpy(t if spec.whole_path else np.zeros_like(t)).to(generated.device)
    seeds = generated.noise_seeds(PATH_NOISE, block)
    unit = min(generator_unit(generated.G.img_resolution), BLOCK // 2)
    lengths = []
    with torch.no_grad(), private_randomness(generated.device):
        for index, low in enumerate(range(0, BLOCK // 2, unit)):
            part = slice(low, low + unit)
            ends = _ws_at_both_ends(spec, generated.G, z[part, 0], z[part, 1], None if c is None else c[part], t[part])
            images = []
            for ws in ends:
                torch.manual_seed(seeds[index])  # the same noise at both ends
                images.append(prepare(finite(generated.G.synthesis(ws, noise_mode="random")), spec.crop))
            lengths.append(detector.distance(*images) / EPSILON**2)
    return torch.cat(lengths)


def _ws_at_both_ends(spec, G, z0, z1, c, t):
    if spec.space == "w":
        w0, w1 = G.mapping(z0, c), G.mapping(z1, c)
        return [w0.lerp(w1, position.unsqueeze(-1)) for position in (t, t + EPSILON)]
    return [G.mapping(slerp(z0, z1, position), c) for position in (t, t + EPSILON)]


def prepare(img: torch.Tensor, crop: bool) -> torch.Tensor:
    """Images in [-1, 1] to float32 [0, 255]: the middle if `crop` (where FFHQ has faces), averaged down to 256."""
    height, width = img.shape[2:]
    if crop:
        img = img[:, :, height // 8 * 3 : height // 8 * 7, width // 8 * 2 : width // 8 * 6]
    if max(height, width) > DISTANCE_RESOLUTION:
        img = F.avg_pool2d(img, max(height, width) // DISTANCE_RESOLUTION)
    return (img.float() + 1) * (255 / 2)


@dataclass(frozen=True)
class PathLength(Metric):
    """ppl2_wend, ppl_zfull, ppl_wfull, ppl_zend, ppl_wend, each optionally followed by _<N>.

    Attributes:
        space: interpolate in "z" or "w".
        whole_path: along the path, or at its start.
        crop: look at the face region only.
    """

    space: Literal["z", "w"] = "w"
    whole_path: bool = False
    crop: bool = False

    grammar = (rf"ppl(?P<uncropped>2)?_(?P<space>[zw])(?P<along>full|end)(_{COUNT})?",)
    kind, stem, home = "ppl", "ppl", "lpips"
    listed = ("ppl2_wend", "ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend")
    has_real_set = False
    needs_generator = True

    @classmethod
    def own_parts(cls, parts: dict[str, str | None]) -> dict[str, Any]:
        """The kind of path."""
        return {"space": parts["space"], "whole_path": parts["along"] == "full", "crop": not parts["uncropped"]}

    def full_name(self, space: str) -> str:
        """The kind of path before the count, a file's hash after it."""
        head = f"ppl{'' if self.crop else 2}_{self.space}{'full' if self.whole_path else 'end'}"
        return f"{head}_{self.count_in_name()}" + ("" if space == self.home else f"_{space}")

    def want(self, images: Collection, num_real: int | None, num_gen: int) -> None:
        """No images but its own."""

    def gather(self, images: Collection, num_real: int | None, num_gen: int) -> tuple[Any, Any]:
        """The lengths [num_gen]."""
        return None, path_lengths(self, images.source, images.detectors[self.detector], images.settings)

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """The mean length."""
        replicates = [mean_path_length(inputs.generated[rows]) for rows in inputs.resampled_generated()]
        return {self.name: mean_path_length(inputs.generated)}, {self.name: np.array(replicates)}

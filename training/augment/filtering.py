"""Random gain of four frequency bands (ADA, appendix B, algorithm 1, step 4)."""

import dataclasses
from collections.abc import Sequence

import torch

from training.augment.draws import Draws

# Low-pass filter of the symlet with 2 vanishing moments (Daubechies 1992), normalised to unit energy.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
NUM_BANDS = 4
# Power of natural images in the bands, lowest frequencies first, relative to their sum.
EXPECTED_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


@dataclasses.dataclass(frozen=True)
class FilterSettings:
    """Strength (multiplier of p, 0 for off), strengths of the bands, and range of the gains."""

    imgfilter: float = 0
    imgfilter_bands: Sequence[float] = (1, 1, 1, 1)
    imgfilter_std: float = 1.0

    @property
    def enabled(self) -> bool:
        """Whether any band is on."""
        return self.imgfilter > 0 and any(strength > 0 for strength in self.imgfilter_bands)


def filter_bank() -> torch.Tensor:
    """Zero-phase filters [4, 43], lowest band first, that sum to the unit impulse: float64.

    Each octave is split into autocorrelations of the wavelet's low-pass and high-pass filters: H(z) H(1/z) / 2.
    """
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1, -1, 1, -1])
    low, high = _convolve(low, low.flip(0)) / 2, _convolve(high, high.flip(0)) / 2
    bands = [torch.ones(1, dtype=torch.float64)]
    for _ in range(NUM_BANDS - 1):
        # One octave up: spread what there is, remove its image in the new highest band, and add that band.
        bands = [_convolve(_spread(band), low) for band in bands]
        margin = (len(bands[0]) - len(high)) // 2
        bands.append(torch.nn.functional.pad(high, [margin, margin]))
    return torch.stack(bands)


def band_matrices(bands: torch.Tensor, size: int) -> torch.Tensor:
    """Filtering of a line of `size` pixels, mirrored at both ends as often as needed: [bands, size, size].

    line @ matrix is the filtered line. The mirror does not repeat the pixel at the rim.
    """
    taps = bands.shape[1]
    pixels = torch.arange(size, device=bands.device)
    source = pixels[:, None] + torch.arange(taps, device=bands.device) - taps // 2
    period = max(2 * (size - 1), 1)
    source = source.remainder(period)
    source = torch.where(source < size, source, period - source)
    selection = (source[:, :, None] == pixels).to(bands.dtype)  # [out, tap, in]
    return torch.einsum("bt,oti->bio", bands, selection)


def sample_gains(settings: FilterSettings, draws: Draws) -> torch.Tensor:
    """Gains [N, 4] of the bands; each change of one band keeps the expected power of the image."""
    gains = torch.ones([draws.num, NUM_BANDS], device=draws.device)
    for index, strength in enumerate(settings.imgfilter_bands):
        if strength > 0:
            gain = draws.apply(settings.imgfilter * strength, torch.exp2(draws.normal() * settings.imgfilter_std), 1)
            power = 1 + EXPECTED_POWER[index] * (gain.square() - 1)
            changed = torch.arange(NUM_BANDS, device=draws.device) == index
            gains = gains * torch.where(changed, gain[:, None], 1) / power.sqrt()[:, None]
    return gains


def apply_filter(settings: FilterSettings, draws: Draws, bands: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Filter images [N, C, H, W] along both axes with the sum of the `bands` [4, taps] at random gains."""
    gains = sample_gains(settings, draws)
    down, across = (
        torch.einsum("nb,bio->nio", gains, band_matrices(bands, side))[:, None] for side in images.shape[2:]
    )
    filtered = down.transpose(2, 3) @ images @ across
    # The unit filter is left out rather than applied, so that reduced-precision matrix products do not touch it.
    unchanged = (gains == 1).all(dim=1)[:, None, None, None]
    return torch.where(unchanged, images, filtered)


def _convolve(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _spread(taps: torch.Tensor) -> torch.Tensor:
    """One zero between each two taps."""
    return torch.stack([taps, torch.zeros_like(taps)], dim=1).flatten()[:-1]

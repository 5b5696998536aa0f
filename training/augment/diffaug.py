"""DiffAugment (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training", arXiv 2006.10738)."""

import torch

from training.augment.draws import Draws

_SHIFT = 8  # images are shifted by an eighth of a side at most
_HALF = 2  # cutout takes half of each side


class DiffAugment(torch.nn.Module):
    """Colour, translation and cutout, differentiable and for every image; never waits for the device.

    Each transform applies to each image with probability p, independently. The paper applies all of them always, which
    is p = 1: `p` is a 0-dimensional float32 buffer that starts there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("p", torch.ones([]))

    def forward(self, images: torch.Tensor, debug_percentile: float | None = None) -> torch.Tensor:
        """Augment images [N, C, H, W] float32, C from 1 to 4, about [-1, 1]: the same shape and dtype.

        Channels are grey, grey and alpha, RGB, or RGB and alpha; colour leaves alpha alone, and the saturation of grey
        images has no meaning. Random numbers come from the device's default generator.

        Args:
            images: The batch.
            debug_percentile: From 0 to 1: apply every transform to every image, each quantity at this percentile.
        """
        draws = Draws(len(images), images.device, self.p, debug_percentile)
        channels = images.shape[1]
        colours = channels - (channels % 2 == 0)
        images = torch.cat([_colour(images[:, :colours], draws), images[:, colours:]], dim=1)
        return _cutout(_translate(images, draws), draws)


def _colour(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Brightness x + U(-0.5, 0.5), then the distances to the pixel's mean times U(0, 2), to the image's U(0.5, 1.5)."""
    images = images + draws.apply(1.0, draws.uniform(1, 1, 1) - 0.5, 0.0)
    # As the image and what is added to it, so that a transform that is left out changes no bit.
    if images.shape[1] > 1:
        distance = images - images.mean(dim=1, keepdim=True)
        images = images + distance * draws.apply(1.0, draws.uniform(1, 1, 1) * 2 - 1, 0.0)
    distance = images - images.mean(dim=[1, 2, 3], keepdim=True)
    return images + distance * draws.apply(1.0, draws.uniform(1, 1, 1) - 0.5, 0.0)


def _translate(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Shift by whole pixels, up to an eighth of each side; what comes in from outside is zero."""
    for dim in (2, 3):
        size = images.shape[dim]
        most = size // _SHIFT
        shift = draws.apply(1.0, _whole(draws, -most, most), 0.0)
        source = torch.arange(size, device=images.device) - shift.long()[:, None]
        shape = [len(images), 1, 1, 1]
        shape[dim] = size
        inside = ((source >= 0) & (source < size)).view(shape)
        index = source.clamp(0, size - 1).view(shape).expand(images.shape)
        images = torch.gather(images, dim, index) * inside
    return images


def _cutout(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Set to zero a part of half the height and width, whose centre is anywhere in the image."""
    covered = []
    for size in images.shape[2:]:
        half = size // _HALF
        start = _whole(draws, -(half // 2), size - half // 2)
        place = torch.arange(size, device=images.device)
        covered.append((place >= start[:, None]) & (place < start[:, None] + half))
    hole = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    used = draws.apply(1.0, torch.ones(len(images), 1, 1, 1, device=images.device), 0.0)
    return images * (1 - used * hole)


def _whole(draws: Draws, low: int, high: int) -> torch.Tensor:
    """[N] whole numbers as float from `low` to `high`, both included."""
    return (low + draws.uniform() * (high - low + 1)).floor().clamp(max=high)

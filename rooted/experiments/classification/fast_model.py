"""A small convolutional classifier for images of 32 x 32 that learns in a few epochs.

The ideas are published: a whitening first layer and short one-cycle training (Page, "How to train your ResNet", 2018),
the shape of the network and the partial identity at the start (Jordan, arXiv 2404.00498).
"""

import torch
from torch import Tensor, nn

WIDTHS = {"fast": (64, 128, 256), "fast-wide": (64, 256, 256)}
_PATCH = 2  # side of the patches that are whitened
_VARIANCE = 5e-4  # added to their variances, so that what hardly varies is not blown up
_SCALE = 1 / 9  # of the logits


class FastNet(nn.Module):
    """Whitened 2 x 2 patches, three blocks of two convolutions, maximum, linear: (N, 3, S, S) to logits (N, classes).

    Args:
        widths: channels of the three blocks, each of which halves the sides.
        classes: how many.
    """

    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        patches = 3 * _PATCH**2
        self.whitening = nn.Conv2d(3, 2 * patches, _PATCH)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)
        steps = zip((2 * patches, *widths), widths, strict=False)
        self.blocks = nn.Sequential(nn.GELU(), *(_block(before, after) for before, after in steps))
        self.head = nn.Linear(widths[-1], classes, bias=False)

    @torch.no_grad()
    def whiten(self, x: Tensor) -> None:
        """Set the first layer so that the patches of images `x` (N, 3, S, S) leave it uncorrelated and of equal size.

        Each direction is there with both signs, as what follows lets mostly the positive part through.
        """
        patches = nn.functional.unfold(x.float(), _PATCH).transpose(1, 2).flatten(0, 1).double()
        centred = patches - patches.mean(0)
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        filters = (directions / (variances + _VARIANCE).sqrt()).T.reshape(-1, 3, _PATCH, _PATCH)
        self.whitening.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.blocks(self.whitening(x)).amax((2, 3))) * _SCALE


def _block(before: int, after: int) -> nn.Sequential:
    first, second = (nn.Conv2d(n, after, 3, padding=1, bias=False) for n in (before, after))
    for layer in (first, second):
        nn.init.dirac_(layer.weight[: layer.in_channels])  # what comes in is passed on, the other channels are random
    return nn.Sequential(
        first, nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.GELU(), second, nn.BatchNorm2d(after), nn.GELU()
    )

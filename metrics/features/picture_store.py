"""What is kept of the images themselves, for metrics that look at them: small copies."""

import torch

from metrics.copying.correlation import reduced


class PictureStore:
    """Images 0 ... count - 1 as uint8 RGB of at most 64 pixels, 12 KiB each."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._rows: list[torch.Tensor] = []

    def compute(self, images: torch.Tensor, start: int) -> dict[str, torch.Tensor]:
        """See `reduced`."""
        return {"pictures": reduced(images)}

    def add(self, start: int, values: dict[str, torch.Tensor]) -> None:
        """Add the images start, start + 1, ..."""
        self._rows.append(values["pictures"][: self.count - start].cpu())

    def pictures(self, count: int) -> torch.Tensor:
        """The first `count` images, uint8 [count, 3, h, w] on the CPU."""
        return torch.cat(self._rows)[:count]

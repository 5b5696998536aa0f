"""Adaptive pseudo augmentation (Jiang et al. 2021, "Deceive D", arXiv 2111.06849): generated images among the real."""

import torch


class PseudoReals(torch.nn.Module):
    """Puts a generated image in the place of each real one with probability p; images themselves stay as they are.

    `p` is a 0-dimensional float32 buffer, moved by an `AdaController`: it rises while the discriminator is too sure of
    what it is shown as real, which the generated images among it limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("p", torch.zeros([]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`images` unchanged."""
        return images

    def replace(
        self, real: torch.Tensor, real_c: torch.Tensor, fake: torch.Tensor, fake_c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is shown as real: images [N, C, H, W] and labels [N, c_dim], an image always with its own label."""
        chosen = torch.rand(len(real), 1, device=real.device) < self.p
        return torch.where(chosen[:, :, None, None], fake, real), torch.where(chosen, fake_c, real_c)

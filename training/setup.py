"""The parts of a run, built from its configuration."""

from collections.abc import Callable

import torch

from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.networks import Discriminator, Generator, set_precision
from training.networks.precision import lay_out_narrow_blocks
from training.randomness import derived_seed


def set_backends(config: TrainingConfig) -> None:
    """PyTorch's own switches: TF32, cuDNN's search, and repeatable reductions on the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = config.precision.allow_tf32
    torch.backends.cudnn.allow_tf32 = config.precision.allow_tf32
    torch.backends.cudnn.benchmark = config.precision.cudnn_benchmark


def build_networks(config: TrainingConfig, device: torch.device) -> tuple[Generator, Discriminator, Generator]:
    """G, D and G_ema with the weights that the seed determines, whatever the loss and the device.

    All require no gradient; a phase asks for that of the network that it updates.
    """
    torch.manual_seed(derived_seed(config.random_seed, "weights"))
    G, D = Generator(config.G_kwargs), Discriminator(config.D_kwargs)
    G_ema = Generator(config.G_kwargs)
    G_ema.load_state_dict(G.state_dict())
    dtype = getattr(torch, config.precision.dtype)
    reduced = 0 if dtype is torch.float32 else config.precision.num_fp16_res
    for network in (G, D, G_ema):
        network.requires_grad_(False).to(device)
        set_precision(network, dtype, reduced, config.precision.channels_last)
        if device.type == "cpu" and config.precision.narrow_channels_last:
            lay_out_narrow_blocks(network)
    return G.train(), D.train(), G_ema.eval()


def count_parameters(config: TrainingConfig) -> int:
    """The number of parameters of G and D together, without making them."""
    with torch.device("meta"):
        networks = Generator(config.G_kwargs), Discriminator(config.D_kwargs)
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def fake_label_source(dataset: ImageDataset, device: torch.device) -> Callable[[int], torch.Tensor]:
    """A function count -> labels [count, label_dim] of images drawn uniformly from the training set."""

    def draw(count: int) -> torch.Tensor:
        if dataset.label_dim == 0:
            return torch.zeros(count, 0, device=device)
        return dataset.labels(torch.randint(len(dataset), (count,))).to(device, non_blocking=True)

    return draw

"""Many small fully connected networks, of one shape, computed as one batch."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

Layers = list[tuple[Tensor, Tensor]]


def start_weights(sizes: list[int], seeds: list[int]) -> Layers:
    """Weights (S, in, out) and biases (S, 1, out) of every layer, drawn as torch's linear layers are."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        bound = fan_in**-0.5
        drawn = [(2 * torch.rand(fan_in + 1, fan_out, generator=g) - 1) * bound for g in generators]
        stacked = torch.stack(drawn)
        layers.append((stacked[:, :-1].contiguous(), stacked[:, -1:].contiguous()))
    return layers


def forward(layers: Layers, x: Tensor, activation: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    """Outputs (S, N, out) of S networks for their inputs (S, N, in)."""
    for weight, bias in layers[:-1]:
        x = activation(torch.baddbmm(bias, x, weight))
    return torch.baddbmm(layers[-1][1], x, layers[-1][0])

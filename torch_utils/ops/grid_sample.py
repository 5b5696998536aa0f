"""Bilinear image sampling that can be differentiated twice on every device."""

import functools

import torch
import torch.nn.functional as F


def grid_sample(input: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample images bilinearly, with zeros outside.

    Args:
        input: images [N, C, H, W].
        grid: positions [N, OH, OW, 2] as (x, y); -1 and 1 are the outer edges of the outer pixels
            (`align_corners=False` of `torch.nn.functional.grid_sample`).

    Returns:
        [N, C, OH, OW]. Twice differentiable in `input` and in `grid`.
    """
    grid = grid.to(input.dtype)
    needs_grad = torch.is_grad_enabled() and (input.requires_grad or grid.requires_grad)
    if not needs_grad or builtin_is_twice_differentiable(input.device.type):
        return F.grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return gather_bilinear(input, grid)


@functools.cache
def builtin_is_twice_differentiable(device_type: str) -> bool:
    """Try the second derivative of PyTorch's sampler on a device type, against the one by gathering.

    Older CUDA builds of PyTorch have none; the answer is found by trying, not by version.
    """
    if device_type == "cpu":
        device = torch.device("cpu")
    else:
        device = torch.device(device_type, torch.accelerator.current_device_index())
    with torch.enable_grad(), torch.autocast(device_type, enabled=False):
        image = torch.linspace(-1, 2, 16, device=device).reshape(1, 1, 4, 4)
        places = torch.linspace(-0.9, 0.8, 8, device=device).reshape(1, 2, 2, 2)
        try:
            expected = _second_derivatives(gather_bilinear, image, places)
            found = _second_derivatives(
                functools.partial(F.grid_sample, mode="bilinear", padding_mode="zeros", align_corners=False),
                image,
                places,
            )
        except (RuntimeError, NotImplementedError):
            return False
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True))


def gather_bilinear(input: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """`grid_sample` made of gathers and products, which PyTorch differentiates any number of times."""
    batch, channels, height, width = input.shape
    _, rows, columns, _ = grid.shape
    x = ((grid[..., 0] + 1) * width - 1) / 2
    y = ((grid[..., 1] + 1) * height - 1) / 2
    left, top = x.detach().floor(), y.detach().floor()
    pixels = input.reshape(batch, channels, height * width)
    result = input.new_zeros([batch, channels, rows, columns])
    for across in (0, 1):
        for below in (0, 1):
            column, row = left + across, top + below
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            # Clamped before the conversion: far outside, the product would not fit an integer.
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            index = index.reshape(batch, 1, rows * columns).expand(-1, channels, -1)
            values = pixels.gather(2, index).reshape(batch, channels, rows, columns)
            result = result + values * torch.where(inside, weight, 0)[:, None]
    return result


def _second_derivatives(sample, image: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, ...]:
    image, places = image.clone().requires_grad_(), places.clone().requires_grad_()
    first = torch.autograd.grad(sample(image, places).square().sum(), [image, places], create_graph=True)
    return torch.autograd.grad(sum(g.square().sum() for g in first), [image, places])

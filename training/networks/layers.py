"""Layers that both networks are made of: fully connected, convolution, label and latent mapping.

All weights are drawn from N(0, 1) and scaled at run time by 1 / sqrt(fan-in) ("equalized learning rate", Karras et
al. 2018, section 4.1), so that Adam moves all layers at a similar relative speed.
"""

import math

import torch

from torch_utils.ops.bias_act import activations, bias_act
from torch_utils.ops.conv import conv2d_resample
from torch_utils.ops.upfirdn2d import setup_filter
from training.networks.precision import at_least_float32

RESAMPLE_TAPS = (1, 3, 3, 1)


def normalize_2nd_moment(x: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """Scale each row of x [N, D] to mean square 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


class FullyConnectedLayer(torch.nn.Module):
    """y = act(x W^T / sqrt(in) + b): [N, in_features] -> [N, out_features], float32.

    `lr_multiplier` m scales weight and bias by m at run time, while the weight starts at N(0, 1) / m: the effective
    learning rate is m times the optimizer's (Karras et al. 2019, appendix C).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = torch.nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = torch.nn.Parameter(torch.full([out_features], float(bias_init)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, in_features] -> [N, out_features]."""
        # The gain goes to the input, which is much smaller than the weight.
        x = x.to(self.weight.dtype) * self.weight_gain
        bias = self.bias if self.bias_gain == 1 else self.bias * self.bias_gain
        if self.activation == "linear":
            return torch.addmm(bias, x, self.weight.t())
        return bias_act(x.matmul(self.weight.t()), bias, act=self.activation)

    def extra_repr(self) -> str:
        """Sizes and activation for `print(network)`."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, activation={self.activation}"


class Conv2dLayer(torch.nn.Module):
    """Convolution with optional 2x downsampling, bias, activation and clamping: [N, in, H, W] -> [N, out, H', W'].

    Works in the dtype and memory layout of its input. A layer that is not `trainable` keeps weight and bias as
    buffers of the same names, so no optimizer and no `requires_grad_` can move them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        activation: str = "linear",
        down: int = 1,
        conv_clamp: float | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.down = down
        self.conv_clamp = conv_clamp
        self.padding = kernel_size // 2
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        offset = torch.zeros(out_channels) if bias else None
        if trainable:
            self.weight = torch.nn.Parameter(weight)
            self.bias = torch.nn.Parameter(offset) if bias else None
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("bias", offset)

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """Scale the activated output by `gain`; the clamp scales with it."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        x = conv2d_resample(x, weight, self.resample_filter, down=self.down, padding=self.padding)
        return bias_act(
            x,
            bias,
            act=self.activation,
            gain=activations[self.activation].def_gain * gain,
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
        )

    def extra_repr(self) -> str:
        """Sizes and activation for `print(network)`."""
        size = ", ".join(map(str, self.weight.shape[:3]))
        return f"{size}, activation={self.activation}, down={self.down}"


class MappingNetwork(torch.nn.Module):
    """Latent z and label c to the intermediate latent w (Karras et al. 2019, section 2; labels as in ADA).

    z is normalised, c embedded linearly and normalised; their concatenation passes `num_layers` fully connected layers
    with a learning rate 100 times smaller. With z_dim = 0 this is the discriminator's label mapping.

    Args:
        z_dim: Length of z, or 0.
        c_dim: Length of c, or 0.
        w_dim: Length of w and of the embedded label.
        num_layers: Fully connected layers.
        num_ws: Copies of w in the output [N, num_ws, w_dim]; None for an output [N, w_dim] without truncation.
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, *, num_layers: int, num_ws: int | None) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.num_ws = num_ws
        self.num_layers = num_layers
        if c_dim > 0:
            self.embed = FullyConnectedLayer(c_dim, w_dim)
        features = z_dim + (w_dim if c_dim > 0 else 0)
        for index in range(num_layers):
            layer = FullyConnectedLayer(features, w_dim, activation="lrelu", lr_multiplier=0.01)
            self.add_module(f"fc{index}", layer)
            features = w_dim
        if num_ws is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: torch.Tensor | None,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> torch.Tensor:
        """Map z [N, z_dim] and c [N, c_dim] to ws [N, num_ws, w_dim], all float32.

        Args:
            z: Latents, usually from N(0, 1); None if z_dim is 0.
            c: Labels; ignored, may be None, if c_dim is 0.
            truncation_psi: Distance of w from `w_avg` is scaled by this; 1 leaves w as it is.
            truncation_cutoff: Truncate only the first so many of the num_ws copies; None for all.

        Raises:
            ValueError: c is missing or its shape does not fit.
        """
        inputs = []
        if self.z_dim > 0:
            inputs.append(normalize_2nd_moment(at_least_float32(z)))
        if self.c_dim > 0:
            if c is None or c.ndim != 2 or c.shape[1] != self.c_dim:
                got = None if c is None else list(c.shape)
                raise ValueError(f"this network is conditional: it needs labels [N, {self.c_dim}], got {got}")
            inputs.append(normalize_2nd_moment(self.embed(c)))
        w = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)
        for index in range(self.num_layers):
            w = getattr(self, f"fc{index}")(w)
        if self.num_ws is None:
            return w
        ws = w.unsqueeze(1).expand(-1, self.num_ws, -1)
        return ws if truncation_psi == 1 else self.truncate(ws, truncation_psi, truncation_cutoff)

    def truncate(
        self, ws: torch.Tensor, psi: float, cutoff: int | None = None, center: torch.Tensor | None = None
    ) -> torch.Tensor:
        """w_avg + psi (w - w_avg) for the first `cutoff` of ws [N, num_ws, w_dim] (Karras et al. 2019, appendix B).

        `center` [w_dim] takes the place of w_avg.
        """
        truncated = (self.w_avg if center is None else center).lerp(ws[:, :cutoff], psi)
        return truncated if cutoff is None else torch.cat([truncated, ws[:, cutoff:]], dim=1)

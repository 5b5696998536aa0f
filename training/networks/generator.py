"""The StyleGAN2 generator: mapping network, then a synthesis that sums images of growing resolution.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", figure 2 (weight demodulation) and
figure 7 (output skips).
"""

import math
from collections.abc import Iterator

import torch

from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.conv import modulated_conv2d
from torch_utils.ops.upfirdn2d import setup_filter, upsample2d
from training.networks.config import GeneratorConfig
from training.networks.layers import RESAMPLE_TAPS, FullyConnectedLayer, MappingNetwork
from training.networks.precision import ResolutionBlock, at_least_float32

NOISE_MODES = ("random", "const", "none")


class SynthesisLayer(torch.nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: [N, in, H, W] -> [N, out, up H, up W]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
        *,
        up: int = 1,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.up = up
        self.conv_clamp = conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = torch.nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = torch.nn.Parameter(torch.zeros([]))
        self.bias = torch.nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        self.register_buffer("noise_const", torch.randn(size))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise_mode: str, fused_modconv: bool) -> torch.Tensor:
        """One layer with styles from w [N, w_dim]; the output has the dtype of x."""
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=self._noise(x.shape[0], noise_mode),
            up=self.up,
            padding=1,
            resample_filter=self.resample_filter,
            flip_weight=self.up == 1,
            fused=fused_modconv,
        )
        return bias_act(x, self.bias.to(x.dtype), act="lrelu", clamp=self.conv_clamp)

    def _noise(self, batch: int, noise_mode: str) -> torch.Tensor | None:
        if noise_mode == "none":
            return None
        if noise_mode == "const":
            return self.noise_const * self.noise_strength
        shape = [batch, 1, *self.size]
        return torch.randn(shape, device=self.noise_strength.device) * self.noise_strength


class ToRGBLayer(torch.nn.Module):
    """Modulated 1x1 convolution without demodulation, bias: [N, in, H, W] -> [N, img_channels, H, W]."""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, *, conv_clamp: float | None = None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1)
        self.weight = torch.nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = torch.nn.Parameter(torch.zeros(img_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: torch.Tensor, w: torch.Tensor, fused_modconv: bool) -> torch.Tensor:
        """One layer with styles from w [N, w_dim]; the output has the dtype of x."""
        styles = self.affine(w) * self.weight_gain
        x = modulated_conv2d(x, self.weight, styles, demodulate=False, fused=fused_modconv)
        return bias_act(x, self.bias.to(x.dtype), clamp=self.conv_clamp)


class SynthesisBlock(ResolutionBlock):
    """All layers of one resolution: [conv0 with 2x upsampling,] conv1, torgb. The first starts from a constant."""

    def __init__(self, in_channels: int | None, out_channels: int, resolution: int, *, config: GeneratorConfig) -> None:
        super().__init__(resolution)
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        w_dim, clamp, size = config.w_dim, config.conv_clamp, config.size(resolution)
        self.is_first = in_channels is None
        if in_channels is None:
            self.const = torch.nn.Parameter(torch.randn(out_channels, *size))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, size, up=2, conv_clamp=clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, size, conv_clamp=clamp)
        self.torgb = ToRGBLayer(out_channels, config.img_channels, w_dim, conv_clamp=clamp)

    @property
    def num_convs(self) -> int:
        """3x3 convolutions of the block."""
        return 1 if self.is_first else 2

    def forward(
        self,
        x: torch.Tensor | None,
        img: torch.Tensor | None,
        ws: tuple[torch.Tensor, ...],
        noise_mode: str,
        fused_modconv: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and image of half the resolution (None for the first block) to features and float32 image of this.

        `ws` are num_convs + 1 tensors [N, w_dim], the last for torgb.
        """
        styles: Iterator[torch.Tensor] = iter(ws)
        if x is None:
            x = self.const.unsqueeze(0).expand(ws[0].shape[0], -1, -1, -1)
        x = self.precision.cast(x)
        if not self.is_first:
            x = self.conv0(x, next(styles), noise_mode, fused_modconv)
        x = self.conv1(x, next(styles), noise_mode, fused_modconv)
        y = at_least_float32(self.torgb(x, next(styles), fused_modconv))
        return x, y if img is None else upsample2d(img, self.resample_filter) + y


class SynthesisNetwork(torch.nn.Module):
    """Intermediate latents ws [N, num_ws, w_dim] to images [N, img_channels, H, W]; blocks are b4, b8, ... bR."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.num_ws = config.num_ws
        self.w_dim = config.w_dim
        self.block_resolutions = [2**i for i in range(2, config.img_resolution.bit_length())]
        in_channels = None
        for resolution in self.block_resolutions:
            out_channels = config.channels(resolution)
            block = SynthesisBlock(in_channels, out_channels, resolution, config=config)
            self.add_module(f"b{resolution}", block)
            in_channels = out_channels

    def forward(
        self, ws: torch.Tensor, *, noise_mode: str = "random", fused_modconv: bool | None = None
    ) -> torch.Tensor:
        """Images [N, img_channels, H, W], float32, about [-1, 1] once trained, from ws [N, num_ws, w_dim] float32.

        Args:
            ws: Intermediate latents, one for each layer.
            noise_mode: "random" draws noise from torch's default generator of the device, "const" uses the buffers
                `noise_const`, "none" adds none.
            fused_modconv: Modulate weights (one grouped convolution for the batch) instead of features. None: only
                where it is faster, which is in evaluation mode on a GPU with a batch of 1.

        Raises:
            ValueError: an unknown noise mode, or ws of another shape.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is {noise_mode!r}; it must be one of {', '.join(NOISE_MODES)}")
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(f"ws must be [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}")
        if fused_modconv is None:
            fused_modconv = not self.training and ws.device.type != "cpu" and ws.shape[0] == 1
        per_layer = ws.unbind(dim=1)
        x = img = None
        first = 0
        for resolution in self.block_resolutions:
            block = getattr(self, f"b{resolution}")
            # The torgb of a block shares its w with the first convolution of the next block.
            block_ws = per_layer[first : first + block.num_convs + 1]
            x, img = block(x, img, block_ws, noise_mode, fused_modconv)
            first += block.num_convs
        return img


class Generator(torch.nn.Module):
    """G(z, c) = synthesis(mapping(z, c)): latents [N, z_dim] and labels [N, c_dim] to images [N, img_channels, H, W].

    Names of parameters and buffers are those of the official networks (`mapping.fc0.weight`,
    `synthesis.b8.conv0.affine.bias`, ...), so that weights can be exchanged.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = config.w_dim
        self.num_ws = config.num_ws
        self.img_resolution = config.img_resolution
        self.img_channels = config.img_channels
        self.synthesis = SynthesisNetwork(config)
        self.mapping = MappingNetwork(
            config.z_dim, config.c_dim, config.w_dim, num_layers=config.mapping_layers, num_ws=config.num_ws
        )

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        fused_modconv: bool | None = None,
    ) -> torch.Tensor:
        """Images float32, about [-1, 1] once trained; arguments as of `MappingNetwork` and `SynthesisNetwork`."""
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode, fused_modconv=fused_modconv)

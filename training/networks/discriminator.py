"""The StyleGAN2 discriminator: residual blocks down to 4 x 4, minibatch standard deviation, label projection.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", figure 7 (architectures); Karras et al.
2018 (minibatch standard deviation); Miyato and Koyama 2018 (projection).
"""

import math

import torch

from torch_utils.ops.upfirdn2d import downsample2d, setup_filter
from training.networks.config import DiscriminatorConfig
from training.networks.layers import RESAMPLE_TAPS, Conv2dLayer, FullyConnectedLayer, MappingNetwork
from training.networks.precision import ResolutionBlock, at_least_float32


class DiscriminatorBlock(ResolutionBlock):
    """[fromrgb,] conv0, conv1 with 2x downsampling [, skip]: features and image of one resolution to half of it.

    Args:
        in_channels: Feature maps that come in; None for the block that starts from the image.
        config: Of the whole discriminator.
        resolution: Of the input.
        num_frozen: So many of the block's layers are constant.
    """

    def __init__(
        self, in_channels: int | None, resolution: int, *, config: DiscriminatorConfig, num_frozen: int = 0
    ) -> None:
        super().__init__(resolution)
        self.architecture = config.architecture
        self.num_layers = 0
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        middle, out_channels = config.channels(resolution), config.channels(resolution // 2)

        def layer(fan_in: int, fan_out: int, kernel_size: int, **options) -> Conv2dLayer:
            trainable = self.num_layers >= num_frozen
            self.num_layers += 1
            return Conv2dLayer(
                fan_in, fan_out, kernel_size, conv_clamp=config.conv_clamp, trainable=trainable, **options
            )

        if in_channels is None or config.architecture == "skip":
            self.fromrgb = layer(config.img_channels, middle, 1, activation="lrelu")
        self.conv0 = layer(middle, middle, 3, activation="lrelu")
        self.conv1 = layer(middle, out_channels, 3, activation="lrelu", down=2)
        if config.architecture == "resnet":
            self.skip = layer(middle, out_channels, 1, bias=False, down=2)

    def forward(self, x: torch.Tensor | None, img: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The image, float32, is passed on only where a later block needs it."""
        if x is not None:
            x = self.precision.cast(x)
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(self.precision.cast(img))
            x = y if x is None else x + y
            skips = self.architecture == "skip"
            img = downsample2d(img, self.resample_filter) if skips else None
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), img
        y = self.skip(x, gain=math.sqrt(0.5))
        return y + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), img


class MinibatchStdLayer(torch.nn.Module):
    """Append feature maps that hold the standard deviation over groups of images (Karras et al. 2018, section 3).

    Groups have `group_size` images or, where that does not divide the batch size N, its largest divisor below.
    Image n belongs to group n mod (N / group size).
    """

    def __init__(self, group_size: int, num_channels: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.num_channels = num_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, C, H, W] -> [N, C + num_channels, H, W]."""
        n, c, h, w = x.shape
        size = next(g for g in range(min(self.group_size, n), 0, -1) if n % g == 0)
        groups = x.reshape(size, n // size, self.num_channels, c // self.num_channels, h, w)
        std = (groups - groups.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt()
        std = std.mean(dim=[2, 3, 4]).repeat(size, 1)
        return torch.cat([x, std[:, :, None, None].expand(-1, -1, h, w)], dim=1)


class DiscriminatorEpilogue(ResolutionBlock):
    """Features [N, C, h, w] to [N, out_features]: minibatch std, 3x3 convolution, two fully connected layers."""

    def __init__(self, config: DiscriminatorConfig, out_features: int) -> None:
        super().__init__(resolution=4)
        channels = config.channels(4)
        if config.architecture == "skip":
            self.fromrgb = Conv2dLayer(
                config.img_channels, channels, 1, activation="lrelu", conv_clamp=config.conv_clamp
            )
        self.mbstd = (
            MinibatchStdLayer(config.mbstd_group_size, config.mbstd_num_channels)
            if config.mbstd_num_channels > 0
            else None
        )
        self.conv = Conv2dLayer(
            channels + config.mbstd_num_channels, channels, 3, activation="lrelu", conv_clamp=config.conv_clamp
        )
        self.fc = FullyConnectedLayer(channels * math.prod(config.size(4)), channels, activation="lrelu")
        self.out = FullyConnectedLayer(channels, out_features)

    def forward(self, x: torch.Tensor, img: torch.Tensor | None) -> torch.Tensor:
        """Only the convolutions follow the block's precision."""
        x = at_least_float32(x)
        if img is not None:
            x = x + at_least_float32(self.fromrgb(self.precision.cast(img)))
        if self.mbstd is not None:
            x = self.mbstd(x)
        x = at_least_float32(self.conv(self.precision.cast(x)))
        return self.out(self.fc(x.flatten(1)))


class Discriminator(torch.nn.Module):
    """D(img, c) -> logits: images [N, img_channels, H, W] in about [-1, 1] and labels [N, c_dim] to [N, 1].

    Names of parameters and buffers are those of the official networks (`b16.skip.weight`, `b4.out.weight`, ...).
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        self.img_resolution = config.img_resolution
        self.img_channels = config.img_channels
        self.block_resolutions = [2**i for i in range(config.img_resolution.bit_length() - 1, 2, -1)]
        in_channels, frozen = None, config.freeze_layers
        for resolution in self.block_resolutions:
            block = DiscriminatorBlock(in_channels, resolution, config=config, num_frozen=frozen)
            self.add_module(f"b{resolution}", block)
            in_channels = config.channels(resolution // 2)
            frozen = max(frozen - block.num_layers, 0)
        cmap_dim = config.channels(4) if config.cmap_dim is None else config.cmap_dim
        self.cmap_dim = cmap_dim if config.c_dim > 0 else 0
        if config.c_dim > 0:
            self.mapping = MappingNetwork(0, config.c_dim, cmap_dim, num_layers=config.mapping_layers, num_ws=None)
        self.b4 = DiscriminatorEpilogue(config, out_features=self.cmap_dim or 1)

    def forward(self, img: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [N, 1] float32; positive means real.

        Args:
            img: Images [N, img_channels, H, W].
            c: Labels [N, c_dim] float32; ignored, may be None, if c_dim is 0.

        Raises:
            ValueError: images or labels of another shape.
        """
        expected = (self.img_channels, *self.config.img_size)
        if img.ndim != 4 or img.shape[1:] != expected:
            raise ValueError(f"images must be [N, {', '.join(map(str, expected))}], got {list(img.shape)}")
        img = at_least_float32(img)
        x = None
        for resolution in self.block_resolutions:
            x, img = getattr(self, f"b{resolution}")(x, img)
        x = self.b4(x, img)
        if self.c_dim == 0:
            return x
        return (x * self.mapping(None, c)).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)

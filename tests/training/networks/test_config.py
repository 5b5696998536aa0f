"""Configurations: round trip, errors, and the sizes of the networks that they define."""

import json

import pytest
import torch

from dnnlib import UserError
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

# Resolution, channel_base, mapping layers, parameters of G and of D.
PARAMETERS = [
    (64, 16384, 2, 22_243_608, 23_407_361),
    (128, 16384, 2, 22_949_277, 23_882_369),
    (256, 16384, 2, 23_191_522, 24_001_089),
    (256, 16384, 8, 24_767_458, 24_001_089),
    (512, 32768, 2, 28_700_647, 28_982_849),
    (512, 32768, 8, 30_276_583, 28_982_849),
    (1024, 32768, 2, 28_794_124, 29_012_513),
    (1024, 32768, 8, 30_370_060, 29_012_513),
]


def count(tensors):
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(("resolution", "channel_base", "layers", "of_G", "of_D"), PARAMETERS)
def test_parameter_counts_of_the_presets(resolution, channel_base, layers, of_G, of_D):
    shared = {"img_resolution": resolution, "channel_base": channel_base}
    with torch.device("meta"):
        G = Generator(GeneratorConfig(mapping_layers=layers, **shared))
        D = Discriminator(DiscriminatorConfig(**shared))
    assert count(G.parameters()) == of_G
    assert count(D.parameters()) == of_D


def test_buffers_of_the_generator_at_64():
    with torch.device("meta"):
        G = Generator(GeneratorConfig(img_resolution=64, channel_base=16384, mapping_layers=2))
    assert count(G.buffers()) == 11_632


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(img_resolution=64, z_dim=32, c_dim=3, conv_clamp=None),
        DiscriminatorConfig(img_resolution=64, architecture="skip", cmap_dim=7, freeze_layers=2, c_dim=3),
    ],
)
def test_round_trip_through_json(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("resolution", "num_ws"), [(4, 2), (32, 8), (64, 10), (128, 12), (256, 14), (512, 16), (1024, 18)]
)
def test_number_of_intermediate_latents(resolution, num_ws):
    assert GeneratorConfig(img_resolution=resolution).num_ws == num_ws


@pytest.mark.parametrize("architecture", ["resnet", "orig", "skip"])
@pytest.mark.parametrize("resolution", [8, 64])
def test_number_of_layers_that_can_be_frozen(architecture, resolution):
    sizes = {"img_resolution": resolution, "channel_base": 64, "architecture": architecture}
    config = DiscriminatorConfig(**sizes)
    D = Discriminator(config)
    assert config.num_freezable == sum(getattr(D, f"b{r}").num_layers for r in D.block_resolutions)
    # The last of them is still one that counts.
    frozen = [
        len(list(Discriminator(DiscriminatorConfig(**sizes, freeze_layers=config.num_freezable - n)).parameters()))
        for n in (1, 0)
    ]
    assert frozen[0] > frozen[1] == len(list(D.b4.parameters()))


@pytest.mark.parametrize(
    ("config_type", "values", "message"),
    [
        (GeneratorConfig, {"img_resolution": 64, "zdim": 3}, "unknown field zdim"),
        (GeneratorConfig, {"z_dim": 64}, "img_resolution is missing"),
        (GeneratorConfig, {"img_resolution": 48}, "img_resolution is 48; it must be a power of two"),
        (GeneratorConfig, {"img_resolution": 2}, "at least 4"),
        (GeneratorConfig, {"img_resolution": 64, "img_channels": 5}, "img_channels is 5"),
        (GeneratorConfig, {"img_resolution": 64, "mapping_layers": 0}, "mapping_layers is 0"),
        (GeneratorConfig, {"img_resolution": 64, "conv_clamp": 0}, "conv_clamp is 0"),
        (DiscriminatorConfig, {"img_resolution": 4}, "at least 8"),
        (DiscriminatorConfig, {"img_resolution": 64, "architecture": "dense"}, "one of resnet, orig, skip"),
        (DiscriminatorConfig, {"img_resolution": 64, "mbstd_group_size": 0}, "mbstd_group_size is 0"),
        (DiscriminatorConfig, {"img_resolution": 64, "mbstd_num_channels": 3}, "a divisor of the 512 feature maps"),
        (DiscriminatorConfig, {"img_resolution": 64, "freeze_layers": -1}, "freeze_layers is -1"),
        (DiscriminatorConfig, {"img_resolution": 64, "c_dim": -1}, "c_dim is -1"),
    ],
)
def test_mistakes_are_named(config_type, values, message):
    with pytest.raises(UserError, match=message):
        config_type.from_dict(values)

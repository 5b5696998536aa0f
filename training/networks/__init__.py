"""The two networks of StyleGAN2 with the parameter names of the official ones."""

from training.networks.config import DiscriminatorConfig, GeneratorConfig
from training.networks.discriminator import Discriminator
from training.networks.generator import Generator
from training.networks.precision import set_precision

__all__ = ["Discriminator", "DiscriminatorConfig", "Generator", "GeneratorConfig", "set_precision"]

"""What a run is, completely: the typed configuration, and how it is made from options."""

from training.config.schema import TrainingConfig, load_config

__all__ = ["TrainingConfig", "load_config"]

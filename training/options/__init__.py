"""What can be said to `train.py`: the options, their defaults, presets and base configurations. Imports no torch."""

from training.options.table import DEFAULTS, TrainingOptions

__all__ = ["DEFAULTS", "TrainingOptions"]

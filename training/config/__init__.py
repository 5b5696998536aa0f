"""What a run is, completely: the typed configuration, and how it is made from options."""

from training.config.schema import (
    FREE_TO_CHANGE,
    AdamOptions,
    AugmentOptions,
    DatasetOptions,
    PrecisionOptions,
    RegularizationOptions,
    TrainingConfig,
    load_config,
)

__all__ = [
    "FREE_TO_CHANGE",
    "AdamOptions",
    "AugmentOptions",
    "DatasetOptions",
    "PrecisionOptions",
    "RegularizationOptions",
    "TrainingConfig",
    "load_config",
]

"""Projection: the latents whose generated image comes closest to a given picture (W, W+, pivotal tuning).

result = projection.project(G, targets)
"""

import importlib
from typing import Any

_HOMES = {
    "project": "optimization",
    "ProjectionResult": "optimization",
    "Step": "optimization",
    "load_distance": "distance",
}


def __getattr__(name: str) -> Any:
    """The names above, imported when one is asked for: the help of the command needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

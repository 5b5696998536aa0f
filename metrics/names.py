"""Names of metrics: looked up among all kinds of metrics, whose grammar stands in the files of `metrics.measures`."""

import difflib
import re
from collections.abc import Iterable

from dnnlib import UserError
from metrics.detectors.registry import DETECTORS
from metrics.measures import registry
from metrics.measures.metric import Metric


def parse_metric(name: str) -> Metric:
    """What a name asks for.

    Raises:
        UserError: no such metric; the message holds the nearest names.

    Example:
        >>> parse_metric("fid5k_train").num_gen, parse_metric("fid5k_train").real_set
        (5000, 'train')
    """
    metric = _find(name)
    if metric is not None:
        return metric
    known = list_names()
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:5]
    raise UserError(
        f"no metric is called '{name}'; the nearest are {', '.join(near)} (`metrics`; any count works: fid5k_train)"
    )


def _find(name: str) -> Metric | None:
    return next((metric for kind in registry.METRICS if (metric := kind.parse(name)) is not None), None)


def check_names(names: Iterable[str]) -> None:
    """Raise `UserError` with the nearest names for the first that is no metric's."""
    for name in names:
        parse_metric(name)


def list_names() -> list[str]:
    """The names worth knowing, StyleGAN2-ADA's among them; the grammar allows any other count."""
    spaces = [key for key, detector in DETECTORS.items() if detector.in_names]
    named = [f"{kind.kind}_{space}" for space in spaces for kind in registry.METRICS]
    return [*(name for kind in registry.METRICS for name in kind.listed), *filter(_find, named)]


def higher_is_better(name: str) -> bool:
    """Whether larger values of a metric are the better ones (precision, recall, density, coverage, Inception score).

    Takes the names of results, too, which may carry a detector file's hash: the letters it begins with decide.
    """
    return any(kind.higher_is_better for kind in _kinds(name))


def tells_copying(name: str) -> bool:
    """Whether a metric, or one of its results, tells copies from images of one's own, not good images from bad ones."""
    return any(kind.tells_copying for kind in _kinds(name))


def _kinds(name: str) -> list[type[Metric]]:
    letters = re.match("[a-z]*", name)[0]
    return [kind for kind in registry.METRICS if letters in (kind.kind, kind.stem)]

"""What a run's numbers say about its health, in words with a remedy."""

import math
from collections.abc import Mapping
from typing import Any

from torch_utils.statistics import Summary

MAX_SKIPPED_IN_ROW = 25
_TICKS_AT_CAP = 20
_LOGIT_GAP = 40.0
_PATH_GROWTH = 20.0
_METRIC_FACTOR, _EVALUATIONS = 2.0, 3
_ALIKE = 0.25


class HealthMonitor:
    """Looks at the statistics of each tick; each warning is given once until its cause has gone.

    Args:
        p_max: the bound of the augmentation probability; None where p is not adapted.
        num_images: the size of the training set, without flips.
        mirrored: whether it has flips.
    """

    def __init__(self, p_max: float | None, num_images: int, *, mirrored: bool = False) -> None:
        self._p_max = p_max
        self._num_images, self._mirrored = num_images, mirrored
        self._ticks_at_cap = 0
        self._first_path_length = 0.0
        self._active: list[str] = []
        self._worse = 0
        self._variety = ""  # "", "varied" or "alike", as the last pictures were

    def start(self) -> list[str]:
        """Warnings before the first step."""
        if self._num_images < 100:
            flips = "" if self._mirrored else "use `mirror`=1 and "
            return [
                f"only {self._num_images} training images: runs on fewer than 100 often collapse; "
                f"{flips}`resume` a network of a similar subject (`preset`=few-shot)"
            ]
        return []

    def tick(self, stats: Mapping[str, Summary], *, p: float, pl_mean: float, skipped: float) -> list[str]:
        """Warnings that are new at this tick."""
        causes = {
            "p": self._p_at_cap(p),
            "logits": _logits_apart(stats),
            "path": self._path_grows(pl_mean),
            "nonfinite": _nonfinite(stats, skipped),
        }
        fresh = [text for name, text in causes.items() if text and name not in self._active]
        self._active = [name for name, text in causes.items() if text]
        return fresh

    def evaluated(self, name: str, value: float, best: Mapping[str, Any], *, higher_is_better: bool) -> list[str]:
        """A warning if the first metric has been twice as bad as its best (half as large) for some evaluations.

        `best` has its best `value` and the `nimg` of that.
        """
        low, high = (value, best["value"]) if higher_is_better else (best["value"], value)
        self._worse = self._worse + 1 if 0 < low * _METRIC_FACTOR < high else 0
        if self._worse != _EVALUATIONS:
            return []
        return [
            f"{name} is {value:.4g}, for {_EVALUATIONS} evaluations twice as bad as its best or worse "
            f"({best['value']:.4g} at {best['nimg'] / 1000:g} kimg): use best.safetensors, go back with "
            "`rollback`=best, or begin a run with stronger augmentation, a larger `gamma` or lower learning rates"
        ]

    def drawn(self, variety: float) -> list[str]:
        """A warning if the pictures of the same latents have become alike.

        Args:
            variety: their mean distance from each other, relative to that of real images.
        """
        before, self._variety = self._variety, "varied" if variety >= _ALIKE else self._variety and "alike"
        if (before, self._variety) != ("varied", "alike"):
            return []
        return [
            f"the generated pictures have become alike (mean distance {variety:.2g} of the real images'): the "
            "generator has collapsed; go back with `rollback`, or begin a run with a larger `gamma`, stronger "
            "augmentation, or `resume` of a network from before"
        ]

    def _p_at_cap(self, p: float) -> str:
        at_cap = self._p_max is not None and p >= 0.98 * self._p_max
        self._ticks_at_cap = self._ticks_at_cap + 1 if at_cap else 0
        if self._ticks_at_cap < _TICKS_AT_CAP:
            return ""
        return (
            f"augmentation probability at its bound {self._p_max:g} for {self._ticks_at_cap} ticks: the "
            "discriminator still overfits and augmentations may leak into the images; collect more images, "
            "raise `gamma`, or set `p_max`=0.8"
        )

    def _path_grows(self, pl_mean: float) -> str:
        if not self._first_path_length and pl_mean > 0:
            self._first_path_length = pl_mean
        if math.isfinite(pl_mean) and pl_mean <= max(_PATH_GROWTH * self._first_path_length, 100.0):
            return ""
        return (
            f"path length explodes (mean {pl_mean:.3g}): lower `glr`, or go back to an earlier snapshot with `resume`"
        )

    def state_dict(self) -> dict[str, Any]:
        """How long each cause has lasted."""
        return {
            "ticks_at_cap": self._ticks_at_cap,
            "first_path_length": self._first_path_length,
            "active": self._active,
            "worse": self._worse,
            "variety": self._variety,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._ticks_at_cap = state["ticks_at_cap"]
        self._first_path_length = state["first_path_length"]
        self._active = state["active"]
        self._worse, self._variety = state.get("worse", 0), state.get("variety", "")  # earlier versions have none


def what_diverged(stats: Mapping[str, Summary]) -> str:
    """What there is to see when too many steps in a row were skipped: gradients, and what was not finite."""
    return "; ".join(
        f"{name}: {summary.nonfinite} non-finite values" if summary.nonfinite else f"{name} mean {summary.mean:.3g}"
        for name, summary in stats.items()
        if summary.nonfinite or name.startswith("Gradient/")
    )


def _logits_apart(stats: Mapping[str, Summary]) -> str:
    real, fake = stats.get("Loss/scores/real"), stats.get("Loss/scores/fake")
    if real is None or fake is None or not abs(real.mean - fake.mean) > _LOGIT_GAP:
        return ""
    return (
        f"logits of real ({real.mean:.1f}) and generated images ({fake.mean:.1f}) drift apart: the "
        "discriminator has won; raise `gamma` (try 4 times), lower `dlr`, or use stronger augmentation"
    )


def _nonfinite(stats: Mapping[str, Summary], skipped: float) -> str:
    bad = {name: summary.nonfinite for name, summary in stats.items() if summary.nonfinite}
    if not bad and not skipped:
        return ""
    where = ", ".join(f"{name}: {count}" for name, count in bad.items()) or "the losses are finite"
    return (
        f"non-finite values ({where}; {skipped:.0f} steps skipped so far): find the first operation with `nan_check`, "
        "or try `precision`=fp32, a lower learning rate, and for `loss`=rlo a larger `k` or `rlo_form`=bounded"
    )

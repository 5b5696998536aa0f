"""The true share behind the share that a test finds, given how often the test is wrong (Rogan and Gladen 1978)."""

from dataclasses import dataclass
from statistics import NormalDist

_LEVEL = 0.95


@dataclass(frozen=True)
class Proportion:
    """`hits` of `count` trials."""

    hits: int
    count: int

    @property
    def share(self) -> float:
        """Hits over count."""
        return self.hits / self.count


def corrected_share(found: Proportion, recall: Proportion, false_alarms: Proportion) -> tuple[float, float, float]:
    """The share of copies with its 95 % interval, (value, low, high), all in [0, 1].

        value = (found - false alarms) / (recall - false alarms)

    The interval is that of Lang and Reiczigel 2014 (Preventive Veterinary Medicine 113), which takes the scatter of all
    three proportions into account and stays honest where they are 0 or 1. A test whose recall is no better than its
    false alarms says nothing: then the value is the share found, and the interval all of [0, 1].

    Args:
        found: how many of the judged images the test calls copies.
        recall: how many of known copies it finds.
        false_alarms: how many of known others it calls copies.
    """
    power = recall.share - false_alarms.share
    if power <= 0:
        return found.share, 0.0, 1.0
    z = NormalDist().inv_cdf((1 + _LEVEL) / 2)
    value = (found.share - false_alarms.share) / power
    # All with pseudo-counts, so that a proportion of 0 or 1 keeps a variance.
    n = found.count + z**2
    p = (found.hits + z**2 / 2) / n
    sensitivity = (recall.hits + 1) / (recall.count + 2)
    specificity = 1 - (false_alarms.hits + 1) / (false_alarms.count + 2)
    power = max(sensitivity + specificity - 1, 1e-9)
    theta = min(max((p + specificity - 1) / power, 0.0), 1.0)
    from_recall = sensitivity * (1 - sensitivity) / (recall.count + 2)
    from_alarms = specificity * (1 - specificity) / (false_alarms.count + 2)
    shift = 2 * z**2 * (theta * from_recall - (1 - theta) * from_alarms)
    half = z * (p * (1 - p) / n + theta**2 * from_recall + (1 - theta) ** 2 * from_alarms) ** 0.5 / power
    return tuple(min(max(bound, 0.0), 1.0) for bound in (value, theta + shift - half, theta + shift + half))

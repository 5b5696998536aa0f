"""What a comparison finds, as data: report and results.json are made from it (docs/compare.md describes the keys)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from comparison.runs.collect import Curve

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Interval:
    """One value for each of n seeds: mean, standard deviation and 95 % interval; None where n is too small for it."""

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RunSummary:
    """A metric over one finished run."""

    final: float
    best: float
    best_nimg: int
    average: float
    collapsed: bool


@dataclass(frozen=True)
class LossSummary:
    """A metric over the runs of a loss."""

    final: Interval
    best: Interval
    average: Interval
    seeds: dict[int, RunSummary]


@dataclass(frozen=True)
class Band:
    """Several seeds of one loss: at every image count that all have, the mean, lowest and highest value."""

    nimg: list[int]
    seconds: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    sd: list[float | None]
    n: int


@dataclass(frozen=True, kw_only=True)
class Comparison(Interval):
    """The paired differences of one quantity between a loss and the reference, over the seeds that both finished.

    Attributes:
        better_in: seeds in which the loss is better.
        p, p_holm: of the permutation test, and after Holm's correction for the `tests` losses compared.
        smallest_p: what the test can give at best with so many seeds.
        left_out: why seeds that were planned are not among the pairs.
        verdict, sentence: what the numbers allow to say, see `sentences`.
    """

    loss: str
    reference: str
    quantity: str
    seeds: list[int]
    differences: list[float]
    better_in: int
    reference_mean: float | None
    p: float | None
    smallest_p: float | None
    tests: int
    left_out: list[str]
    p_holm: float | None = None
    verdict: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Reached:
    """When the runs of a loss reach a value: how many do, and the medians over all; None where half or more do not.

    `processor` are processor seconds; None too where runs did not record them.
    """

    runs: int
    reached: int
    images: float | None
    seconds: float | None
    processor: float | None


@dataclass(frozen=True)
class Level:
    """A value to be reached, and the share of the reference's run that it is taken from, if it is."""

    level: float
    share_of_reference_run: float | None
    losses: dict[str, Reached]


@dataclass(frozen=True)
class MetricFindings:
    """Everything about one metric; dictionaries are by the losses' keys."""

    better: Better
    curves: dict[str, Band]
    summary: dict[str, LossSummary]
    comparisons: list[Comparison]
    reach: list[Level]


@dataclass(frozen=True, kw_only=True)
class PointOverK(Interval):
    """The final value of one loss of a family that differs in k only."""

    loss: str
    k: float
    form: str
    saturating: bool
    family: str


@dataclass(frozen=True)
class Counts:
    """What became of a loss's runs; collapsed in any metric; `nonfinite_losses` counts values, not runs."""

    planned: int
    begun: int
    finished: int
    diverged: int
    collapsed: int
    nonfinite_losses: int


@dataclass(frozen=True)
class Trial:
    """One point of the search: the mean final value over the seeds that did not diverge. None was not searched."""

    rate: float | None
    gamma: float | None
    mean: float | None
    diverged: int
    chosen: bool = False


@dataclass(frozen=True)
class Search:
    """The search for learning rates and R1 weights: trials and what was chosen, by the losses' keys."""

    metric: str | None
    kimg: float
    seeds: list[int]
    trials: dict[str, list[Trial]]
    rates: dict[str, float]
    gammas: dict[str, float]
    notes: list[str]


@dataclass(frozen=True)
class Projected:
    """A picture as a snapshot can show it; `picture` is a path below the folder of the comparison."""

    nimg: int
    picture: str
    distance: float
    psnr: float


@dataclass(frozen=True)
class Projection:
    """A picture found again by the "first" and the "last" snapshot of every loss."""

    target: str
    picture: str
    distance: str
    seed: int
    losses: dict[str, dict[str, Projected]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClosestPairs:
    """The page of one run's generated images beside the training images that they are most like.

    `picture` is a path below the folder of the comparison.
    """

    metric: str
    loss: str
    seed: int
    nimg: int
    picture: str


@dataclass(frozen=True)
class Loss:
    """A loss that was compared."""

    key: str
    label: str
    reference: bool
    command: str


@dataclass(frozen=True)
class RunRecord:
    """State and curves of one run."""

    folder: str
    begun: bool
    finished: bool
    diverged: bool
    nimg: int
    seconds: float
    processor: float
    nonfinite_losses: int
    curves: dict[str, Curve]


@dataclass(frozen=True)
class Data:
    """The data set as the runs themselves recorded it."""

    name: str
    resolution: int | None
    size: tuple[int, int] | None  # width and height in pixels
    subset: int | None
    mirror: bool | None
    hash_by_seed: dict[str, str]


@dataclass(frozen=True)
class Results:
    """Everything that the report shows except pictures of the training; `copying` are sentences."""

    format: int
    created: str
    settings: dict[str, Any]
    environment: dict[str, str]
    data: Data
    losses: list[Loss]
    counts: dict[str, Counts]
    runs: dict[str, dict[int, RunRecord]]
    not_computed: dict[str, str]
    main_metrics: list[str]
    metrics: dict[str, MetricFindings]
    k_curve: dict[str, list[PointOverK]]
    tuning: Search | None = None
    copying: list[str] = field(default_factory=list)
    closest_pairs: list[ClosestPairs] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
